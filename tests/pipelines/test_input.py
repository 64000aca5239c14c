import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import input
from pipelines.images import augment
from tests.helpers.fake_source import (
    IMAGES,
    FakeStatistics,
    assert_same,
    cut,
    decoded,
    drawn_shift,
    drawn_window,
    prepared_source,
    training,
    unprepared_source,
)
from tests.helpers.image_files import encode

pytestmark = pytest.mark.medium


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
    (images, labels), *_ = training(source, batch_size=IMAGES, crop_size=crop_size, color_augmentation="none")
    for image, label in zip(images, labels, strict=True):
        key = f"image{label}"
        np.testing.assert_array_equal(image, cut(decoded(source, key), *drawn_window(key, crop_size), crop_size))


@pytest.mark.parametrize("make", [prepared_source, unprepared_source])
def test_source2012_gives_the_network_the_shifted_difference_from_the_mean_divided_by_1_1(make):
    source = make()
    mean = FakeStatistics().mean_image[16:240, 16:240].astype(np.float64)
    for images, labels in training(source, color_augmentation="source2012"):
        for image, label in zip(images, labels, strict=True):
            key = f"image{label}"
            crop = cut(decoded(source, key), *drawn_window(key))
            expected = (crop - mean + drawn_shift(key, "source2012")) / 1.1
            np.testing.assert_allclose(image - mean, expected, atol=3e-4)


@pytest.mark.parametrize("mean", [np.float32([120, 110, 100]), np.full((224, 224, 3), 7, np.float32)])
def test_source2012_takes_the_mean_that_the_network_subtracts(mean):
    source = prepared_source()
    images, labels = training(source, color_augmentation="source2012", mean=mean)[0]
    for image, label in zip(images, labels, strict=True):
        key = f"image{label}"
        expected = (cut(decoded(source, key), *drawn_window(key)) - mean + drawn_shift(key, "source2012")) / 1.1
        np.testing.assert_allclose(image - mean, expected, atol=3e-4)


@pytest.mark.parametrize(("mode", "divisor"), [("none", 1.0), ("paper", 1.0), ("source2012", 1.1)])
def test_mean_window_crop_subtracts_the_mean_of_the_crops_own_place(mode, divisor):
    source, mean_image = prepared_source(), FakeStatistics().mean_image
    for network_mean in (None, np.float32([120, 110, 100])):
        subtracted = mean_image[16:240, 16:240] if network_mean is None else network_mean
        images, labels = training(source, color_augmentation=mode, mean_crop="crop", mean=network_mean)[0]
        for image, label in zip(images, labels, strict=True):
            key = f"image{label}"
            window = drawn_window(key)
            # Caffe takes the difference first and mirrors it then.
            difference = cut(decoded(source, key).astype(np.float64) - mean_image, *window)
            expected = (difference + drawn_shift(key, mode)) / divisor
            np.testing.assert_allclose(image - subtracted, expected, atol=3e-4)


@pytest.mark.parametrize("start_step", [0, 1, 2])
def test_a_crop_chunk_shares_one_window_and_one_reflection_across_batches(start_step):
    source = prepared_source()
    batches = training(source, crop_chunk=4, color_augmentation="none", start_step=start_step)
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
    assert drawn_window("0") != augment.random_crop(tf.constant("0"), augment.epoch_seed(7, 3))


@pytest.mark.parametrize("color_augmentation", augment.COLOR_AUGMENTATIONS)
@pytest.mark.parametrize("mean_crop", input.MEAN_CROPS)
def test_crops_that_are_augmented_on_the_device_are_the_training_batches_bit_for_bit(color_augmentation, mean_crop):
    source, mean = prepared_source(), np.float32([120, 110, 100])
    options = {"batch_size": 5, "color_augmentation": color_augmentation, "mean_crop": mean_crop}
    compiled = tf.function(augment.augment_on_device, jit_compile=True)
    crops = list(input.crop_batches(source, FakeStatistics(), **options))
    assert crops[0][0].pixels.dtype == (tf.float32 if mean_crop == "crop" else tf.uint8)
    augmented = [(compiled(batch, mean).numpy(), labels.numpy()) for batch, labels in crops]
    assert_same(augmented, training(source, mean=mean, seed=0, epoch=0, **options))
    # Without XLA the sums are rounded once more.
    np.testing.assert_allclose(augment.augment_on_device(crops[0][0], mean), augmented[0][0], atol=3e-4)


def test_without_colour_augmentation_the_pixels_are_integers():
    for images, _ in training(prepared_source(), color_augmentation="none"):
        np.testing.assert_array_equal(images, np.clip(np.round(images), 0, 255))
