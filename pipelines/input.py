"""From encoded photographs to batches: the tf.data pipelines of training and evaluation.

A training batch is a pure function of (source, seed, epoch, step): the order comes from (seed, epoch), and what is
done to an example from (seed, epoch, its key).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import tensorflow as tf

from pipelines import augment
from pipelines.command import InputError
from pipelines.crops import STORED_SIZE, check_resize
from pipelines.decode import FORMATS, stored_view_or_zeros

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
      at an image that cannot be decoded; the message has its key, unless the source is a prepared one.

    Raises:
      InputError: a batch size without a full batch, unknown `color_shift` or `resize`.
    """
    # Checked here, because errors raised as the pipeline is traced come wrapped in a call stack.
    steps_per_epoch(source, batch_size, bad_keys)
    check_resize(resize)
    augment.check_color_shift(color_shift)

    def example(encoded: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example_seed = augment.example_seed(seed, epoch, key)
        y, x, flip = augment.random_window(example_seed, STORED_SIZE, crop_size)
        view = _prepared_view(encoded) if source.prepared else _stored_view(encoded, key, resize)
        image = tf.slice(view, [y, x, 0], [crop_size, crop_size, 3])
        image = tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)
        shift = augment.color_shift(example_seed, statistics.eigenvalues, statistics.eigenvectors, color_shift)
        return _plus(image, shift), label

    examples = source.encoded("train", shuffle_seed=augment.epoch_seed(seed, epoch))
    if bad_keys:
        bad = tf.constant(sorted(bad_keys))
        examples = examples.filter(lambda encoded, label, key: tf.reduce_all(key != bad))
    return (
        examples.skip(start_step * batch_size)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
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
    check_resize(resize)

    def example(encoded: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image, valid = stored_view_or_zeros(encoded, resize, FORMATS)
        return image, label, valid, key

    return (
        source.encoded(split)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def _stored_view(encoded: tf.Tensor, key: tf.Tensor, resize: str) -> tf.Tensor:
    """uint8 [256,256,3]; when run, an InvalidArgumentError that names `key` if `encoded` cannot be decoded."""
    view, valid = stored_view_or_zeros(encoded, resize, FORMATS)
    with tf.control_dependencies([tf.Assert(valid, ["this training image cannot be decoded:", key])]):
        return tf.identity(view)


def _prepared_view(encoded: tf.Tensor) -> tf.Tensor:
    """uint8 [256,256,3] of a prepared record, which needs neither guard nor resize."""
    # decode_and_crop_jpeg is no quicker for windows this large, and differs by some grey levels at their edges.
    view = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(view, [STORED_SIZE, STORED_SIZE, 3])


def _plus(image: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """float32 `image` [S,S,3] plus `shift` [3]."""
    # Row by row: TensorFlow's CPU kernel is several times slower at broadcasting over the three channels only.
    side = image.shape[0]
    rows = tf.reshape(tf.cast(image, tf.float32), [side, side * 3])
    return tf.reshape(rows + tf.tile(shift, [side]), [side, side, 3])
