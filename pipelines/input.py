"""From encoded photographs to batches: the tf.data pipelines of training and evaluation.

A training batch is a pure function of (source, seed, epoch, step): the order comes from (seed, epoch), and what is
done to an example from (seed, epoch, its key).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from pipelines.command import InputError
from pipelines import augment
from pipelines.crops import STORED_SIZE, stored_view
from pipelines.decode import FORMATS, decode_rgb, stored_view_or_zeros

if TYPE_CHECKING:
    from pipelines.sources import Source
    from pipelines.statistics import Statistics


def steps_per_epoch(source: Source, batch_size: int, bad_keys: Collection[str] = frozenset()) -> int:
    """How many full batches an epoch of `training_batches` with the same arguments has, at least one.

    Raises:
      InputError: there is no full batch.
    """
    images = source.splits["train"] - len(bad_keys)
    if not 1 <= batch_size <= images:
        raise InputError(f"--batch_size={batch_size}: expected 1 to {images}, the training images of {source.name}")
    return images // batch_size


def training_batches(
    source: Source,
    statistics: Statistics,
    *,
    batch_size: int,
    crop_size: int = 224,
    seed: int = 0,
    epoch: int = 0,
    start_step: int = 0,
    color_shift: str = "paper",
    resize: str = "shorter_side",
    bad_keys: Collection[str] = frozenset(),
) -> tf.data.Dataset:
    """One epoch's full batches, from `start_step` on: random windows, reflections and colour shifts.

    Args:
      source: its split "train" is read.
      statistics: of that split; its eigenvalues and eigenvectors scale the colour shift.
      batch_size: images a batch; those left over at the end of an epoch are left out of it.
      crop_size: side of the crops in pixels.
      seed: of the run.
      epoch: from 0.
      start_step: batches to leave out; their images are not decoded.
      color_shift: one of `augment.COLOR_SHIFTS`.
      resize: one of `crops.RESIZE_POLICIES`; of no effect on prepared records, which are 256 x 256 already.
      bad_keys: keys of images that cannot be decoded; they are left out.

    Returns:
      Elements (images float32 [batch,crop,crop,3], labels int32 [batch]). The images are RGB 0..255 plus the colour
      shift: the mean is not subtracted, and nothing is clipped. Iterating raises tf.errors.InvalidArgumentError
      at an image that cannot be decoded.

    Raises:
      InputError: a batch size without a full batch, unknown `color_shift` or `resize`.
    """
    steps_per_epoch(source, batch_size, bad_keys)

    def example(encoded: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        example_seed = augment.example_seed(seed, epoch, key)
        y, x, flip = augment.random_window(example_seed, STORED_SIZE, crop_size)
        cut = _cut_prepared if source.prepared else _cut
        image = cut(encoded, y, x, crop_size, resize)
        image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)
        shift = augment.color_shift(example_seed, statistics.eigenvalues, statistics.eigenvectors, color_shift)
        return tf.ensure_shape(image, [crop_size, crop_size, 3]), shift, label

    examples = source.encoded("train", shuffle_seed=_order_seed(seed, epoch))
    if bad_keys:
        bad = tf.constant(sorted(bad_keys))
        examples = examples.filter(lambda encoded, label, key: tf.reduce_all(key != bad))
    # Bytes until the batch is whole: four times less to move than floats.
    return (
        examples.skip(start_step * batch_size)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .map(_shifted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(source: Source, split: str, *, batch_size: int, resize: str = "shorter_side") -> tf.data.Dataset:
    """Every image of `split` exactly once, in a fixed order; the last batch is as short as it must be.

    Args:
      source: where from.
      split: one of its splits.
      batch_size: images a batch.
      resize: one of `crops.RESIZE_POLICIES`; of no effect on prepared records, which are 256 x 256 already.

    Returns:
      Elements (images uint8 [n,256,256,3], labels int32 [n], valid bool [n], keys string [n]). An image that cannot
      be decoded is zeros and not valid.

    Raises:
      InputError: no such split, a batch size below 1, unknown `resize`.
    """
    if batch_size < 1:
        raise InputError(f"--batch_size={batch_size}: expected at least 1")

    def example(encoded: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image, valid = stored_view_or_zeros(encoded, resize, FORMATS)
        return image, label, valid, key

    return (
        source.encoded(split)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def _order_seed(seed: int, epoch: int) -> int:
    """A seed below 2^63 for the order of an epoch; other ones for another epoch or seed."""
    state = np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def _cut(encoded: tf.Tensor, y: tf.Tensor, x: tf.Tensor, size: int, resize: str) -> tf.Tensor:
    """The `size` x `size` window at (y, x) of an encoded photograph's stored view, uint8."""
    return stored_view(decode_rgb(encoded, FORMATS), resize)[y : y + size, x : x + size]


def _cut_prepared(encoded: tf.Tensor, y: tf.Tensor, x: tf.Tensor, size: int, resize: str) -> tf.Tensor:
    """As `_cut`, of a 256 x 256 JPEG: only the rows and columns of the window are decoded."""
    return tf.io.decode_and_crop_jpeg(encoded, [y, x, size, size], channels=3, dct_method="INTEGER_ACCURATE")


def _shifted(images: tf.Tensor, shifts: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(images, tf.float32) + shifts[:, tf.newaxis, tf.newaxis], labels
