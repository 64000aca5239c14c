"""What a training finds in its folder, or begins there: the description of the run, its statistics and its mean."""

import dataclasses

import numpy as np

from keras_alexnet.checkpoints import has_checkpoint
from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.run_directory import RunConfig
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.fine_tuning import InitialWeights, find_initial_weights
from keras_alexnet.variants import Variant, find_variant
from pipelines.datasets.source import Source
from pipelines.input import steps_per_epoch
from pipelines.preparation.compute_statistics import compute_statistics
from pipelines.statistics import Statistics

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


def initial_weights(config: TrainingConfig) -> InitialWeights | None:
    """What a new run starts from, if --init_from says so; a resumed one starts from its checkpoint."""
    if not config.init_from or has_checkpoint(config.model_dir):
        return None
    return find_initial_weights(config.init_from, find_variant(config.variant), config.width, config.init)


def describe(config: TrainingConfig, source: Source) -> RunConfig:
    """The description of the run that `config` asks for, before its images have been looked at."""
    names = source.class_names
    if config.classes is not None and config.classes < len(names):
        raise ValueError(f"classes={config.classes}: {source.name} has {len(names)}; expected at least as many")
    if config.schedule == "plateau" and "validation" not in source.splits:
        raise ValueError(
            f"schedule=plateau needs a validation split; {source.name} has only {', '.join(source.splits)}; "
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
    # More outputs than classes are allowed: room for classes to come.
    unused = tuple(f"unused_{index}" for index in range(len(names), config.classes or 0))
    return RunConfig(
        variant=config.variant,
        width=config.width,
        init=config.init,
        class_names=names + unused,
        label_names=() if source.label_names == names else source.label_names + unused,
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


def load_or_create_run(
    config: TrainingConfig, source: Source, new: RunConfig, start: InitialWeights | None, workers: Cluster
) -> tuple[RunConfig, Statistics]:
    """Description and statistics of the run found in model_dir, if it is the same; else of a new one, saved there.

    Raises:
      ValueError: if it is another one; or if this is not the chief of the workers, and finds nothing that it has begun.
    """
    if RunConfig.exists(config.model_dir):
        old = RunConfig.load(config.model_dir)
        changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if not changed:
            return old, RunConfig.statistics(config.model_dir)
        if has_checkpoint(config.model_dir):
            raise ValueError(
                f"{changed[0]}={getattr(new, changed[0])}: the run in --model_dir={config.model_dir} was started "
                f"with {getattr(old, changed[0])}; expected the same, or another --model_dir"
            )
    if not (workers.is_chief or config.synthetic):
        raise ValueError(
            f"model_dir={config.model_dir}: found nothing begun by worker 0; expected a folder that all workers share"
        )
    statistics = source.statistics
    if statistics is None:
        print(f"{config.dataset} is not prepared: one pass over its images for mean and covariance", flush=True)
        statistics, bad = compute_statistics(source, "train", new.resize, config.max_bad_fraction)
        new = dataclasses.replace(new, bad_images=tuple(sorted(bad)))
        steps_per_epoch(source, config.batch_size, new.bad_images)
    new.save(config.model_dir, statistics, _mean(find_variant(config.variant), statistics, start))
    return new, statistics


def _mean(variant: Variant, statistics: Statistics, start: InitialWeights | None) -> np.ndarray:
    """What a new network is to subtract: what its starting weights expect, or else what its variant says."""
    if start is not None:
        return start.mean
    means = {"image": statistics.mean_image, "channels": statistics.rgb_mean, "constant": variant.rgb_mean}
    return np.asarray(means[variant.mean], np.float32)
