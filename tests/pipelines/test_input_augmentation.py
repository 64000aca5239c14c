"""Training input with random resized windows and with padded crops, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import input
from pipelines.images import augment
from tests.helpers.fake_source import (
    EPOCH_SEED,
    IMAGES,
    FakeStatistics,
    assert_same,
    decoded,
    drawn_shift,
    prepared_source,
    training,
    unprepared_source,
)
from tests.helpers.image_files import encode

pytestmark = pytest.mark.medium


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with antialiasing, float64: weights fall linearly to 0 one pixel of the coarser grid away."""

    def weights(length: int) -> np.ndarray:
        scale = length / size
        centers, pixels = (np.arange(size)[:, None] + 0.5) * scale, np.arange(length) + 0.5
        matrix = np.maximum(1 - np.abs(pixels - centers) / max(scale, 1), 0)
        return matrix / matrix.sum(axis=1, keepdims=True)

    rows, columns = (weights(length) for length in image.shape[:2])
    return np.stack([rows @ image[..., channel] @ columns.T for channel in range(3)], axis=-1)


def drawn(key: str, draw=augment.random_window, *arguments: int) -> list[int]:
    return [int(value) for value in draw(tf.constant(key), EPOCH_SEED, *arguments)]


@pytest.mark.parametrize(("make", "crop_size"), [(prepared_source, 24), (unprepared_source, 224)])
def test_random_resized_is_a_window_resized_mirrored_and_shifted(make, crop_size):
    source = make()
    for images, labels in training(source, augmentation="random_resized", crop_size=crop_size):
        for image, label in zip(images, labels, strict=True):
            key = f"image{label}"
            y, x, height, width, flip = drawn(key)
            window = resized(decoded(source, key)[y : y + height, x : x + width], crop_size)
            pixels = image - drawn_shift(key, "paper")
            # Pixels are rounded before the shift.
            np.testing.assert_allclose(pixels, window[:, :: -1 if flip else 1], atol=0.51)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_a_prepared_window_of_any_shape_is_that_of_the_whole_decoded_image(subsampling):
    # Noise, where interpolated chroma differs most.
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    source = prepared_source()
    for key in source.files:
        source.files[key] = encode(noise, subsampling=subsampling)
    options = {"batch_size": IMAGES, "augmentation": "random_resized", "color_augmentation": "none"}
    (images, labels), *_ = training(source, **options)
    for image, label in zip(images, labels, strict=True):
        y, x, height, width, flip = drawn(f"image{label}")
        window = resized(decoded(source, f"image{label}")[y : y + height, x : x + width], 224)
        np.testing.assert_allclose(image, window[:, :: -1 if flip else 1], atol=0.51)


@pytest.mark.parametrize(("make", "crop_size"), [(prepared_source, 24), (unprepared_source, 256)])
def test_pad4_is_a_crop_of_the_image_padded_with_the_mean_colour(make, crop_size):
    source, (images, labels) = make(), training(make(), augmentation="pad4", crop_size=crop_size)[0]
    for image, label in zip(images, labels, strict=True):
        key = f"image{label}"
        padded = np.tile(np.float64([123, 116, 104]), (264, 264, 1))
        padded[4:260, 4:260] = decoded(source, key)
        y, x, flip = drawn(key, augment.random_crop, 264, crop_size)
        crop = padded[y : y + crop_size, x : x + crop_size][:, :: -1 if flip else 1]
        np.testing.assert_array_equal(image, crop.astype(np.float32) + drawn_shift(key, "paper"))


def test_without_augmentation_every_epoch_has_the_same_central_crops():
    options = {"augmentation": "none", "color_augmentation": "none", "crop_size": 24}
    for epoch in (0, 1):
        for images, labels in training(prepared_source(), epoch=epoch, **options):
            for image, label in zip(images, labels, strict=True):
                np.testing.assert_array_equal(image, decoded(prepared_source(), f"image{label}")[116:140, 116:140])


@pytest.mark.parametrize(("augmentation", "crop_chunk"), [("random_resized", 1), ("pad4", 3)])
def test_batches_after_a_start_step_are_those_of_the_whole_epoch(augmentation, crop_chunk):
    options = {"augmentation": augmentation, "crop_chunk": crop_chunk, "crop_size": 32}
    whole = training(prepared_source(), **options)
    assert_same(training(prepared_source(), start_step=2, **options), whole[2:])
    other = training(prepared_source(), epoch=3, **options)
    assert not np.array_equal(whole[0][0], other[0][0])


@pytest.mark.parametrize("augmentation", ["random_resized", "pad4"])
def test_a_crop_chunk_shares_one_window(augmentation):
    source = prepared_source()
    for key in source.files:
        source.files[key] = source.files["image0"]
    options = {"augmentation": augmentation, "color_augmentation": "none", "crop_chunk": 5, "crop_size": 250}
    batches = training(source, **options)
    for images, _ in batches:
        np.testing.assert_array_equal(images, np.broadcast_to(images[0], images.shape))
    assert not np.array_equal(batches[0][0][0], batches[1][0][0])


def test_unusable_augmentations_are_refused():
    source, statistics = prepared_source(), FakeStatistics()
    with pytest.raises(ValueError, match=r"^augmentation=zoom: expected one of crop, random_resized"):
        input.crop_batches(source, statistics, batch_size=5, augmentation="zoom")
    with pytest.raises(ValueError, match=r"^mean_crop=crop: expected central, because augmentation=pad4"):
        input.crop_batches(source, statistics, batch_size=5, augmentation="pad4", mean_crop="crop")
