"""Datasets for `model.fit`: the training input of the train command, and centre crops for validation."""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_alexnet.alexnet_arguments import resolve_variant
from keras_alexnet.variants import Variant
from pipelines.choices import RESIZED_SIZE
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.images.augment import augment_on_device
from pipelines.images.crops import center_crop
from pipelines.input import check_crop_size, crop_batches, evaluation_batches, steps_per_epoch
from pipelines.preparation.compute_statistics import compute_statistics


def training_dataset(
    dataset: str | Source,
    *,
    batch_size: int = 128,
    variant: str | Variant = "paper",
    mean: np.ndarray | None = None,
    augmentation: str = "crop",
    cutout: int = 0,
    random_erasing: float = 0.0,
    seed: int = 0,
    start_epoch: int = 0,
    data_dir: str | None = None,
    validation_fraction: float | None = None,
    max_bad_fraction: float = 0.001,
) -> tf.data.Dataset:
    """Random crops, horizontal flips and PCA colour augmentation of a training split (paper, section 4.1).

    Each iteration is one epoch, with new crops: `fit` iterates once per epoch. What an epoch contains depends on `seed`
    and its number alone, so that an interrupted training run resumes with `start_epoch` (see `callbacks.Resume`).
    An epoch that is not read to its end is repeated by the next iteration.

    Args:
      dataset: name of a dataset as for the train command ("folder:photos", a directory written by pipelines.prepare,
        a TFDS name, ...), or what `pipelines.datasets.registry.open_source` returns.
      batch_size: images per batch, at least 1; an incomplete last batch is dropped.
      variant: the network, which sets the size of the crops, the resize policy and the colour augmentation.
      mean: what the network subtracts, `[S, S, 3]` or `[3]`, pixel values 0..255; only variant `source2012` needs it.
        By default the mean image of the dataset.
      augmentation: "crop", the paper's random crops; "random_resized", windows of 35 to 100 % of the area and of aspect
        ratio 3/4 to 4/3, resized to the crop; or "pad4", random crops of the image padded by 4 pixels on each side; or
        "none", the central crop, never flipped.
      cutout: side in pixels of a square that is erased from each crop, 0 for none; the network reads zeros there.
      random_erasing: probability, 0 to 1, that a rectangle of 2 to 40 % of a crop is filled with random pixel values.
      seed: seed of the order, the crops, the flips and the colours.
      start_epoch: number of the first epoch, from 0.
      data_dir: where TFDS keeps its datasets.
      validation_fraction: share of the training images, of each class, that is held out for `evaluation_dataset` where
        an image folder has no validation images; in (0, 1).
      max_bad_fraction: share of the images that may be undecodable, 0..1; they are left out.

    Returns:
      A dataset of (images float32 `[batch_size, S, S, 3]`, labels int32 `[batch_size]`), RGB 0..255 plus the colour
      augmentation. The network subtracts its mean itself. Its attribute `class_names` has the name of each label.

    Raises:
      ValueError: if there is no such dataset, or it has no full batch, or too many images cannot be decoded.

    Examples:
        >>> train = training_dataset("folder:photos", batch_size=32, validation_fraction=0.2)
        >>> val = evaluation_dataset("folder:photos", batch_size=32, validation_fraction=0.2)
        >>> model = AlexNet(classes=len(train.class_names), init="he")
        >>> model.compile(PaperSGD(0.005), "sparse_categorical_crossentropy", metrics=[Top1Error()])
        >>> model.fit(train, validation_data=val, epochs=10)
    """
    if start_epoch < 0:
        raise ValueError(f"start_epoch={start_epoch}: expected a number that is not negative")
    source = _open(dataset, data_dir, validation_fraction)
    variant = resolve_variant(variant)
    resize, bad = source.resize if source.prepared else variant.resize, frozenset[str]()
    statistics = source.statistics
    if statistics is None:
        statistics, bad = compute_statistics(source, "train", resize, max_bad_fraction)
    if mean is None:
        mean = center_crop(statistics.mean_image[np.newaxis], variant.crop_size)[0]
    mean = np.asarray(mean, np.float32)

    def batches(epoch: int) -> tf.data.Dataset:
        return crop_batches(
            source,
            statistics,
            batch_size=batch_size,
            crop_size=variant.crop_size,
            seed=seed,
            epoch=epoch,
            augmentation=augmentation,
            cutout=cutout,
            random_erasing=random_erasing,
            color_augmentation=variant.color_augmentation,
            resize=resize,
            bad_keys=bad,
            mean_crop=variant.mean_crop if augmentation == "crop" else "central",
        )

    augment = tf.function(augment_on_device, jit_compile=not tf.config.list_physical_devices("GPU"))
    result = _consecutive_epochs(
        batches,
        start_epoch,
        steps_per_epoch(source, batch_size, bad),
        lambda crops, labels: (augment(crops, mean), labels),
    )
    result.class_names = list(source.class_names)
    return result


def evaluation_dataset(
    dataset: str | Source,
    split: str = "validation",
    *,
    batch_size: int = 128,
    variant: str | Variant = "paper",
    data_dir: str | None = None,
    validation_fraction: float | None = None,
) -> tf.data.Dataset:
    """The centre crop of every image of a split, in a fixed order, for `fit(validation_data=...)` and `evaluate`.

    Args:
      dataset, data_dir, validation_fraction: see `training_dataset`; the same values give the other part of the images.
      split: "train", "validation" or "test".
      batch_size: images per batch, at least 1; the last batch may be smaller.
      variant: the network, which sets the size of the crops and the resize policy.

    Returns:
      A dataset of (images float32 `[N, S, S, 3]`, RGB 0..255, labels int32 `[N]`, weights float32 `[N]`). The weight of
      an image that cannot be decoded is 0, all others are 1. Its attribute `class_names` has the name of each label.

    Raises:
      ValueError: if there is no such dataset or split.
    """
    source = _open(dataset, data_dir, validation_fraction)
    variant = resolve_variant(variant)
    resize, crop_size = source.resize if source.prepared else variant.resize, variant.crop_size
    size = source.size if source.prepared else RESIZED_SIZE
    check_crop_size(source, crop_size, size)

    def crop(images: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, ...]:
        images = tf.ensure_shape(images, [None, size, size, 3])
        return tf.cast(center_crop(images, crop_size), tf.float32), labels, tf.cast(valid, tf.float32)

    batches = evaluation_batches(source, split, batch_size=batch_size, resize=resize, size=size)
    result = batches.map(crop).prefetch(tf.data.AUTOTUNE)
    result.class_names = list(source.class_names)
    return result


def _open(dataset: str | Source, data_dir: str | None, validation_fraction: float | None) -> Source:
    if isinstance(dataset, Source):
        return dataset
    return open_source(dataset, data_dir, validation_fraction=validation_fraction)


def _consecutive_epochs(
    batches: Callable[[int], tf.data.Dataset], start_epoch: int, steps: int, transform: Callable[..., Any]
) -> tf.data.Dataset:
    """`batches(epoch)` of `steps` elements each, after `transform`: the next epoch in each complete iteration."""
    epoch, spec = start_epoch, batches(start_epoch).element_spec
    # The iterators of the last epochs need the functions of their datasets.
    alive: collections.deque[tf.data.Dataset] = collections.deque(maxlen=4)

    def current_epoch() -> tf.Tensor:
        alive.append(batches(epoch))
        return tf.data.experimental.to_variant(alive[-1])

    def end_epoch() -> None:
        nonlocal epoch
        epoch += 1

    def count(step: tf.Tensor, batch: Any) -> Any:
        # The last batch ends an epoch. Keras reads a first one to build the metrics and starts again.
        is_last = tf.equal(step, steps - 1)
        with tf.control_dependencies([tf.cond(is_last, lambda: _called(end_epoch), lambda: False)]):
            return tf.nest.map_structure(tf.identity, batch)

    options = tf.data.Options()
    # What is read ahead must not be counted.
    options.experimental_optimization.inject_prefetch = False
    return (
        tf.data.Dataset.from_tensors(0)
        .flat_map(lambda _: tf.data.experimental.from_variant(tf.py_function(current_epoch, [], tf.variant), spec))
        .map(transform, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
        .enumerate()
        .map(count)
        .apply(tf.data.experimental.assert_cardinality(steps))
        .with_options(options)
    )


def _called(function: Callable[[], None]) -> tf.Tensor:
    """Calls a Python function within a graph; gives True."""

    def call() -> bool:
        function()
        return True

    return tf.py_function(call, [], tf.bool)
