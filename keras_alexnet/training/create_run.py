"""Creates a run directory, or loads an existing one after checking that it belongs to the same run."""

import dataclasses

import numpy as np

from keras_alexnet.checkpoints import saved_state
from keras_alexnet.imagenet import display_names
from keras_alexnet.networks import Network, parse_options
from keras_alexnet.run_directory import RunConfig, RunDirectory
from keras_alexnet.training.class_weights import balanced_weights, count_images, read_class_weights
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.context import TrainingContext
from keras_alexnet.training.fine_tuning import InitialWeights
from keras_alexnet.training.setting import Resume, setting_of
from pipelines.datasets.source import Source
from pipelines.input import steps_per_epoch
from pipelines.preparation.compute_statistics import compute_statistics
from pipelines.statistics import Statistics


def load_or_create_run(
    context: TrainingContext, source: Source, new: RunConfig, initial: InitialWeights | None
) -> tuple[RunConfig, Statistics]:
    """Configuration and statistics of the run in the run directory, or of a new one, which is saved there.

    The `learning_rate` of the configuration is set, also for runs of older versions.

    Args:
      context: the run.
      source: its dataset.
      new: the configuration of a new run (`new_run_config`).
      initial: weights that a new run starts from.

    Raises:
      ValueError: if the directory has another run, or this process is not the chief and finds no run of the chief.
    """
    directory = context.run_directory
    if directory.exists():
        saved = directory.config
        changed = _changed_settings(saved, new)
        if not changed and (directory.has_checkpoint() or saved.learning_rate == new.learning_rate):
            resumed = _resumed_settings(directory, saved, new)
            if resumed != saved and context.cluster.is_chief:
                directory.save_config(resumed)
            return resumed, directory.statistics
        if directory.has_checkpoint():
            raise ValueError(_difference(changed[0], saved, new, directory))
    if not (context.cluster.is_chief or context.config.synthetic):
        raise ValueError(
            f"model_dir={directory.path}: expected a directory that all workers share; found no run of worker 0"
        )
    statistics = source.statistics
    if statistics is None:
        print(f"{source.name} is not prepared: computing mean and covariance in one pass over its images", flush=True)
        max_bad_fraction, size = context.config.max_bad_fraction, new.size_before_crops
        statistics, bad = compute_statistics(source, "train", new.resize, max_bad_fraction, size)
        new = dataclasses.replace(new, bad_images=tuple(sorted(bad)))
        steps_per_epoch(source, context.config.batch_size, new.bad_images)
    if new.class_weights == "auto":
        weights = balanced_weights(count_images(source, new.bad_images))
        new = dataclasses.replace(new, class_weight_values=weights)
    directory.save(new, statistics, _mean(context.network, statistics, initial))
    return new, statistics


def new_run_config(context: TrainingContext, source: Source) -> RunConfig:
    """The configuration of a new run, before its images have been decoded.

    Raises:
      ValueError: if the dataset does not fit the configuration.
    """
    config, names = context.config, source.class_names
    if config.classes is not None and config.classes < len(names):
        raise ValueError(f"classes={config.classes}: expected at least the {len(names)} classes of {source.name}")
    if config.schedule == "plateau" and "validation" not in source.splits:
        raise ValueError(
            f"schedule='plateau': needs a validation split, but {source.name} has only {' and '.join(source.splits)}. "
            "Use 'step' or 'constant', or set validation_fraction."
        )
    if config.early_stopping_epochs and "validation" not in source.splits:
        raise ValueError(
            f"early_stopping_epochs={config.early_stopping_epochs}: needs a validation split, but {source.name} has "
            f"only {' and '.join(source.splits)}. Set validation_fraction."
        )
    steps_per_epoch(source, config.batch_size)  # refuses a batch larger than the training set
    network = context.network
    resize = source.resize if source.prepared else network.resize_policy
    if resize != network.resize_policy:
        print(
            f"{source.name} was prepared with resize={resize}; the network {network.name} expects "
            f"{network.resize_policy}",
            flush=True,
        )
    labels = display_names(names) if source.label_names == names else source.label_names
    # More outputs than classes are allowed, for classes that are added later.
    unused = tuple(f"unused_{index}" for index in range(len(names), config.classes or 0))
    shared = {field.name for field in dataclasses.fields(RunConfig)} & {f.name for f in dataclasses.fields(config)}
    settings = {name: getattr(config, name) for name in shared}
    return RunConfig(
        **settings
        | {
            "dataset": config.dataset or source.name,
            "class_names": names + unused,
            "label_names": labels + unused if labels else (),
            "resize": resize,
            "network_options": parse_options(config.network_options),
            "resized_size": _resized_size(context, source),
            "class_weight_values": _weights_of_file(config, source),
            "step_epochs": None if config.step_epochs is None else tuple(config.step_epochs),
        }
    )


def _changed_settings(saved: RunConfig, new: RunConfig) -> list[str]:
    """Names of the settings that differ and that a resumed run cannot change."""
    fixed = [field.name for field in dataclasses.fields(TrainingConfig) if setting_of(field).resume is Resume.REFUSE]
    names = [name for name in (*fixed, "class_names", "resize") if hasattr(saved, name)]
    names += ["resized_size"] if saved.resized_size is not None else []
    # Those of "auto" are computed for a new run only.
    names += ["class_weight_values"] if new.class_weight_values else []
    changed = [name for name in names if getattr(saved, name) != getattr(new, name)]
    # Runs of 0.1.0 have no rounding of torchvision's; they keep theirs.
    is_older = (saved.resize, new.resize) == ("shorter_side", "torchvision")
    return [name for name in changed if not (name == "resize" and is_older)]


def _difference(name: str, saved: RunConfig, new: RunConfig, directory: RunDirectory) -> str:
    if name == "class_weight_values":
        return (
            f"class_weights={new.class_weights}: the run in {directory.path} was started with other weights. Use the "
            "same file, or another model_dir"
        )
    return (
        f"{name}={getattr(new, name)}: the run in {directory.path} was started with {getattr(saved, name)}. Use the "
        "same value, or another model_dir"
    )


def _weights_of_file(config: TrainingConfig, source: Source) -> tuple[float, ...]:
    named = config.class_weights
    return () if named in ("none", "auto") else read_class_weights(named, source.class_names)


def _resumed_settings(directory: RunDirectory, saved: RunConfig, new: RunConfig) -> RunConfig:
    """`saved` with the settings of `new` that a resumed run may change; reports a learning rate that it may not.

    Older versions did not save the initial learning rate.
    """
    kept = saved.learning_rate
    if kept is None:
        history = (saved_state(directory.checkpoints_dir) or {}).get("history")
        kept = history[0]["learning_rate"] if history else new.learning_rate
    if kept != new.learning_rate:
        print(f"learning_rate={new.learning_rate}: ignored; the run keeps its initial rate, {kept}", flush=True)
    fields = [field for field in dataclasses.fields(TrainingConfig) if hasattr(new, field.name)]
    names = [field.name for field in fields if setting_of(field).resume is Resume.CHANGE]
    return dataclasses.replace(saved, learning_rate=kept, **{name: getattr(new, name) for name in names})


def _resized_size(context: TrainingContext, source: Source) -> int:
    """Side of the resized images in pixels: that of the records, if the dataset was prepared."""
    network, image_size = context.network, context.config.image_size or context.network.image_size
    own = network.resized_size(image_size)
    size = source.size if source.prepared and not context.config.synthetic else own
    if size < image_size:
        raise ValueError(
            f"dataset={source.name}: its images have {size} pixels, fewer than the {image_size} that "
            f"{network.name} reads; prepare it with size={own}"
        )
    if size != own:
        print(
            f"{source.name} was prepared with size={size}: crops of {image_size} pixels are taken from images of "
            f"{size}, not {own}",
            flush=True,
        )
    return size


def _mean(network: Network, statistics: Statistics, initial: InitialWeights | None) -> np.ndarray | None:
    """What a new network subtracts: the mean of its initial weights, or else the one that the registry names."""
    if network.mean is None:
        return None
    if initial is not None:
        return initial.mean
    means = {"image": statistics.mean_image, "channels": statistics.rgb_mean, "constant": network.rgb_mean}
    return np.asarray(means[network.mean], np.float32)
