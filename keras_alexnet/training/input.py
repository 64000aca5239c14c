"""The input of the training loop: augmented batches of a dataset, or one batch of noise to measure the step alone."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet import networks
from keras_alexnet.callbacks.schedules import Schedule
from keras_alexnet.classifier import subtracted_mean
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.context import TrainingContext
from pipelines.choices import RESIZED_SIZE
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.datasets.subset import take
from pipelines.images.augment import augment_on_device
from pipelines.input import crop_batches, evaluation_batches, steps_per_epoch
from pipelines.input_service import served_batches
from pipelines.statistics import Statistics

# Steps of an "epoch" of noise: long enough to measure, short enough for a report every minute or so.
_NOISE_STEPS = 100


@dataclass(frozen=True)
class TrainingInput:
    """The batches of a run.

    Attributes:
      batches: function of (epoch, start_step) that gives the batches of an epoch from a step on, or this worker's share
        of them: what `augment_on_device` takes, and int32 labels `[batch_size]`. They are distributed to the replicas
        unless the result is not a tf.data.Dataset.
      steps_per_epoch: full batches per epoch.
      batch_size: images per step, over all replicas.
      classes: number of classes that there are images of.
      validation: batches for an `Evaluator`; None if the dataset has no validation split.
      augment_on_device: makes the network's images, float32 `[batch_size, S, S, 3]`, on the replica's device.
    """

    batches: Callable[[int, int], tf.data.Dataset | Iterable]
    steps_per_epoch: int
    batch_size: int
    classes: int
    validation: tf.data.Dataset | None
    augment_on_device: Callable[[Any], tf.Tensor] = tf.identity


def open_training_source(config: TrainingConfig) -> Source:
    """Opens the dataset of a run.

    Raises:
      ValueError: if there is no such dataset.
    """
    if config.synthetic:
        return _noise_source(config)
    assert config.dataset is not None
    fraction = config.validation_fraction or None
    source = open_source(config.dataset, config.data_dir, config.class_order, validation_fraction=fraction)
    return source if config.take is None else take(source, config.take)


def service_addresses(config: TrainingConfig) -> list[str]:
    """Addresses of the data services; none if batches are made in this process."""
    return config.data_service.split(",") if config.data_service else []


def dataset_input(
    context: TrainingContext,
    source: Source,
    run_config: RunConfig,
    statistics: Statistics,
    model: keras.Model,
    schedule: Schedule,
) -> TrainingInput:
    """Augmented batches of `source`, and its validation split. Each worker gets an equal share of both.

    Args:
      context: the run.
      source: its dataset.
      run_config: its saved configuration.
      statistics: of the training images.
      model: the network, whose mean the augmentation needs.
      schedule: decides in which epochs colours are augmented.
    """
    config, cluster = context.config, context.cluster
    network, bad = context.network, frozenset(run_config.bad_images)
    color_augmentation = config.color_augmentation or network.color_augmentation
    shard, services = (cluster.index, cluster.count), service_addresses(config)
    mean = subtracted_mean(model, statistics.rgb_mean)
    # With "random_resized" and "pad4" no crop of the mean image belongs to the pixels: its centre is subtracted.
    crops_mean_image = mean.ndim == 3 and not config.init_from and config.augmentation in ("crop", "none")

    def batches(epoch: int, start_step: int) -> tf.data.Dataset:
        make = functools.partial(
            crop_batches,
            source,
            statistics,
            batch_size=config.batch_size,
            crop_size=run_config.crop_size,
            seed=config.seed,
            epoch=epoch,
            start_step=start_step,
            augmentation=config.augmentation,
            color_augmentation=color_augmentation if schedule.augments_colors(epoch) else "none",
            crop_chunk=config.crop_chunk,
            cutout=config.cutout,
            random_erasing=config.random_erasing,
            mean_crop=network.mean_crop if crops_mean_image else "central",
            resize=run_config.resize,
            size=run_config.size_before_crops,
            bad_keys=bad,
        )
        if not services:
            return make(shard=shard)
        return served_batches(services, lambda part: make(shard=part), shard)

    # Not on a GPU, where the separate operations are fast and XLA may lack its compiler.
    jit_compile = not tf.config.list_physical_devices("GPU")
    return TrainingInput(
        batches,
        steps_per_epoch(source, config.batch_size, bad),
        config.batch_size,
        len(source.class_names),
        _validation_batches(context, source, run_config),
        tf.function(functools.partial(augment_on_device, mean=mean), jit_compile=jit_compile),
    )


def _validation_batches(context: TrainingContext, source: Source, run_config: RunConfig) -> tf.data.Dataset | None:
    if "validation" not in source.splits:
        return None
    return evaluation_batches(
        source,
        "validation",
        batch_size=min(context.config.batch_size, 64),
        resize=run_config.resize,
        size=run_config.size_before_crops,
        shard=(context.cluster.index, context.cluster.count),
    )


def synthetic_input(context: TrainingContext, source: Source) -> TrainingInput:
    """One batch of noise that stays on the replicas' devices, so that only the training step takes time."""
    config, strategy = context.config, context.strategy
    size, images = config.image_size or context.network.image_size, config.batch_size // strategy.num_replicas_in_sync
    random, classes = np.random.default_rng(config.seed), len(source.class_names)
    pixels = tf.constant(random.uniform(0, 255, (images, size, size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, classes, images), tf.int32)
    batch = _FixedBatch(
        strategy.experimental_distribute_values_from_function(lambda context: pixels),
        strategy.experimental_distribute_values_from_function(lambda context: labels),
    )
    return TrainingInput(lambda epoch, start_step: batch, _NOISE_STEPS, config.batch_size, classes, None)


class _FixedBatch(Iterator):
    """The same batch without end."""

    def __init__(self, *parts: Any):
        self._parts = parts

    def __next__(self) -> Any:
        return self._parts


def _noise_source(config: TrainingConfig) -> Source:
    """A dataset with size, classes and statistics, but without images."""
    mean_image = np.full((RESIZED_SIZE, RESIZED_SIZE, 3), 127.5, np.float32)
    names = tuple(f"class_{index}" for index in range(config.classes or 1000))
    return Source(
        name="noise",
        class_names=names,
        label_names=names,
        splits={"train": _NOISE_STEPS * config.batch_size},
        prepared=True,
        resize=networks.find(config.network).resize_policy,
        statistics=Statistics(1, mean_image, mean_image[0, 0].astype(np.float64), np.zeros((3, 3))),
        read=_unreadable,
        read_shards=_unreadable,
    )


def _unreadable(*arguments: Any) -> Any:
    raise AssertionError("noise is not read, but made by synthetic_input")
