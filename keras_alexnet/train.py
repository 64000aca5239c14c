"""Command: trains a network.

python -m keras_alexnet.train --flagfile=keras_alexnet/configs/photos.flags --model_dir=build/photos
"""

import dataclasses
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.checkpoints import has_checkpoint, locked
from keras_alexnet.description import ModelDescription
from keras_alexnet.feeding import noise_data, photograph_data, training_source
from keras_alexnet.fine_tuning import StartingPoint, find_starting_point, freeze, learning_rate_multipliers
from keras_alexnet.loop import Row, TrainingLoop
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.placement import make_strategy, placement_table, placement_text
from keras_alexnet.recipe import TrainingConfig, define_flags, flag_values
from keras_alexnet.schedules import ConstantSchedule, HandSchedule, PlateauSchedule, StagedSchedule
from keras_alexnet.signals import Stopped
from keras_alexnet.towers import TowerMirroredStrategy
from keras_alexnet.variants import Variant, find_variant
from pipelines.command import InputError, run
from pipelines.input import steps_per_epoch
from pipelines.sources import Source
from pipelines.statistics import Statistics, scan

# What a resumed run cannot change: the network, which images make up which step, what is trained.
_FIXED = (
    "variant",
    "width",
    "init",
    "dataset",
    "resize",
    "batch_size",
    "seed",
    "class_names",
    "init_from",
    "freeze",
    "crop_chunk",
    "take",
    "mixed_precision",
)


def train(config: TrainingConfig) -> Row:
    """Trains as `config` says, or goes on with the run that is found in its `model_dir`.

    Returns:
      The last row of metrics.csv.

    Raises:
      InputError: for anything in `config` that cannot be; the message names it.
      Stopped: on SIGTERM or Ctrl-C, once the run has been saved.
    """
    if config.synthetic:
        return _train_on_noise(config)
    for name in ("dataset", "model_dir"):
        if getattr(config, name) is None:
            raise InputError(f"missing --{name} (--help lists the flags)")
    return _train(config)


def _train_on_noise(config: TrainingConfig) -> Row:
    """Trains on noise, in a folder that goes away afterwards if none is given."""
    for name in ("dataset", "data_dir", "max_bad_fraction", "crop_chunk", "class_order", "take"):
        value = getattr(config, name)
        if value != getattr(TrainingConfig(), name):
            raise InputError(f"--{name}={value}: --synthetic reads no images; expected only one of the two")
    # There is nothing to validate on, which the default schedule would need.
    config = dataclasses.replace(config, schedule="constant" if config.schedule == "plateau" else config.schedule)
    if config.model_dir:
        return _train(config)
    with tempfile.TemporaryDirectory() as folder:
        return _train(dataclasses.replace(config, model_dir=folder))


def _train(config: TrainingConfig) -> Row:
    try:
        strategy = make_strategy(config.strategy, config.virtual_devices, config.devices)
        find_variant(config.variant).scaled(config.width)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, TowerMirroredStrategy) and find_variant(config.variant).towers < 2:
        raise InputError(f"--strategy=towers: --variant={config.variant} has one tower; expected a network of two")
    if config.batch_size % replicas:
        raise InputError(f"--batch_size={config.batch_size}; expected a multiple of the {replicas} replicas")
    source = training_source(config)
    new = _describe(config, source)
    with locked(config.model_dir):
        start = _starting_point(config)
        description, statistics = _found_or_begun(config, source, new, start)
        schedule = _schedule(config)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            model = _compiled_model(config, description, start)
        if config.synthetic:
            data = noise_data(config, source, strategy)
        else:
            data = photograph_data(config, source, description, statistics, model, schedule)
        print(
            f"{model.name}: {model.count_params():,} parameters, {len(description.class_names)} classes, "
            f"{source.splits['train']:,} training images, {data.steps_per_epoch} steps an epoch, {replicas} replica(s)",
            flush=True,
        )
        loop = TrainingLoop(
            model,
            strategy,
            data,
            config.model_dir,
            schedule,
            config.checkpoint_steps,
            config.keep,
            config.steps_per_execution,
        )
        print(placement_text(placement_table(model, strategy=strategy), strategy), flush=True)
        return loop.run(config.epochs, config.steps)


def _starting_point(config: TrainingConfig) -> StartingPoint | None:
    """What a new run starts from, if --init_from says so; a resumed one starts from its checkpoint."""
    if not config.init_from or has_checkpoint(config.model_dir):
        return None
    return find_starting_point(config.init_from, find_variant(config.variant), config.width, config.init)


def _compiled_model(config: TrainingConfig, description: ModelDescription, start: StartingPoint | None) -> keras.Model:
    """The network with its optimizer, and the weights to start from, if any."""
    variant = description.architecture()
    model = description.build(ModelDescription.mean(config.model_dir), config.mixed_precision)
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


def _describe(config: TrainingConfig, source: Source) -> ModelDescription:
    """The description of the run that `config` asks for, before its images have been looked at."""
    names = source.class_names
    if config.classes is not None and config.classes < len(names):
        raise InputError(f"--classes={config.classes}: {source.name} has {len(names)}; expected at least as many")
    if config.schedule == "plateau" and "validation" not in source.splits:
        raise InputError(
            f"--schedule=plateau needs a validation split; {source.name} has only {', '.join(source.splits)}; "
            "expected --schedule=staged or constant"
        )
    steps_per_epoch(source, config.batch_size)  # refuses a batch larger than the training set
    expected = find_variant(config.variant).resize
    if source.prepared and source.resize != expected:
        print(
            f"--dataset={source.name} was prepared with --resize={source.resize}; --variant={config.variant}, as "
            f"published, expects {expected}",
            flush=True,
        )
    return ModelDescription(
        variant=config.variant,
        width=config.width,
        init=config.init,
        # More outputs than classes are allowed: room for classes to come.
        class_names=names + tuple(f"unused_{index}" for index in range(len(names), config.classes or 0)),
        dataset=config.dataset or source.name,
        data_dir=config.data_dir,
        resize=source.resize if source.prepared else expected,
        batch_size=config.batch_size,
        seed=config.seed,
        init_from=config.init_from,
        freeze=config.freeze,
        crop_chunk=config.crop_chunk,
        take=config.take,
        mixed_precision=config.mixed_precision,
    )


def _found_or_begun(
    config: TrainingConfig, source: Source, new: ModelDescription, start: StartingPoint | None
) -> tuple[ModelDescription, Statistics]:
    """Description and statistics of the run found in model_dir, if it is the same; else of a new one, saved there."""
    if ModelDescription.exists(config.model_dir):
        old = ModelDescription.load(config.model_dir)
        changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if not changed:
            return old, ModelDescription.statistics(config.model_dir)
        if has_checkpoint(config.model_dir):
            raise InputError(
                f"--{changed[0]}={getattr(new, changed[0])}: the run in --model_dir={config.model_dir} was started "
                f"with {getattr(old, changed[0])}; expected the same, or another --model_dir"
            )
    statistics = source.statistics
    if statistics is None:
        print(f"{config.dataset} is not prepared: one pass over its images for mean and covariance", flush=True)
        statistics, bad = scan(source, "train", new.resize, config.max_bad_fraction)
        new = dataclasses.replace(new, bad_images=tuple(sorted(bad)))
        steps_per_epoch(source, config.batch_size, new.bad_images)
    new.save(config.model_dir, statistics, _mean(find_variant(config.variant), statistics, start))
    return new, statistics


def _mean(variant: Variant, statistics: Statistics, start: StartingPoint | None) -> np.ndarray:
    """What a new network is to subtract: what its starting weights expect, or else what its variant says."""
    if start is not None:
        return start.mean
    means = {"image": statistics.mean_image, "channels": statistics.rgb_mean, "constant": variant.rgb_mean}
    return np.asarray(means[variant.mean], np.float32)


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
    except Stopped as stopped:
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
