import dataclasses
import io
from collections.abc import Mapping

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode
from PIL import Image

from pipelines import augment, input
from pipelines.command import InputError
from pipelines.crops import stored_view
from pipelines.decode import decode_rgb

IMAGES = 23


@dataclasses.dataclass
class FakeSource:
    """Encoded images in memory, with the order of a pipelines.sources.Source."""

    files: dict[str, bytes]
    prepared: bool = False
    name: str = "fake"

    @property
    def splits(self) -> Mapping[str, int]:
        return {"train": len(self.files), "validation": len(self.files)}

    def encoded(self, split: str, shuffle_seed: int | None = None, start: int = 0) -> tf.data.Dataset:
        order = np.arange(len(self.files))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        order = order[start:]
        names = list(self.files)
        examples = ([self.files[names[i]] for i in order], order.astype(np.int32), [names[i] for i in order])
        return tf.data.Dataset.from_tensor_slices(examples)


@dataclasses.dataclass
class FakeStatistics:
    eigenvalues: np.ndarray = dataclasses.field(default_factory=lambda: np.array([14830.4, 1375.96, 388.91]))
    eigenvectors: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3)[::-1])
    mean_image: np.ndarray = dataclasses.field(
        default_factory=lambda: np.random.default_rng(1).uniform(90, 140, (256, 256, 3)).astype(np.float32)
    )


def jpeg(seed: int, width: int = 256, height: int = 256) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def prepared_source() -> FakeSource:
    return FakeSource({f"image{i}": jpeg(i) for i in range(IMAGES)}, prepared=True)


def unprepared_source() -> FakeSource:
    return FakeSource({f"image{i}": jpeg(i, 270 + 20 * i, 300) for i in range(IMAGES)})


def training(source: FakeSource, **options) -> list[tuple[np.ndarray, np.ndarray]]:
    options = {"batch_size": 5, "seed": 7, "epoch": 2} | options
    return list(input.training_batches(source, FakeStatistics(), **options).as_numpy_iterator())


def assert_same(batches, others) -> None:
    assert len(batches) == len(others)
    for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


EPOCH_SEED = augment.epoch_seed(7, 2)


def drawn_window(key: str, crop_size: int = 224) -> tuple[int, int, int]:
    y, x, flip = augment.random_window(tf.constant(key), EPOCH_SEED, 256, crop_size)
    return int(y), int(x), int(flip)


def drawn_shift(key: str, mode: str) -> np.ndarray:
    statistics = FakeStatistics()
    return augment.color_shift(
        tf.constant(key), EPOCH_SEED, statistics.eigenvalues, statistics.eigenvectors, mode
    ).numpy()


def cut(image: np.ndarray, y: int, x: int, flip: int, size: int = 224) -> np.ndarray:
    return image[y : y + size, x : x + size][:, :: -1 if flip else 1].astype(np.float64)


def decoded(source: FakeSource, key: str, resize: str = "shorter_side") -> np.ndarray:
    return stored_view(decode_rgb(tf.constant(source.files[key])), resize).numpy()


@pytest.mark.parametrize("make", [prepared_source, unprepared_source])
@pytest.mark.parametrize(("resize", "crop_size"), [("shorter_side", 224), ("warp", 227)])
def test_a_training_image_is_the_window_mirrored_and_shifted(make, resize, crop_size):
    source = make()
    for images, labels in training(source, resize=resize, crop_size=crop_size):
        assert images.dtype == np.float32
        assert images.shape == (5, crop_size, crop_size, 3)
        for image, label in zip(images, labels, strict=True):
            key = f"image{label}"
            crop = cut(decoded(source, key, resize), *drawn_window(key, crop_size), crop_size)
            np.testing.assert_array_equal(image, crop.astype(np.float32) + drawn_shift(key, "paper"))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("crop_size", [192, 224, 227, 256])
def test_a_prepared_window_is_that_of_the_whole_decoded_image(subsampling, crop_size):
    # Noise, where interpolated chroma differs most.
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    source = prepared_source()
    for key in source.files:
        source.files[key] = encode(noise, subsampling=subsampling)
    (images, labels), *_ = training(source, batch_size=IMAGES, crop_size=crop_size, color_shift="none")
    for image, label in zip(images, labels, strict=True):
        key = f"image{label}"
        np.testing.assert_array_equal(image, cut(decoded(source, key), *drawn_window(key, crop_size), crop_size))


@pytest.mark.parametrize("make", [prepared_source, unprepared_source])
def test_source2012_gives_the_network_the_shifted_difference_from_the_mean_divided_by_1_1(make):
    source = make()
    mean = FakeStatistics().mean_image[16:240, 16:240].astype(np.float64)
    for images, labels in training(source, color_shift="source2012"):
        for image, label in zip(images, labels, strict=True):
            key = f"image{label}"
            crop = cut(decoded(source, key), *drawn_window(key))
            expected = (crop - mean + drawn_shift(key, "source2012")) / 1.1
            np.testing.assert_allclose(image - mean, expected, atol=1e-4)


@pytest.mark.parametrize("mean", [np.float32([120, 110, 100]), np.full((224, 224, 3), 7, np.float32)])
def test_source2012_takes_the_mean_that_the_network_subtracts(mean):
    source = prepared_source()
    images, labels = training(source, color_shift="source2012", mean=mean)[0]
    for image, label in zip(images, labels, strict=True):
        key = f"image{label}"
        expected = (cut(decoded(source, key), *drawn_window(key)) - mean + drawn_shift(key, "source2012")) / 1.1
        np.testing.assert_allclose(image - mean, expected, atol=1e-4)


@pytest.mark.parametrize(("mode", "divisor"), [("none", 1.0), ("paper", 1.0), ("source2012", 1.1)])
def test_mean_window_crop_subtracts_the_mean_of_the_crops_own_place(mode, divisor):
    source, mean_image = prepared_source(), FakeStatistics().mean_image
    for network_mean in (None, np.float32([120, 110, 100])):
        subtracted = mean_image[16:240, 16:240] if network_mean is None else network_mean
        images, labels = training(source, color_shift=mode, mean_window="crop", mean=network_mean)[0]
        for image, label in zip(images, labels, strict=True):
            key = f"image{label}"
            window = drawn_window(key)
            # Caffe takes the difference first and mirrors it then.
            difference = cut(decoded(source, key).astype(np.float64) - mean_image, *window)
            expected = (difference + drawn_shift(key, mode)) / divisor
            np.testing.assert_allclose(image - subtracted, expected, atol=1e-4)


@pytest.mark.parametrize("start_step", [0, 1, 2])
def test_a_crop_chunk_shares_one_window_and_one_reflection_across_batches(start_step):
    source = prepared_source()
    batches = training(source, crop_chunk=4, color_shift="none", start_step=start_step)
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    windows = set()
    for position, (image, label) in enumerate(zip(images, labels, strict=True), start=start_step * 5):
        window = drawn_window(str(position // 4))
        windows.add(window)
        np.testing.assert_array_equal(image, cut(decoded(source, f"image{label}"), *window))
    assert len(windows) == len({position // 4 for position in range(start_step * 5, 20)})


def test_chunks_take_other_windows_in_another_epoch_and_keep_their_colour_shifts_apart():
    source = prepared_source()
    (images, labels), *_ = training(source, crop_chunk=5)
    crops = [cut(decoded(source, f"image{label}"), *drawn_window("0")) for label in labels]
    shifts = [(image - crop).mean(axis=(0, 1)) for image, crop in zip(images, crops, strict=True)]
    for label, shift in zip(labels, shifts, strict=True):
        np.testing.assert_allclose(shift, drawn_shift(f"image{label}", "paper"), atol=1e-3)
    assert drawn_window("0") != augment.random_window(tf.constant("0"), augment.epoch_seed(7, 3))


@pytest.mark.parametrize("color_shift", augment.COLOR_SHIFTS)
@pytest.mark.parametrize("mean_window", input.MEAN_WINDOWS)
def test_windows_that_are_finished_later_are_the_training_batches_bit_for_bit(color_shift, mean_window):
    source, mean = prepared_source(), np.float32([120, 110, 100])
    options = {"batch_size": 5, "color_shift": color_shift, "mean_window": mean_window}
    finish = tf.function(augment.finished, jit_compile=True)
    windows = list(input.window_batches(source, FakeStatistics(), **options))
    assert windows[0][0].pixels.dtype == (tf.float32 if mean_window == "crop" else tf.uint8)
    finished = [(finish(batch, mean).numpy(), labels.numpy()) for batch, labels in windows]
    assert_same(finished, training(source, mean=mean, seed=0, epoch=0, **options))
    # Without XLA the sums are rounded once more.
    np.testing.assert_allclose(augment.finished(windows[0][0], mean), finished[0][0], atol=1e-4)


@pytest.mark.parametrize("crop_chunk", [1, 4])
@pytest.mark.parametrize("start_step", [0, 2])
def test_shards_share_each_batch_evenly(crop_chunk, start_step):
    options = {"batch_size": 6, "crop_chunk": crop_chunk, "start_step": start_step}
    whole = training(prepared_source(), **options)
    shards = [training(prepared_source(), shard=(index, 3), **options) for index in range(3)]
    assert len(whole) == 3 - start_step
    for step, (images, labels) in enumerate(whole):
        for index, shard in enumerate(shards):
            np.testing.assert_array_equal(shard[step][1], labels[index::3])
            np.testing.assert_array_equal(shard[step][0], images[index::3])


def test_an_epoch_has_each_image_at_most_once_and_only_full_batches():
    batches = training(prepared_source())
    labels = np.concatenate([labels for _, labels in batches])
    assert len(batches) == IMAGES // 5 == input.steps_per_epoch(prepared_source(), 5)
    assert labels.dtype == np.int32
    assert len(set(labels.tolist())) == 20


@pytest.mark.parametrize("make", [prepared_source, unprepared_source])
@pytest.mark.parametrize("step", [1, 3, 4])
def test_starting_at_a_step_gives_the_batches_from_there_bit_for_bit(make, step):
    assert_same(training(make(), start_step=step), training(make())[step:])


def test_batches_do_not_depend_on_the_number_of_threads():
    dataset = input.training_batches(unprepared_source(), FakeStatistics(), batch_size=5)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    assert_same(list(dataset.as_numpy_iterator()), list(dataset.with_options(options).as_numpy_iterator()))


@pytest.mark.parametrize("change", [{"seed": 8}, {"epoch": 3}])
def test_another_seed_or_epoch_gives_another_order_and_other_windows(change):
    without_shift = {"color_shift": "none"}
    batches, others = (
        training(prepared_source(), **without_shift),
        training(prepared_source(), **without_shift, **change),
    )
    assert [labels.tolist() for _, labels in batches] != [labels.tolist() for _, labels in others]
    by_label = [
        {int(label): image for images, labels in run for image, label in zip(images, labels, strict=True)}
        for run in (batches, others)
    ]
    common = by_label[0].keys() & by_label[1].keys()
    assert any(not np.array_equal(by_label[0][label], by_label[1][label]) for label in common)


def test_without_colour_shift_the_pixels_are_whole_grey_levels():
    for images, _ in training(prepared_source(), color_shift="none"):
        np.testing.assert_array_equal(images, np.clip(np.round(images), 0, 255))


def test_bad_keys_are_left_out_and_counted_out():
    source = unprepared_source()
    source.files["image3"] = b"junk"
    source.files["image7"] = b""
    bad = frozenset({"image3", "image7"})
    batches = training(source, batch_size=3, bad_keys=bad)
    labels = np.concatenate([labels for _, labels in batches])
    assert sorted(labels) == [i for i in range(IMAGES) if i not in (3, 7)]
    assert len(batches) == input.steps_per_epoch(source, 3, bad) == 7
    assert_same(training(source, batch_size=3, bad_keys=bad, start_step=2), batches[2:])


def test_skipped_steps_are_not_decoded():
    source = unprepared_source()
    labels = training(source)[0][1]
    for label in labels:
        source.files[f"image{label}"] = b"junk"
    assert len(training(source, start_step=1)) == 3


def test_an_undecodable_training_image_is_named():
    source = unprepared_source()
    source.files["image3"] = source.files["image3"][:-100]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"cannot be decoded.*image3"):
        training(source, batch_size=1)


@pytest.mark.parametrize("batch_size", [0, -1, 22])
def test_a_batch_size_without_a_full_batch_is_refused_with_both_numbers(batch_size):
    bad = frozenset({"image3", "image7"})
    with pytest.raises(InputError, match=rf"--batch_size={batch_size}: expected 1 to 21,"):
        training(prepared_source(), batch_size=batch_size, bad_keys=bad)


def test_evaluation_gives_every_image_once_in_order_with_a_short_last_batch():
    source = unprepared_source()
    batches = list(input.evaluation_batches(source, "validation", batch_size=5).as_numpy_iterator())
    assert [len(labels) for _, labels, _, _ in batches] == [5, 5, 5, 5, 3]
    images, labels, valid, keys = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert (images.dtype, labels.dtype, valid.dtype) == (np.uint8, np.int32, np.bool_)
    assert labels.tolist() == list(range(IMAGES))
    assert [key.decode() for key in keys] == list(source.files)
    assert valid.all()
    for image, data in zip(images, source.files.values(), strict=True):
        np.testing.assert_array_equal(image, stored_view(decode_rgb(tf.constant(data))))


def test_evaluation_flags_bad_images_and_keeps_the_others():
    source = unprepared_source()
    source.files["image3"] = source.files["image3"][:-100]
    source.files["image7"] = b""
    bad = [False] * IMAGES
    bad[3] = bad[7] = True
    batches = input.evaluation_batches(source, "validation", batch_size=IMAGES, resize="warp")
    images, _, valid, _ = next(batches.as_numpy_iterator())
    np.testing.assert_array_equal(valid, np.logical_not(bad))
    np.testing.assert_array_equal(images.reshape(IMAGES, -1).any(axis=1), np.logical_not(bad))
    np.testing.assert_array_equal(images[4], stored_view(decode_rgb(tf.constant(source.files["image4"])), "warp"))


def test_evaluation_refuses_an_empty_batch():
    with pytest.raises(InputError, match=r"--batch_size=0: expected at least 1"):
        input.evaluation_batches(prepared_source(), "validation", batch_size=0)


@pytest.mark.parametrize("make", [prepared_source, unprepared_source])
def test_unknown_options_are_refused_by_their_flag(make):
    with pytest.raises(InputError, match=r"^--resize=squash: expected one of shorter_side, warp$"):
        training(make(), resize="squash")
    with pytest.raises(InputError, match=r"^--resize=squash: expected one of shorter_side, warp$"):
        input.evaluation_batches(make(), "validation", batch_size=1, resize="squash")
    with pytest.raises(InputError, match=r"^--color_shift=fancy: expected one of paper, source2012, none$"):
        training(make(), color_shift="fancy")
    with pytest.raises(InputError, match=r"^--mean_window=left: expected one of central, crop$"):
        training(make(), mean_window="left")
    with pytest.raises(InputError, match=r"^--crop_chunk=0: expected at least 1$"):
        training(make(), crop_chunk=0)
    with pytest.raises(InputError, match=r"^--batch_size=5: expected a multiple of 2, the machines that share it$"):
        training(make(), shard=(0, 2))
    with pytest.raises(InputError, match=r"^shard 2 of 2: expected 0 to 1$"):
        training(make(), shard=(2, 2), batch_size=4)
