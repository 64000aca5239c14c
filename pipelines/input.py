"""Encoded images to batches: the tf.data pipelines of training and evaluation.

A training batch is a pure function of (source, seed, epoch, step): the order comes from (seed, epoch), and what is
done to an example from (seed, epoch, its key).

For speed, only the crop of a prepared record is decoded, the pixels stay uint8 for as long as they can, and the
arithmetic is done for whole batches.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.choices import MEAN_CROPS, RESIZED_SIZE
from pipelines.datasets.source import Source
from pipelines.example_pixels import cropper, example_or_zeros
from pipelines.images import augment, erase
from pipelines.images.crops import center_crop, check_resize
from pipelines.statistics import Statistics

_augment_on_device = tf.function(augment.augment_on_device, jit_compile=True)


def steps_per_epoch(source: Source, batch_size: int, bad_keys: Collection[str] = frozenset()) -> int:
    """How many full batches an epoch of `training_batches` with the same arguments has, at least one.

    Raises:
      ValueError: there is no full batch.
    """
    images = source.splits["train"] - len(bad_keys)
    if not 1 <= batch_size <= images:
        raise ValueError(f"batch_size={batch_size}: expected 1 to {images}, the training images of {source.name}")
    return images // batch_size


def training_batches(
    source: Source,
    statistics: Statistics,
    *,
    crop_size: int = 224,
    mean: np.ndarray | None = None,
    **options: Any,
) -> tf.data.Dataset:
    """One epoch's full batches: random crops or windows, horizontal flips and PCA colour augmentation.

    Args:
      source, statistics, crop_size: see `crop_batches`.
      mean: what the network will subtract, float32 [crop,crop,3] or [3]; None for the central crop of
        `statistics.mean_image`.
      **options: the others of `crop_batches`, `batch_size` among them.

    Returns:
      Elements (images float32 [batch/count,crop,crop,3], labels int32 [batch/count]). The images are RGB 0..255 plus
      the colour augmentation: the mean is not subtracted, and nothing is clipped. Once the network has subtracted
      `mean` they are
        (crop - mean + shift) / divisor
      where the divisor is 1.1 for "source2012" and otherwise 1; with mean_crop="crop", `mean` in this formula is
      the same crop of the mean image. Iterating raises tf.errors.InvalidArgumentError at an image that cannot be
      decoded; the message has its key, unless the source is a prepared one.

    Raises:
      ValueError: see `crop_batches`.
    """
    if mean is None:
        mean = center_crop(statistics.mean_image[np.newaxis], crop_size)[0]
    mean = np.asarray(mean, np.float32)

    crops = crop_batches(source, statistics, crop_size=crop_size, **options)
    return crops.map(
        lambda crops, labels: (_augment_on_device(crops, mean), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).prefetch(tf.data.AUTOTUNE)


def crop_batches(
    source: Source,
    statistics: Statistics,
    *,
    batch_size: int,
    crop_size: int = 224,
    seed: int = 0,
    epoch: int = 0,
    start_step: int = 0,
    augmentation: str = "crop",
    color_augmentation: str = "paper",
    resize: str = "shorter_side",
    size: int = RESIZED_SIZE,
    bad_keys: Collection[str] = frozenset(),
    mean_crop: str = "central",
    crop_chunk: int = 1,
    cutout: int = 0,
    random_erasing: float = 0.0,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """The batches of `training_batches`, for a training step that applies `augment.augment_on_device` itself.

    Args:
      source: its split "train" is read.
      statistics: of that split; its eigenvalues and eigenvectors scale the colour augmentation.
      batch_size: images per batch; an incomplete last batch is dropped.
      crop_size: side of the crops in pixels.
      seed: of the run.
      epoch: from 0.
      start_step: batches to skip; their images are not decoded.
      augmentation: one of `choices.AUGMENTATIONS`. The padding of "pad4" has the mean colour of `statistics`, which is
        zero once a network has subtracted it.
      color_augmentation: one of `choices.COLOR_AUGMENTATIONS`.
      resize: one of `choices.RESIZE_POLICIES`; without effect on prepared records, which are square already.
      size: side of the resized images in pixels; without effect on prepared records, which have a size already.
      bad_keys: keys of images that cannot be decoded; they are left out.
      mean_crop: one of `choices.MEAN_CROPS`; only "central" if `augmentation` is neither "crop" nor "none".
      crop_chunk: this many consecutive images of the epoch share one crop or window and one flip (32 in the 2012 code).
      cutout: side in pixels of the square of each crop that is filled with the mean; 0 for none.
      random_erasing: probability that a rectangle of a crop is filled with random pixel values; 0 for none.
      shard: (index, count) of `count` machines that train together: each gets an equal share of every batch.

    Returns:
      Elements (`augment.AugmentedCrops`, labels int32 [batch/count]).

    Raises:
      ValueError: an option that is not one of those above, a crop that is larger than the images, or a batch size that
        gives no full batch or that `count` does not divide.
    """
    # Checked here, because errors raised while the pipeline is traced come wrapped in a call stack.
    steps_per_epoch(source, batch_size, bad_keys)
    check_resize(resize)
    augment.check_augmentation(augmentation)
    augment.check_color_augmentation(color_augmentation)
    erase.check_erasing(cutout, random_erasing, crop_size)
    _check_layout(augmentation, mean_crop, crop_chunk, batch_size, shard)
    epoch_seed, size = augment.epoch_seed(seed, epoch), source.size if source.prepared else size
    check_crop_size(source, crop_size, size)
    cut = cropper(source, statistics, epoch_seed, augmentation, resize, size, crop_size, mean_crop)

    def example(position: tf.Tensor, element: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        encoded, label, key = element
        crop_key = key if crop_chunk == 1 else tf.strings.as_string(position // crop_chunk)
        return cut(encoded, key, crop_key), label, key

    divisor = augment.SOURCE2012_DIVISOR if color_augmentation == "source2012" else 1.0
    mean_share = 1.0 if mean_crop == "crop" else 1 - 1 / divisor

    def with_shifts(pixels: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor) -> tuple[augment.AugmentedCrops, tf.Tensor]:
        shifts = augment.color_augmentation(
            keys, epoch_seed, statistics.eigenvalues, statistics.eigenvectors, color_augmentation
        )
        erased = erase.erased_rectangles(keys, epoch_seed, crop_size, cutout, random_erasing)
        divisors, mean_shares = (tf.fill(keys.shape, value) for value in (divisor, mean_share))
        return augment.AugmentedCrops(pixels, shifts, divisors, mean_shares, *erased), labels

    first, (index, count) = start_step * batch_size, shard
    return _with_initial_parallelism_of_one(
        _good_examples(source, epoch_seed, first, bad_keys)
        .enumerate(first)
        .shard(count, index)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size // count, drop_remainder=True)
        .map(with_shifts, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(
    source: Source,
    split: str,
    *,
    batch_size: int,
    resize: str = "shorter_side",
    size: int = RESIZED_SIZE,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Every image of `split` exactly once, in a fixed order; the last batch may be shorter.

    Args:
      source: where from.
      split: one of its splits.
      batch_size: images per batch.
      resize: one of `choices.RESIZE_POLICIES`; without effect on prepared records, which are square already.
      size: side of the resized images in pixels.
      shard: (index, count) of `count` machines that evaluate together: each gets every `count`-th image.

    Returns:
      Elements (images uint8 [n,size,size,3], labels int32 [n], valid bool [n], keys string [n]). An image that cannot
      be decoded is zeros and not valid.

    Raises:
      ValueError: no such split, a batch size below 1, unknown `resize`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: expected at least 1")
    check_resize(resize)

    def example(encoded: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image, valid = example_or_zeros(source, encoded, resize, size)
        return image, label, valid, key

    return _with_initial_parallelism_of_one(
        source.encoded(split)
        .shard(shard[1], shard[0])
        .map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


def _with_initial_parallelism_of_one(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset` with AUTOTUNE going up from one parallel call.

    By default it goes down from 16. Each call that runs before one has ended prepares the graph of the decoders again,
    which takes as long as decoding a hundred photographs.
    """
    options = tf.data.Options()
    options.autotune.initial_parallelism = 1
    return dataset.with_options(options)


def check_crop_size(source: Source, crop_size: int, size: int) -> None:
    """Raises ValueError if the resized images of a source, of side `size`, are smaller than the crops of a network."""
    if crop_size > size:
        remedy = f"prepare it with size={crop_size} or more" if source.prepared else f"expected at most {size}"
        raise ValueError(
            f"crop_size={crop_size}: larger than the images of {source.name}, which have {size} pixels; {remedy}"
        )


def _good_examples(source: Source, shuffle_seed: int, start: int, bad_keys: Collection[str]) -> tf.data.Dataset:
    """The training images in the order of `shuffle_seed`, without the undecodable ones, from place `start` on."""
    if not bad_keys:
        return source.encoded("train", shuffle_seed, start)
    bad = tf.constant(sorted(bad_keys))
    examples = source.encoded("train", shuffle_seed)
    return examples.filter(lambda encoded, label, key: tf.reduce_all(key != bad)).skip(start)


def _check_layout(augmentation: str, mean_crop: str, crop_chunk: int, batch_size: int, shard: tuple[int, int]) -> None:
    """Raises ValueError for options that `crop_batches` cannot use."""
    if mean_crop not in MEAN_CROPS:
        raise ValueError(f"mean_crop={mean_crop}: expected one of {', '.join(MEAN_CROPS)}")
    if mean_crop == "crop" and augmentation not in ("crop", "none"):
        raise ValueError(
            f"mean_crop=crop: expected central, because augmentation={augmentation} cuts out no plain crop"
        )
    if crop_chunk < 1:
        raise ValueError(f"crop_chunk={crop_chunk}: expected at least 1")
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard={index}, {count}: expected an index of 0 to {count - 1}")
    if batch_size % count:
        raise ValueError(f"batch_size={batch_size}: expected a multiple of {count}, the machines that share it")
