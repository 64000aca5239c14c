"""Rectangles of training images that are erased: cutout and random erasing.

Drawn like `pipelines.images.augment`: keyed hashes of ids of any shape, without state. `augment_on_device` fills the
squares of cutout with the mean that the network subtracts, so the network reads zeros there, and the rectangles of
random erasing with a random value for each pixel and colour. Both are as in the papers.
"""

import tensorflow as tf

from pipelines.images.augment import uniform

# Streams of `pipelines.images.augment.uniform`. Each try of random erasing has four, from 20 on.
_CUTOUT_STREAMS, _ERASING_STREAM, _TRY_STREAMS, _FILL_STREAMS = (16, 17), 18, 20, (64, 65)

# Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, section 4: share of the area and height / width.
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)

# The authors' code tries up to 100 times. A try is rejected in one case of twenty, so ten are enough.
_TRIES = 10


def check_erasing(cutout: int, random_erasing: float, size: int) -> None:
    """Raises ValueError unless both can be applied to crops of `size` pixels."""
    if not 0 <= cutout <= size:
        raise ValueError(f"cutout={cutout}: expected 0 to {size}, the side of the crops")
    if not 0 <= random_erasing <= 1:
        raise ValueError(f"random_erasing={random_erasing}: expected a probability, 0 to 1")


def erased_rectangles(
    key: tf.Tensor, seed: int, size: int, cutout: int = 0, random_erasing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What is erased of each example: `erased`, `randomized` and `fill_seeds` of `augment.AugmentedCrops`.

    Args:
      key: string [...], an id of each example.
      seed: of the epoch, as `augment.epoch_seed` gives it.
      size: side of the crops in pixels.
      cutout: side of the square of cutout; 0 for none.
      random_erasing: probability of a rectangle of random erasing; 0 for none.

    Returns:
      (squares of cutout, rectangles of random erasing, seeds): int32 [..., 0 or 1, 4] twice and [..., 2].
    """
    squares = rectangles = tf.zeros([*key.shape, 0, 4], tf.int32)
    if cutout:
        squares = cutout_square(key, seed, size, cutout)[..., tf.newaxis, :]
    if random_erasing:
        rectangles = erased_rectangle(key, seed, size, random_erasing)[..., tf.newaxis, :]
    return squares, rectangles, tf.stack([_below(key, seed, stream, 2**31 - 1) for stream in _FILL_STREAMS], -1)


def cutout_square(key: tf.Tensor, seed: int, size: int, length: int) -> tf.Tensor:
    """The square of cutout: int32 [..., 4], its top, left, bottom and right; the last two are exclusive.

    Its centre is any pixel of the crop with the same probability; what is outside of the crop is cut off.

    References: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017;
    cutout.py of the authors' code.
    """
    centers = (_below(key, seed, stream, size) for stream in _CUTOUT_STREAMS)
    starts = [center - length // 2 for center in centers]
    ends = [start + length for start in starts]
    return tf.clip_by_value(tf.stack([*starts, *ends], -1), 0, size)


def erased_rectangle(key: tf.Tensor, seed: int, size: int, probability: float) -> tf.Tensor:
    """The rectangle of random erasing: int32 [..., 4] as `cutout_square`; empty where nothing is erased.

    Area and aspect ratio (height / width) are uniform between the limits; a rectangle that does not fit is drawn
    again. Every position inside the crop is equally likely.
    """
    tries = [_tried(key, seed, size, _TRY_STREAMS + 4 * number) for number in range(_TRIES)]
    rectangle = tf.zeros([*key.shape, 4], tf.int32)
    for tried, fits in reversed(tries):
        rectangle = tf.where(fits[..., tf.newaxis], tried, rectangle)
    erases = uniform(key, seed, _ERASING_STREAM) < probability
    return tf.where(erases[..., tf.newaxis], rectangle, 0)


def _tried(key: tf.Tensor, seed: int, size: int, stream: int) -> tuple[tf.Tensor, tf.Tensor]:
    """One draw of a rectangle, and whether it is smaller than the crop on both axes."""
    area, aspect = (
        low + (high - low) * uniform(key, seed, stream + number)
        for number, (low, high) in enumerate((ERASED_AREA, ERASED_ASPECT))
    )
    sides = [tf.round(size * tf.sqrt(share)) for share in (area * aspect, area / aspect)]
    starts = [
        tf.floor(uniform(key, seed, stream + 2 + axis) * tf.maximum(size - side + 1, 0))
        for axis, side in enumerate(sides)
    ]
    ends = [start + side for start, side in zip(starts, sides, strict=True)]
    return tf.cast(tf.stack([*starts, *ends], -1), tf.int32), (sides[0] < size) & (sides[1] < size)


def _below(key: tf.Tensor, seed: int, stream: int, limit: int) -> tf.Tensor:
    """Draws from 0 to `limit - 1`, int32."""
    return tf.cast(tf.strings.to_hash_bucket_strong(key, limit, [seed, stream]), tf.int32)
