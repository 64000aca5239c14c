"""Random augmentation of training images: crop, horizontal flip and PCA colour augmentation (paper, section 4.1), and
what later networks use instead of the crop.

Nothing here has state. Every draw is a keyed hash of an id, so it does not depend on the order of the examples, on the
number of threads, or on where a run was resumed. All functions take ids of any shape, so that a whole batch is
drawn for at once.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from pipelines.choices import AUGMENTATIONS, COLOR_AUGMENTATIONS, RESIZED_SIZE

# Standard deviation of the random factors of the colour augmentation (paper, section 4.1; the code's "coeff").
PCA_STD = 0.1

# The 2012 code divides what it has shifted by 1 + coeff.
SOURCE2012_DIVISOR = 1 + PCA_STD

# Eigenvalues of intensities in 0..1 come from those of pixel values 0..255 by dividing by this squared.
_PIXEL_VALUES = 255.0

# Each kind of draw hashes with a key of its own: they would not be independent otherwise.
_CROP_STREAM, _COLOR_STREAMS, _WINDOW_STREAMS = 0, (1, 2, 3), (4, 5, 6, 7)

# Of the windows of "random_resized": the least share of the image's area, and the longest shape. Inception's are 8 %
# and 4/3 (Szegedy et al., CVPR 2015, section 6); with thousands of images 8 % leaves out too many objects.
LEAST_AREA, LONGEST_ASPECT = 0.35, 4 / 3

# Pixels of padding on each side of "pad4" (He et al., CVPR 2016, section 4.2).
PADDING = 4

# float64 distinguishes this many uniform numbers.
_UNIFORM_STEPS = 2**53


class AugmentedCrops(NamedTuple):
    """A batch of training images before the arithmetic of `augment_on_device`: mostly a quarter of their bytes.

    Attributes:
      pixels: uint8 [N,S,S,3], cropped and flipped; float32 if a mean of its own was subtracted from each.
      shifts: float32 [N,3], as `color_augmentation` gives them.
      divisors: float32 [N], of the shifted difference from the mean.
      mean_shares: float32 [N], how much of the mean the divided image lacks.
      erased: int32 [N,R,4], rectangles (top, left, bottom, right; the last two exclusive) to fill with the mean.
      randomized: int32 [N,Q,4], rectangles to fill with random pixel values.
      fill_seeds: int32 [N,2], of these values.
    """

    pixels: tf.Tensor
    shifts: tf.Tensor
    divisors: tf.Tensor
    mean_shares: tf.Tensor
    erased: tf.Tensor
    randomized: tf.Tensor
    fill_seeds: tf.Tensor


def augment_on_device(crops: AugmentedCrops, mean: tf.Tensor) -> tf.Tensor:
    """The network's input: float32 [N,S,S,3], (pixels + shift) / divisor + share * mean, except where erased.

    Compiled by XLA (`tf.function(augment_on_device, jit_compile=True)`) the batch is written to memory once, which
    takes a fifth of the time of separate operations.

    Args:
      crops: as `pipelines.input.crop_batches` gives them.
      mean: what the network will subtract, float32 [S,S,3] or [3].
    """
    # Row by row, because broadcasting over no more than three channels is slower.
    side = crops.pixels.shape[1]
    mean = tf.reshape(tf.broadcast_to(mean, [side, side, 3]), [side, side * 3])
    rows = tf.reshape(tf.cast(crops.pixels, tf.float32), [-1, side, side * 3])
    rows += tf.tile(crops.shifts, [1, side])[:, tf.newaxis]
    rows /= crops.divisors[:, tf.newaxis, tf.newaxis]
    rows += crops.mean_shares[:, tf.newaxis, tf.newaxis] * mean
    images, mean = tf.reshape(rows, [-1, side, side, 3]), tf.reshape(mean, [side, side, 3])
    for rectangle in tf.unstack(crops.erased, axis=1):
        images = tf.where(_inside(rectangle, side), mean, images)
    for rectangle in tf.unstack(crops.randomized, axis=1):
        images = tf.where(_inside(rectangle, side), _random_pixels(crops.fill_seeds, side), images)
    return images


def _inside(rectangle: tf.Tensor, side: int) -> tf.Tensor:
    """Which pixels are in the rectangles int32 [N,4]: bool [N,S,S,1]."""
    top, left, bottom, right = tf.unstack(rectangle[:, tf.newaxis], axis=-1)
    pixels = tf.range(side)
    rows, columns = (pixels >= top) & (pixels < bottom), (pixels >= left) & (pixels < right)
    return (rows[:, :, tf.newaxis] & columns[:, tf.newaxis])[..., tf.newaxis]


def _random_pixels(seeds: tf.Tensor, side: int) -> tf.Tensor:
    """Values from 0 to 255, float32 [N,S,S,3], from the seeds int32 [N,2] of the images."""

    def draw(seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform([side, side, 3], seed, maxval=255.0, alg="philox")

    return tf.map_fn(draw, seeds, fn_output_signature=tf.float32)


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch (from 0) of a run with `seed`: 0 to 2^63 - 1, another one for every pair."""
    state = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def random_crop(
    key: tf.Tensor, seed: int, resized_size: int = RESIZED_SIZE, size: int = 224
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where to crop the resized image, and whether to flip the crop.

    All crops are equally likely: offsets 0 to `resized_size - size` inclusive on both axes, flipped or not. That is
    33 x 33 x 2 for 224 of 256 pixels, as in the 2012 code; the paper counts 32 x 32 x 2.

    Args:
      key: string [...], an id of each example.
      seed: of the epoch, as `epoch_seed` gives it.
      resized_size: side of the resized image in pixels.
      size: side of the crop in pixels, at most `resized_size`.

    Returns:
      (y, x, flip): int32, int32 and bool, each of the shape of `key`; y, x is the upper left corner.
    """
    offsets = resized_size - size + 1
    draw = tf.cast(tf.strings.to_hash_bucket_strong(key, 2 * offsets**2, [seed, _CROP_STREAM]), tf.int32)
    return draw // 2 // offsets, draw // 2 % offsets, draw % 2 == 1


def random_window(
    key: tf.Tensor, seed: int, resized_size: int = RESIZED_SIZE
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The window of "random_resized": where it is in the resized image, and whether to flip it.

    The area is uniform between LEAST_AREA of the image and all of it. The aspect ratio is log-uniform between
    1 / LONGEST_ASPECT and LONGEST_ASPECT, as far as a window of that area fits, so that none is rejected. Every
    position is equally likely.

    Args:
      key: string [...], an id of each example.
      seed: of the epoch, as `epoch_seed` gives it.
      resized_size: side of the resized image in pixels.

    Returns:
      (y, x, height, width, flip): int32 four times and bool, each of the shape of `key`; y, x is the upper left corner.
    """
    area, shape, row, column = (uniform(key, seed, stream) for stream in _WINDOW_STREAMS)
    area = LEAST_AREA + (1 - LEAST_AREA) * area
    # Wider than this, or higher, a window of this area would be larger than the image.
    log_limit = tf.minimum(tf.constant(np.log(LONGEST_ASPECT), tf.float64), -tf.math.log(area))
    aspect = tf.exp((2 * shape - 1) * log_limit)
    height, width = (
        tf.clip_by_value(tf.cast(tf.round(resized_size * tf.sqrt(share)), tf.int32), 1, resized_size)
        for share in (area / aspect, area * aspect)
    )
    y, x = (
        tf.cast(tf.floor(place * tf.cast(resized_size - side + 1, tf.float64)), tf.int32)
        for place, side in ((row, height), (column, width))
    )
    return y, x, height, width, tf.strings.to_hash_bucket_strong(key, 2, [seed, _CROP_STREAM]) == 1


def padded(image: tf.Tensor, rgb_mean: ArrayLike) -> tf.Tensor:
    """An image with PADDING pixels of the mean colour on each side, which is zero once the mean is subtracted.

    So in "Deep Residual Learning" (He et al., CVPR 2016, section 4.2), whose code pads after subtracting the mean.

    Args:
      image: uint8 [H,W,3].
      rgb_mean: [3], pixel values 0..255; rounded.

    Returns:
      uint8 [H + 2 PADDING, W + 2 PADDING, 3].
    """
    color = tf.constant(np.rint(rgb_mean).astype(np.uint8))
    padding = [[PADDING, PADDING], [PADDING, PADDING], [0, 0]]
    # Differences modulo 256: the zeros that are padded become the colour, and the pixels what they were.
    return tf.pad(image - color, padding) + color


def check_augmentation(augmentation: str) -> None:
    """Raises ValueError unless `augmentation` is one of AUGMENTATIONS."""
    if augmentation not in AUGMENTATIONS:
        raise ValueError(f"augmentation={augmentation}: expected one of {', '.join(AUGMENTATIONS)}")


def check_color_augmentation(mode: str) -> None:
    """Raises ValueError unless `mode` is one of COLOR_AUGMENTATIONS."""
    if mode not in COLOR_AUGMENTATIONS:
        raise ValueError(f"color_augmentation={mode}: expected one of {', '.join(COLOR_AUGMENTATIONS)}")


def color_augmentation(
    key: tf.Tensor, seed: int, eigenvalues: ArrayLike, eigenvectors: ArrayLike, mode: str = "paper"
) -> tf.Tensor:
    """The PCA colour augmentation: what is added to every pixel of an example.

    "paper": `[p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T`, with p and l the eigenvectors and eigenvalues of the covariance of
    RGB values and a ~ N(0, 0.1). The formula depends on the unit of the intensities, which the paper does not
    name. Here it is 0..1, and the shift is then scaled to 0..255. On ImageNet that gives a standard
    deviation of 5.8 pixel values along the first eigenvector; pixel values in the formula itself would give 1,483.

    "source2012": as "paper", with the standard deviations, the square roots of l, in place of l, in pixel values:
    12.2 along the first eigenvector of ImageNet (convdata_jpeg.py of the 2012 code, which then divides the shifted
    image by SOURCE2012_DIVISOR).

    Args:
      key: string [...], an id of each example.
      seed: of the epoch, as `epoch_seed` gives it.
      eigenvalues: [3], in pixel values 0..255 squared.
      eigenvectors: [3,3], one a column, rows in the order R, G, B.
      mode: one of COLOR_AUGMENTATIONS.

    Returns:
      float32 [...,3], in pixel values: R, G, B.

    Raises:
      ValueError: unknown mode.
    """
    check_color_augmentation(mode)
    if mode == "none":
        return tf.zeros(tf.concat([tf.shape(key), [3]], axis=0))
    scales = np.asarray(eigenvalues, np.float64) / _PIXEL_VALUES if mode == "paper" else np.sqrt(eigenvalues)
    factors = tf.stack([_normal(key, seed, stream) for stream in _COLOR_STREAMS], axis=-1)
    axes = tf.constant(eigenvectors, tf.float64) * (PCA_STD * scales)
    return tf.cast(tf.linalg.matvec(axes, factors), tf.float32)


def _normal(key: tf.Tensor, seed: int, stream: int) -> tf.Tensor:
    """Draws from N(0, 1), float64, of the shape of `key`."""
    return tf.math.ndtri(uniform(key, seed, stream))


def uniform(key: tf.Tensor, seed: int, stream: int) -> tf.Tensor:
    """Draws from the uniform distribution on (0, 1), float64, of the shape of `key`."""
    step = tf.strings.to_hash_bucket_strong(key, _UNIFORM_STEPS, [seed, stream])
    return (tf.cast(step, tf.float64) + 0.5) / _UNIFORM_STEPS
