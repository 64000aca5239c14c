"""`train_and_evaluate(config)`: a whole training run, from its configuration to the last row of metrics.csv."""

import contextlib
import dataclasses
import tempfile

import keras

from keras_alexnet.callbacks.csv_log import Row
from keras_alexnet.callbacks.schedules import CosineSchedule, PlateauSchedule, Schedule, StepSchedule
from keras_alexnet.callbacks.schedules_2012 import HandSchedule, StagedSchedule
from keras_alexnet.classifier import parameters
from keras_alexnet.distribute.placement import placement_table, placement_text
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.context import TrainingContext, create_context
from keras_alexnet.training.create_run import load_or_create_run, new_run_config
from keras_alexnet.training.fine_tuning import (
    InitialWeights,
    classifiers,
    find_initial_weights,
    freeze,
    learning_rate_multipliers,
)
from keras_alexnet.training.input import (
    TrainingInput,
    dataset_input,
    open_training_source,
    service_addresses,
    synthetic_input,
)
from keras_alexnet.training.loop import TrainingLoop
from pipelines.datasets.source import Source, read_errors
from pipelines.input_service import watched
from pipelines.statistics import Statistics

# Settings without effect on noise.
_NEED_IMAGES = (
    *("dataset", "data_dir", "data_service", "max_bad_fraction", "crop_chunk", "class_order", "take"),
    *("validation_fraction", "augmentation", "cutout", "random_erasing", "class_weights", "color_augmentation"),
)


def train_and_evaluate(config: TrainingConfig) -> Row:
    """Trains a network, or resumes the run in `config.model_dir`, and validates it after each epoch.

    Args:
      config: the configuration; `dataset` and `model_dir` are required unless it is `synthetic`.

    Returns:
      The last row of metrics.csv.

    Raises:
      ValueError: for a value in `config` that cannot be used, or if training has diverged.
      OSError: if the run directory cannot be written.
      TrainingInterrupted: on SIGTERM or Ctrl-C, after the run has been saved.

    Examples:
        >>> row = train_and_evaluate(TrainingConfig(dataset="folder:photos", model_dir="runs/photos", init="he"))
        >>> row["val_top1_error"]
    """
    with contextlib.ExitStack() as stack:
        if config.synthetic:
            config = _synthetic_config(config)
            if not config.model_dir:
                config = dataclasses.replace(config, model_dir=stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("model_dir",) if config.synthetic else ("dataset", "model_dir"):
            if getattr(config, name) is None:
                raise ValueError(f"{name} is missing")
        context = create_context(config)
        stack.enter_context(context.cluster.watched())
        return _train(context)


def _synthetic_config(config: TrainingConfig) -> TrainingConfig:
    for name in _NEED_IMAGES:
        value = getattr(config, name)
        if value != getattr(TrainingConfig(), name):
            raise ValueError(f"{name}={value}: has no effect on synthetic images, which are not read from a dataset")
    # There is no validation split, which the default schedule needs.
    return dataclasses.replace(config, schedule="constant") if config.schedule == "plateau" else config


def _train(context: TrainingContext) -> Row:
    config, cluster = context.config, context.cluster
    source = open_training_source(config)
    new = new_run_config(context, source)
    with context.run_directory.locked() if cluster.is_chief else contextlib.nullcontext():
        with cluster.chief_first():
            initial = _initial_weights(context)
            run_config, statistics = load_or_create_run(context, source, new, initial)
        # A resumed run keeps its own initial learning rate.
        assert run_config.learning_rate is not None
        config = dataclasses.replace(config, learning_rate=run_config.learning_rate)
        context = dataclasses.replace(context, config=config)
        with cluster.only_chief_prints(), watched(service_addresses(config)), read_errors(source):
            loop = _create_loop(context, source, run_config, statistics, initial)
            return loop.run(config.epochs, config.steps)


def _initial_weights(context: TrainingContext) -> InitialWeights | None:
    """The initial weights of a new run, if the config names some; a resumed run starts from its checkpoint."""
    config = context.config
    if not config.init_from or context.run_directory.has_checkpoint():
        return None
    return find_initial_weights(config.init_from, context.network, config)


def _create_loop(
    context: TrainingContext,
    source: Source,
    run_config: RunConfig,
    statistics: Statistics,
    initial: InitialWeights | None,
) -> TrainingLoop:
    keras.utils.set_random_seed(context.config.seed)
    schedule = create_schedule(context)
    with context.strategy.scope():
        model = create_model(context, run_config, initial)
    if context.config.synthetic:
        data = synthetic_input(context, source)
    else:
        data = dataset_input(context, source, run_config, statistics, model, schedule)
    _report(context, source, run_config, model, data)
    return TrainingLoop(context, model, data, schedule, run_config.class_weight_values)


def create_model(context: TrainingContext, run_config: RunConfig, initial: InitialWeights | None) -> keras.Model:
    """The network of a run with its initial weights and its optimizer. Call it under the strategy's scope."""
    config, network = context.config, context.network
    model = run_config.build(context.run_directory.mean, config.mixed_precision)
    freeze(model, config.freeze)
    if initial is not None:
        initial.apply(model, config)
        print(f"initial weights from {initial.name}; newly initialized: {', '.join(classifiers(model))}", flush=True)
    optimizer = PaperSGD(
        config.learning_rate,
        weight_decay=network.weight_decay,
        bias_lr_multiplier=network.bias_lr_multiplier,
        decay_biases=network.decay_biases,
        layer_lr_multipliers=learning_rate_multipliers(model, config.lr_multipliers),
    )
    # With float16, Keras wraps the optimizer for dynamic loss scaling.
    model.compile(optimizer)
    model.optimizer.build(model.trainable_variables)
    return model


def create_schedule(context: TrainingContext) -> Schedule:
    """The learning rate schedule of a run."""
    config, bias_lr_multiplier = context.config, context.network.bias_lr_multiplier
    rate, epochs, warmup_epochs = config.learning_rate, config.epochs, config.warmup_epochs
    if config.step_epochs and config.schedule != "step":
        print(f"step_epochs={','.join(config.step_epochs)} is not used: schedule={config.schedule} has no such steps")
    if config.schedule == "plateau":
        return PlateauSchedule("val_top1_error", config.patience, warmup_epochs=warmup_epochs)
    if config.schedule == "step" and config.step_epochs:
        return StepSchedule(rate, [int(epoch) for epoch in config.step_epochs], warmup_epochs)
    if config.schedule == "step":
        own_rate = bias_lr_multiplier if bias_lr_multiplier != 1 else None
        return StagedSchedule(rate, epochs, own_rate, warmup_epochs)
    if config.schedule == "cosine":
        return CosineSchedule(rate, epochs, warmup_epochs)
    if config.schedule == "hand2012":
        return HandSchedule(rate, epochs, warmup_epochs=warmup_epochs)
    return Schedule(warmup_epochs)


def _report(
    context: TrainingContext, source: Source, run_config: RunConfig, model: keras.Model, data: TrainingInput
) -> None:
    """Prints what is trained and where."""
    images = source.splits["train"] - len(run_config.bad_images)
    dropped = images - data.steps_per_epoch * data.batch_size
    print(
        f"{model.name}: {parameters(model):,} trainable parameters, {len(run_config.class_names)} classes, "
        f"{images:,} training images, {data.steps_per_epoch} steps per epoch"
        + (f" ({dropped} do not fill a batch and are left out, others in each epoch)" if dropped else "")
        + f", {context.strategy.num_replicas_in_sync} replica(s)",
        flush=True,
    )
    print(placement_text(placement_table(model, strategy=context.strategy), context.strategy), flush=True)
