"""Command: trains a network.

python -m keras_alexnet.train --flagfile=keras_alexnet/configs/photos.flags --model_dir=build/photos
"""

import dataclasses
from dataclasses import dataclass

import keras
from absl import flags

from keras_alexnet.checkpoints import ModelDescription, has_checkpoint, locked
from keras_alexnet.loop import Data, Row, Stopped, TrainingLoop
from keras_alexnet.optimizer import PaperSGD, PlateauSchedule, StagedSchedule
from keras_alexnet.placement import STRATEGIES, make_strategy
from keras_alexnet.variants import VARIANTS, find_variant
from pipelines.command import InputError, run
from pipelines.input import evaluation_batches, steps_per_epoch, training_batches
from pipelines.sources import FORMS, Source, open_source
from pipelines.statistics import Statistics, scan

SCHEDULES = ("plateau", "staged", "constant")
# What a resumed run cannot change: the network, or which images make up which step.
_FIXED = ("variant", "width", "init", "dataset", "resize", "batch_size", "seed", "class_names")


@dataclass(frozen=True)
class TrainingConfig:
    """A recipe: one field a flag, with the paper's values as defaults. The flags' help says what they mean."""

    dataset: str
    model_dir: str
    data_dir: str | None = None
    variant: str = "paper"
    classes: int | None = None
    width: float = 1.0
    init: str = "paper"
    epochs: int = 90
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 0.01
    schedule: str = "plateau"
    patience: int = 5
    strategy: str = "auto"
    virtual_devices: int = 0
    seed: int = 0
    checkpoint_steps: int = 1000
    keep: int = 3
    max_bad_fraction: float = 0.001


def define_flags() -> None:
    """One flag a field of TrainingConfig."""
    default = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
    flags.DEFINE_string("dataset", None, f"what to train on: {FORMS}", required=True)
    flags.DEFINE_string("model_dir", None, "gets checkpoints and logs; a run found there is resumed", required=True)
    flags.DEFINE_string("data_dir", default["data_dir"], "where TFDS keeps datasets (~/tensorflow_datasets if not set)")
    flags.DEFINE_enum("variant", default["variant"], list(VARIANTS), "which network")
    flags.DEFINE_integer(
        "classes", None, "outputs of the network; as many as the dataset has if not set", lower_bound=1
    )
    flags.DEFINE_float("width", default["width"], "multiplies filters and units; 1 is the network as published")
    flags.DEFINE_enum("init", default["init"], ["paper", "he"], "initial values; he also scales the input by 1/64")
    flags.DEFINE_integer("epochs", default["epochs"], "passes over the training images", lower_bound=1)
    flags.DEFINE_integer("steps", None, "stop after so many steps in all, if that is sooner", lower_bound=1)
    flags.DEFINE_integer("batch_size", default["batch_size"], "images a step, over all replicas", lower_bound=1)
    flags.DEFINE_float("learning_rate", default["learning_rate"], "at the start; a resumed run keeps its own", 0.0)
    flags.DEFINE_enum(
        "schedule",
        default["schedule"],
        SCHEDULES,
        "plateau: a tenth when validation error stops improving, three times; staged: four equal stages down to 1/250",
    )
    flags.DEFINE_integer("patience", default["patience"], "epochs without improvement that make a plateau", 1)
    flags.DEFINE_enum("strategy", default["strategy"], STRATEGIES, "mirrored: a replica a GPU; towers: one a pair")
    flags.DEFINE_integer("virtual_devices", default["virtual_devices"], "split the CPU into so many devices", 0)
    flags.DEFINE_integer("seed", default["seed"], "of initial values, order, crops, colour shifts and dropout")
    flags.DEFINE_integer("checkpoint_steps", default["checkpoint_steps"], "steps between checkpoints in an epoch", 1)
    flags.DEFINE_integer("keep", default["keep"], "how many checkpoints to keep", lower_bound=1)
    flags.DEFINE_float(
        "max_bad_fraction", default["max_bad_fraction"], "share of images that may be undecodable", 0.0, 1.0
    )


def train(config: TrainingConfig) -> Row:
    """Trains as `config` says, or goes on with the run that is found in its `model_dir`.

    Returns:
      The last row of metrics.csv.

    Raises:
      InputError: for anything in `config` that cannot be; the message names it.
      Stopped: on SIGTERM or Ctrl-C, once the run has been saved.
    """
    try:
        strategy = make_strategy(config.strategy, config.virtual_devices)
        variant = find_variant(config.variant)
        variant.scaled(config.width)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % replicas:
        raise InputError(f"--batch_size={config.batch_size}; expected a multiple of the {replicas} replicas")
    source = open_source(config.dataset, config.data_dir)
    new = _describe(config, source)
    with locked(config.model_dir):
        description, statistics = _found_or_begun(config, source, new)
        data = _data(config, source, description, statistics)
        keras.utils.set_random_seed(config.seed)
        with strategy.scope():
            model = description.build(statistics)
            model.compile(
                PaperSGD(
                    config.learning_rate,
                    bias_lr_multiplier=variant.bias_lr_multiplier,
                    decay_biases=variant.decay_biases,
                )
            )
        print(
            f"{model.name}: {model.count_params():,} parameters, {len(description.class_names)} classes, "
            f"{source.splits['train']:,} training images, {data.steps_per_epoch} steps an epoch, {replicas} replica(s)",
            flush=True,
        )
        loop = TrainingLoop(
            model, strategy, data, config.model_dir, _schedule(config), config.checkpoint_steps, config.keep
        )
        return loop.run(config.epochs, config.steps)


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
    return ModelDescription(
        variant=config.variant,
        width=config.width,
        init=config.init,
        # More outputs than classes are allowed: room for classes to come.
        class_names=names + tuple(f"unused_{index}" for index in range(len(names), config.classes or 0)),
        dataset=config.dataset,
        data_dir=config.data_dir,
        resize=source.resize if source.prepared else find_variant(config.variant).resize,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def _found_or_begun(
    config: TrainingConfig, source: Source, new: ModelDescription
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
    new.save(config.model_dir, statistics)
    return new, statistics


def _data(config: TrainingConfig, source: Source, description: ModelDescription, statistics: Statistics) -> Data:
    variant, bad = find_variant(description.variant), frozenset(description.bad_images)

    def training(epoch: int, start_step: int):
        return training_batches(
            source,
            statistics,
            batch_size=config.batch_size,
            crop_size=variant.crop_size,
            seed=config.seed,
            epoch=epoch,
            start_step=start_step,
            color_shift=variant.color_shift,
            resize=description.resize,
            bad_keys=bad,
        )

    def validation():
        batch_size = min(config.batch_size, 64)
        return evaluation_batches(source, "validation", batch_size=batch_size, resize=description.resize)

    steps = steps_per_epoch(source, config.batch_size, bad)
    return Data(training, steps, config.batch_size, validation if "validation" in source.splits else None)


def _schedule(config: TrainingConfig) -> keras.callbacks.Callback:
    if config.schedule == "plateau":
        return PlateauSchedule("val_top1_error", config.patience)
    if config.schedule == "staged":
        return StagedSchedule(config.learning_rate, config.epochs)
    return keras.callbacks.Callback()


def main(argv: list[str]) -> int:
    """Trains, and says how it ended and where things are."""
    values = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainingConfig)}
    config = TrainingConfig(**values)
    try:
        row = train(config)
    except Stopped as stopped:
        print(f"stopped by {stopped}, saved in {config.model_dir}; the same command goes on from there")
        return 128 + stopped.number
    errors = [f"{name} {row[name]:.2%}" for name in ("val_top1_error", "val_top5_error") if name in row]
    print(
        f"done after {row['steps']} steps: {', '.join(errors) or 'no validation split'}; checkpoints, metrics.csv and "
        f"logs (tensorboard --logdir={config.model_dir}/logs) are in {config.model_dir}"
    )
    return 0


if __name__ == "__main__":
    run(main, define_flags)
