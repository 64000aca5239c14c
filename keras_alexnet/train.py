"""Command: trains a network.

python -m keras_alexnet.train --flagfile=keras_alexnet/configs/photos.flags --model_dir=build/photos
"""

import contextlib
import dataclasses
import tempfile

import keras
import tensorflow as tf

from keras_alexnet.callbacks.schedules import ConstantSchedule, HandSchedule, PlateauSchedule, StagedSchedule
from keras_alexnet.checkpoints import locked
from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.distribute.placement import placement_table, placement_text
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.distribute.towers import TowerMirroredStrategy
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.training.config import TrainingConfig, define_flags, flag_values
from keras_alexnet.training.context import describe, initial_weights, load_or_create_run
from keras_alexnet.training.fine_tuning import InitialWeights, freeze, learning_rate_multipliers
from keras_alexnet.training.input import noise_data, photograph_data, service_addresses, training_source
from keras_alexnet.training.loop import TrainingLoop
from keras_alexnet.training.progress import Row
from keras_alexnet.training.signals import TrainingInterrupted
from keras_alexnet.variants import find_variant
from pipelines.cli import run
from pipelines.datasets.source import Source
from pipelines.input_service import watched
from pipelines.statistics import Statistics


def train(config: TrainingConfig) -> Row:
    """Trains as `config` says, or goes on with the run that is found in its `model_dir`.

    Returns:
      The last row of metrics.csv.

    Raises:
      ValueError: for anything in `config` that cannot be; the message names it.
      TrainingInterrupted: on SIGTERM or Ctrl-C, once the run has been saved.
    """
    if config.synthetic:
        return _train_on_noise(config)
    for name in ("dataset", "model_dir"):
        if getattr(config, name) is None:
            raise ValueError(f"missing --{name} (--help lists the flags)")
    return _train(config)


def _train_on_noise(config: TrainingConfig) -> Row:
    """Trains on noise, in a folder that goes away afterwards if none is given."""
    for name in ("dataset", "data_dir", "data_service", "max_bad_fraction", "crop_chunk", "class_order", "take"):
        value = getattr(config, name)
        if value != getattr(TrainingConfig(), name):
            raise ValueError(f"{name}={value}: --synthetic reads no images; expected only one of the two")
    # There is nothing to validate on, which the default schedule would need.
    config = dataclasses.replace(config, schedule="constant" if config.schedule == "plateau" else config.schedule)
    if config.model_dir:
        return _train(config)
    with tempfile.TemporaryDirectory() as folder:
        return _train(dataclasses.replace(config, model_dir=folder))


def _train(config: TrainingConfig) -> Row:
    try:
        find_variant(config.variant).scaled(config.width)
        strategy = make_strategy(config.strategy, config.virtual_devices, config.devices)
    except ValueError as error:
        raise ValueError(f"{error}") from error
    workers = Cluster(strategy)
    with workers.watched():
        return _train_under(strategy, workers, config)


def _train_under(strategy: tf.distribute.Strategy, workers: Cluster, config: TrainingConfig) -> Row:
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, TowerMirroredStrategy) and find_variant(config.variant).towers < 2:
        raise ValueError(f"strategy=towers: --variant={config.variant} has one tower; expected a network of two")
    if config.batch_size % replicas:
        raise ValueError(f"batch_size={config.batch_size}; expected a multiple of the {replicas} replicas")
    # Machines may have folders of their own.
    recipe = {f"--{name}": value for name, value in vars(config).items() if name not in ("data_dir", "model_dir")}
    workers.expect_same(recipe)
    source = training_source(config)
    new = describe(config, source)
    with locked(config.model_dir) if workers.is_chief else contextlib.nullcontext():
        with workers.chief_first():
            start = initial_weights(config)
            description, statistics = load_or_create_run(config, source, new, start, workers)
        with workers.only_chief_prints():
            loop = _loop(config, strategy, source, description, statistics, start)
            with watched(service_addresses(config)):
                return loop.run(config.epochs, config.steps)


def _loop(
    config: TrainingConfig,
    strategy: tf.distribute.Strategy,
    source: Source,
    description: RunConfig,
    statistics: Statistics,
    start: InitialWeights | None,
) -> TrainingLoop:
    """The loop with all that it needs; tells what it is going to train, and where."""
    schedule = _schedule(config)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = _compiled_model(config, description, start)
    if config.synthetic:
        data = noise_data(config, source, strategy)
    else:
        data = photograph_data(config, source, description, statistics, model, schedule, Cluster(strategy))
    images = source.splits["train"] - len(description.bad_images)
    left_over = images - data.steps_per_epoch * data.batch_size
    print(
        f"{model.name}: {model.count_params():,} parameters, {len(description.class_names)} classes, "
        f"{images:,} training images, {data.steps_per_epoch} steps an epoch"
        + (f" (which leave out {left_over}, others each time)" if left_over else "")
        + f", {strategy.num_replicas_in_sync} replica(s)",
        flush=True,
    )
    options = (config.checkpoint_steps, config.keep, config.steps_per_execution)
    loop = TrainingLoop(model, strategy, data, config.model_dir, schedule, *options)
    print(placement_text(placement_table(model, strategy=strategy), strategy), flush=True)
    return loop


def _compiled_model(config: TrainingConfig, description: RunConfig, start: InitialWeights | None) -> keras.Model:
    """The network with its optimizer, and the weights to start from, if any."""
    variant = description.architecture()
    model = description.build(RunConfig.mean(config.model_dir), config.mixed_precision)
    freeze(model, config.freeze)
    if start is not None:
        start.apply(model, variant.scaled(config.width))
        print(f"started from {start.name}; fc8 is new", flush=True)
    optimizer = PaperSGD(
        config.learning_rate,
        weight_decay=variant.weight_decay,
        bias_lr_multiplier=variant.bias_lr_multiplier,
        decay_biases=variant.decay_biases,
        layer_lr_multipliers=learning_rate_multipliers(model, config.lr_multipliers),
    )
    # With float16, Keras wraps the optimizer for dynamic loss scaling.
    model.compile(optimizer)
    return model


def _schedule(config: TrainingConfig) -> ConstantSchedule:
    bias_lr_multiplier = find_variant(config.variant).bias_lr_multiplier
    if config.schedule == "plateau":
        return PlateauSchedule("val_top1_error", config.patience)
    if config.schedule == "staged":
        own_rate = bias_lr_multiplier if bias_lr_multiplier != 1 else None
        return StagedSchedule(config.learning_rate, config.epochs, own_rate)
    if config.schedule == "hand2012":
        return HandSchedule(config.learning_rate, config.epochs)
    return ConstantSchedule()


def main(argv: list[str]) -> int:
    """Trains, and says how it ended and where things are."""
    config = flag_values()
    try:
        row = train(config)
    except TrainingInterrupted as stopped:
        print(f"stopped by {stopped}, saved in {config.model_dir}; the same command goes on from there")
        return 128 + stopped.number
    if config.synthetic and not config.model_dir:
        print(f"done after {row['steps']} steps on noise; nothing is kept")
        return 0
    errors = [f"{name} {row[name]:.2%}" for name in ("val_top1_error", "val_top5_error") if name in row]
    print(
        f"done after {row['steps']} steps: {', '.join(errors) or 'no validation split'}; checkpoints, metrics.csv and "
        f"logs (tensorboard --logdir={config.model_dir}/logs) are in {config.model_dir}"
    )
    return 0


if __name__ == "__main__":
    run(main, define_flags)
