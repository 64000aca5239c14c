"""What the training loop is fed with: photographs, or noise that costs nothing to make."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.callbacks.schedules import ConstantSchedule
from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.variants import find_variant
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.datasets.subset import take
from pipelines.images.augment import augment_on_device
from pipelines.images.crops import RESIZED_SIZE
from pipelines.input import crop_batches, evaluation_batches, steps_per_epoch
from pipelines.input_service import served_batches
from pipelines.statistics import Statistics

# An "epoch" of noise: long enough to measure, short enough to be told of every minute or so.
_NOISE_STEPS = 100


@dataclass(frozen=True)
class Data:
    """What the loop is fed with.

    `training(epoch, start_step)` gives the batches of an epoch from a step on, or this worker's share of them: what
    `finish` makes images of, float32 `[batch_size, S, S, 3]`, on the replica's device, and int32 labels; if this is no
    tf.data.Dataset, they are distributed to the replicas already. There are images of `classes` classes. `validation`
    has batches for an Evaluator; it is None where there is nothing to validate on.
    """

    training: Callable[[int, int], tf.data.Dataset | Iterable]
    steps_per_epoch: int
    batch_size: int
    classes: int
    validation: tf.data.Dataset | None
    finish: Callable[[Any], tf.Tensor] = tf.identity


def photograph_data(
    config: TrainingConfig,
    source: Source,
    description: RunConfig,
    statistics: Statistics,
    model: keras.Model,
    schedule: ConstantSchedule,
    workers: Cluster,
) -> Data:
    """Augmented batches of `source` as `config` and the description of the run say, and its validation split.

    Of several workers, each has its even share of every batch and of the validation images.
    """
    shard = (workers.index, workers.count)
    variant, bad = description.architecture(), frozenset(description.bad_images)
    mean = model.get_layer("mean_subtraction").mean
    services = service_addresses(config)
    own_mean = mean.ndim == 3 and not config.init_from

    def training(epoch: int, start_step: int):
        make = functools.partial(
            crop_batches,
            source,
            statistics,
            batch_size=config.batch_size,
            crop_size=variant.crop_size,
            seed=config.seed,
            epoch=epoch,
            start_step=start_step,
            color_augmentation=variant.color_augmentation if schedule.augments_colors(epoch) else "none",
            crop_chunk=config.crop_chunk,
            mean_crop=variant.mean_crop if own_mean else "central",
            resize=description.resize,
            bad_keys=bad,
        )
        if not services:
            return make(shard=shard)
        return served_batches(services, lambda part: make(shard=part), shard)

    validation = None
    if "validation" in source.splits:
        options = {"batch_size": min(config.batch_size, 64), "resize": description.resize, "shard": shard}
        validation = evaluation_batches(source, "validation", **options)

    # On a GPU the separate operations are quick enough, and need no compiler for it to be installed.
    compiled = not tf.config.list_physical_devices("GPU")
    finish = tf.function(functools.partial(augment_on_device, mean=mean), jit_compile=compiled)
    return Data(
        training,
        steps_per_epoch(source, config.batch_size, bad),
        config.batch_size,
        len(source.class_names),
        validation,
        finish,
    )


def service_addresses(config: TrainingConfig) -> list[str]:
    """Those of --data_service; none where batches are made in this process."""
    return config.data_service.split(",") if config.data_service else []


def training_source(config: TrainingConfig) -> Source:
    """What `config` says to train on.

    Raises:
      ValueError: if there is no such dataset.
    """
    if config.synthetic:
        return _noise_source(config)
    source = open_source(config.dataset, config.data_dir, config.class_order)
    return source if config.take is None else take(source, config.take)


def _noise_source(config: TrainingConfig) -> Source:
    """Stands for a dataset where there is none: its size, classes and statistics, but no images to read."""
    grey = np.full((RESIZED_SIZE, RESIZED_SIZE, 3), 127.5, np.float32)
    statistics = Statistics(1, grey, grey[0, 0].astype(np.float64), np.zeros((3, 3)))
    names = tuple(f"class_{index}" for index in range(config.classes or 1000))
    images = {"train": _NOISE_STEPS * config.batch_size}
    resize = find_variant(config.variant).resize
    return Source("noise", names, names, images, True, resize, statistics, _unreadable, _unreadable)


def _unreadable(*arguments) -> tf.data.Dataset:
    raise AssertionError("noise is not read but made by noise_data")


class _FixedBatch(Iterator):
    """The same batch, again and again."""

    def __init__(self, *parts):
        self._parts = parts

    def __next__(self):
        return self._parts


def noise_data(config: TrainingConfig, source: Source, strategy: tf.distribute.Strategy) -> Data:
    """One batch of noise that stays where the replicas are: what is left is the time of the training step itself."""
    size, images = find_variant(config.variant).crop_size, config.batch_size // strategy.num_replicas_in_sync
    random, classes = np.random.default_rng(config.seed), len(source.class_names)
    pixels = tf.constant(random.uniform(0, 255, (images, size, size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, classes, images), tf.int32)
    batch = _FixedBatch(
        strategy.experimental_distribute_values_from_function(lambda context: pixels),
        strategy.experimental_distribute_values_from_function(lambda context: labels),
    )
    return Data(lambda epoch, start_step: batch, _NOISE_STEPS, config.batch_size, classes, None)
