"""Cutout and random erasing: sizes and places of the rectangles, and what fills them."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import input
from pipelines.images import augment, erase
from tests.helpers.fake_source import FakeStatistics, prepared_source

SEED = augment.epoch_seed(3, 1)
COUNT = 20_000


def keys(count=COUNT):
    return tf.strings.as_string(tf.range(count))


def areas(rectangles):
    top, left, bottom, right = rectangles.numpy().T
    return (bottom - top) * (right - left)


@pytest.mark.parametrize("length, mean, whole", [(16, 196, 0.2822), (8, 56.25, 0.6104), (17, 217.6, None)])
def test_cutout_erases_the_published_share_of_32_pixels(length, mean, whole):
    """The whole square is inside with probability (33 - L)^2 / 32^2: L = 16 0.2822, L = 8 0.6104."""
    erased = areas(erase.cutout_square(keys(), SEED, 32, length))
    assert abs(erased.mean() - mean) < 0.015 * mean
    if whole:
        assert abs((erased == length**2).mean() - whole) < 0.015


def test_a_square_is_cut_off_at_the_border(monkeypatch):
    monkeypatch.setattr(erase, "_below", lambda key, *_: tf.zeros(key.shape, tf.int32))
    assert erase.cutout_square(keys(1), SEED, 32, 16).numpy().tolist() == [[0, 0, 8, 8]]
    monkeypatch.setattr(erase, "_below", lambda key, *_: tf.fill(key.shape, 31))
    assert erase.cutout_square(keys(1), SEED, 32, 16).numpy().tolist() == [[23, 23, 32, 32]]


@pytest.mark.parametrize("size, share, accepted", [(32, 0.201, 0.947), (224, 0.203, 0.955)])
def test_random_erasing_erases_a_tenth_of_the_pixels_with_probability_half(size, share, accepted):
    rectangles = erase.erased_rectangle(keys(), SEED, size, 0.5)
    erased = areas(rectangles)
    assert abs((erased > 0).mean() - 0.5) < 0.02
    assert abs(erased.mean() / size**2 - share / 2) < 0.003
    top, left, bottom, right = rectangles.numpy()[erased > 0].T
    assert top.min() >= 0 and left.min() >= 0 and bottom.max() <= size and right.max() <= size
    assert (bottom - top < size).all() and (right - left < size).all()
    # The aspect ratio is uniform, not log-uniform: most are higher than wide.
    assert abs((bottom - top > right - left).mean() - 0.75) < 0.05
    fits = erase._tried(keys(), SEED, size, 50)[1].numpy()
    assert abs(fits.mean() - accepted) < 0.01


def test_rectangles_depend_on_seed_epoch_and_example():
    def drawn(seed, count=50):
        squares, rectangles, seeds = erase.erased_rectangles(keys(count), seed, 32, 16, 0.5)
        return np.concatenate([squares[:, 0], rectangles[:, 0], seeds], -1)

    assert drawn(SEED).shape == (50, 10) and len(np.unique(drawn(SEED)[:, 8:], axis=0)) == 50
    np.testing.assert_array_equal(drawn(SEED), drawn(SEED))
    np.testing.assert_array_equal(drawn(SEED)[:7], drawn(SEED, 7))
    assert not np.array_equal(drawn(SEED), drawn(augment.epoch_seed(3, 2)))


def test_without_probability_nothing_is_erased():
    assert not areas(erase.erased_rectangle(keys(100), SEED, 32, 0.0)).any()
    squares, rectangles, _ = erase.erased_rectangles(keys(100), SEED, 32)
    assert squares.shape == rectangles.shape == (100, 0, 4)


@pytest.mark.medium
@pytest.mark.parametrize("color_augmentation, mean_crop", [("paper", "central"), ("source2012", "crop")])
def test_the_network_reads_zeros_or_random_pixels_where_a_crop_is_erased(color_augmentation, mean_crop):
    """And elsewhere what it reads without erasing."""
    source, statistics = prepared_source(), FakeStatistics()
    options = {"batch_size": 4, "color_augmentation": color_augmentation, "mean_crop": mean_crop}
    mean = np.random.default_rng(0).uniform(100, 120, (224, 224, 3)).astype(np.float32)
    plain = next(iter(input.training_batches(source, statistics, mean=mean, **options)))[0] - mean
    erasing = options | {"cutout": 100, "random_erasing": 1.0}
    crops, _ = next(iter(input.crop_batches(source, statistics, **erasing)))
    images = augment.augment_on_device(crops, mean).numpy() - mean
    pixels = images + mean
    for place, expected in enumerate(plain.numpy()):
        (top, left, bottom, right), *others = crops.erased[place].numpy()
        assert not others
        expected[top:bottom, left:right] = 0
        (top, left, bottom, right), *others = crops.randomized[place].numpy()
        assert not others and bottom > top and right > left
        random = pixels[place, top:bottom, left:right]
        assert random.min() >= 0 and random.max() <= 255
        expected[top:bottom, left:right] = images[place, top:bottom, left:right]
        np.testing.assert_allclose(images[place], expected, atol=1e-4)


@pytest.mark.medium
def test_a_resumed_epoch_erases_the_same():
    options = {"batch_size": 2, "epoch": 1, "cutout": 50, "random_erasing": 1.0}
    whole, resumed = (
        [augment.augment_on_device(crops, tf.zeros(3)) for crops, _ in batches]
        for batches in (
            input.crop_batches(prepared_source(), FakeStatistics(), **options, start_step=step) for step in (0, 1)
        )
    )
    assert len(resumed) == len(whole) - 1 > 0
    for expected, images in zip(whole[1:], resumed, strict=True):
        np.testing.assert_array_equal(images, expected)


def crops_of(seeds, side=64):
    """Black crops of which all but one pixel on each side is filled at random."""
    count = len(seeds)
    whole = tf.constant([[[1, 1, side - 1, side - 1]]] * count)
    pixels, none = tf.zeros([count, side, side, 3], tf.uint8), tf.zeros([count, 0, 4], tf.int32)
    numbers = (tf.zeros([count, 3]), tf.ones(count), tf.zeros(count))
    return augment.AugmentedCrops(pixels, *numbers, none, whole, tf.constant(seeds))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_random_pixels_are_uniform_and_depend_on_the_seed_of_the_image_alone(jit_compile):
    """Not on its place in the batch; uniform from 0 to 255 has mean 127.5 and standard deviation 73.6."""
    fill = tf.function(augment.augment_on_device, jit_compile=jit_compile)
    images = fill(crops_of([[1, 2], [3, 4]]), tf.zeros(3)).numpy()
    filled = images[:, 1:-1, 1:-1]
    assert abs(filled.mean() - 127.5) < 2 and abs(filled.std() - 73.6) < 1
    assert len(np.unique(filled[0])) > 0.99 * filled[0].size  # each pixel and colour has its own
    assert images.sum() == pytest.approx(filled.sum())
    np.testing.assert_array_equal(fill(crops_of([[3, 4]]), tf.zeros(3)).numpy()[0], images[1])


@pytest.mark.parametrize(
    "options, says",
    [
        ({"cutout": 225}, "cutout=225: expected 0 to 224, the side of the crops"),
        ({"cutout": -1}, "cutout=-1: expected 0 to 224"),
        ({"random_erasing": 1.5}, "random_erasing=1.5: expected a probability, 0 to 1"),
    ],
)
def test_what_cannot_be_erased_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        input.crop_batches(prepared_source(), FakeStatistics(), batch_size=4, **options)
