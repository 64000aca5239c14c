"""What training does at random to a photograph: window, reflection and colour shift (paper, section 4.1).

Nothing here keeps a state. Every draw is a function of (seed, epoch, example), so it does not depend on the order
of the examples, on the number of threads, or on where a run was resumed.
"""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from pipelines.command import InputError
from pipelines.crops import STORED_SIZE

# paper: as printed. none: no shift.
COLOR_SHIFTS = ("paper", "none")

# Standard deviation of the random factors of the colour shift (paper, section 4.1).
COLOR_SHIFT_STD = 0.1

# Eigenvalues of intensities in 0..1 come from those of grey levels 0..255 by dividing by this squared.
_GREY_LEVELS = 255.0

# The draws of one example come from different streams: they would not be independent otherwise.
_WINDOW_STREAM, _COLOR_STREAM = 0, 1


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch (from 0) of a run with `seed`: 0 to 2^63 - 1, another one for every pair."""
    state = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def example_seed(seed: int, epoch: int, key: tf.Tensor) -> tf.Tensor:
    """The seed of one example in one epoch, int64 [2], for `random_window` and `color_shift`.

    Args:
      seed: of the run.
      epoch: from 0.
      key: string scalar, the source's id of the example.
    """
    # FarmHash's fingerprint: the same on every machine and in every version.
    example = tf.strings.to_hash_bucket_fast(key, tf.int64.max)
    return tf.stack([tf.constant(epoch_seed(seed, epoch), tf.int64), example])


def random_window(
    seed: tf.Tensor, stored: int = STORED_SIZE, size: int = 224
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where to cut the training crop out of the stored view, and whether to mirror it.

    All windows are equally likely: offsets 0 to `stored - size` inclusive on both axes, mirrored or not. That is
    33 x 33 x 2 for 224 of 256 pixels, as in the 2012 code; the paper counts 32 x 32 x 2.

    Args:
      seed: of the example, [2].
      stored: side of the stored view in pixels.
      size: side of the crop in pixels, at most `stored`.

    Returns:
      (y, x, flip): int32, int32 and bool scalars; y, x is the upper left corner.
    """
    offsets = stored - size + 1
    window = tf.random.stateless_uniform(
        [], _stream(seed, _WINDOW_STREAM), minval=0, maxval=2 * offsets**2, dtype=tf.int32
    )
    return window // 2 // offsets, window // 2 % offsets, window % 2 == 1


def check_color_shift(mode: str) -> None:
    """Raises InputError unless `mode` is one of COLOR_SHIFTS."""
    if mode not in COLOR_SHIFTS:
        raise InputError(f"--color_shift={mode}: expected one of {', '.join(COLOR_SHIFTS)}")


def color_shift(seed: tf.Tensor, eigenvalues: ArrayLike, eigenvectors: ArrayLike, mode: str = "paper") -> tf.Tensor:
    """What is added to every pixel of one example.

    "paper": [p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T, with p and l the eigenvectors and eigenvalues of the covariance of
    RGB values and a ~ N(0, 0.1). The formula depends on the unit of the intensities, which the paper does not
    name. Here it is 0..1, and the shift is then brought back to grey levels. On ImageNet that gives a standard
    deviation of 5.8 grey levels along the first eigenvector; grey levels in the formula itself would give 1,483.

    Args:
      seed: of the example, [2].
      eigenvalues: [3], in grey levels 0..255 squared.
      eigenvectors: [3,3], one a column, rows in the order R, G, B.
      mode: one of COLOR_SHIFTS.

    Returns:
      float32 [3], in grey levels: R, G, B.

    Raises:
      InputError: unknown mode.
    """
    check_color_shift(mode)
    if mode == "none":
        return tf.zeros([3])
    factors = tf.random.stateless_normal([3], _stream(seed, _COLOR_STREAM), stddev=COLOR_SHIFT_STD, dtype=tf.float64)
    along_axes = factors * tf.constant(eigenvalues, tf.float64) / _GREY_LEVELS
    return tf.cast(tf.linalg.matvec(tf.constant(eigenvectors, tf.float64), along_axes), tf.float32)


def _stream(seed: tf.Tensor, stream: int) -> tf.Tensor:
    # The stateless operations scramble their seed, so neighbours have nothing in common (fold_in would draw once
    # more to get there).
    return seed + tf.constant([stream, 0], seed.dtype)
