"""Prepares a dataset: resizes every image once, stores it, and computes statistics."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from pipelines.choices import JPEG_QUALITY, RESIZED_SIZE, RUNNERS
from pipelines.cli import reason_of
from pipelines.cli.progress import progress_bar
from pipelines.datasets import class_order
from pipelines.datasets.source import Source
from pipelines.images.crops import check_resize
from pipelines.preparation.convert import BadImages, report_ignored
from pipelines.preparation.metadata import write_metadata
from pipelines.preparation.processes import sensible_workers, store_all
from pipelines.preparation.shard import Shard, ShardConfig, ShardStatistics, stored_statistics
from pipelines.preparation.staging import publish, remove_others, staging_directory

# Some 70 MB: enough shards to be read in parallel and shuffled, few enough to be copied around.
_IMAGES_PER_SHARD = 2048
# Of smaller datasets, so that these too can be read and prepared in parallel.
_SHARDS, _FEWEST_IMAGES_PER_SHARD = 16, 128


def prepare(
    source: Source,
    output_dir: str | os.PathLike[str],
    resize: str = "shorter_side",
    max_bad_fraction: float = 0.001,
    *,
    size: int = RESIZED_SIZE,
    quality: int = JPEG_QUALITY,
    classes: Sequence[str] | None = None,
    label_names: Mapping[str, str] | None = None,
    take: int | None = None,
    workers: int | None = None,
    runner: str = "local",
    check_interrupted: Callable[[], None] = lambda: None,
) -> dict:
    """Writes all splits of `source` to the prepared directory `output_dir`.

    The files are byte-identical for any number of `workers` and any number of interruptions.

    Args:
      source: a dataset that is not prepared; or one that is, of which `classes` is a part: its images are copied.
      output_dir: must not exist; its parent directory must.
      resize: one of `choices.RESIZE_POLICIES`.
      max_bad_fraction: share of all images that may be undecodable, 0..1; these are skipped and named on stderr.
      size: side of the stored images in pixels, at least 1; up to LOSSLESS_SIZE they are PNG, else JPEG.
      quality: of the stored JPEG, 1..100.
      classes: those of `source.class_names` to keep, in the order of the labels; None for all.
      label_names: display names of the classes, stored with the dataset; those of `source` if None.
      take: images of each split at most.
      workers: processes; as many as are worth it if None. Not for the runner "ray", which has one per core.
      runner: one of `choices.RUNNERS`.
      check_interrupted: called often; what it raises stops the preparation cleanly.

    Returns:
      The contents of summary.json.

    Raises:
      ValueError: an argument is not as described, the images cannot be read, or the disk cannot be written.
        `output_dir` does not exist then; complete shards are kept beside it, in `<output_dir>.incomplete`.
    """
    check_resize(resize)
    if source.prepared:
        _check_part(source, resize, size, classes)
    if runner not in RUNNERS:
        raise ValueError(f"runner={runner!r}: expected one of {', '.join(RUNNERS)}")
    if size < 1:
        raise ValueError(f"size={size}: expected at least 1 pixel")
    output_dir = Path(output_dir)
    config = ShardConfig(resize, quality, tuple(classes or source.class_names), size)
    plan = _plan(source, config.class_names, take)
    bad = BadImages(max_bad_fraction)
    bad_files = {key: reason for files in source.bad_files.values() for key, reason in files.items()}
    with staging_directory(output_dir) as directory:
        try:
            report_ignored(source.ignored_files)
            bad.add_files(bad_files)
            names = {path.name for shard in plan for path in shard.files(directory)}
            remove_others(directory, names)
            most_images = bad.seen + sum(min(images, take or images) for images in source.splits.values())
            _store(plan, config, directory, workers, runner, bad, most_images, check_interrupted)
            bad.check(bad.seen)
            remove_others(directory, names)
            summary = write_metadata(source, plan, config, directory, label_names or _own_label_names(source, config))
            publish(directory, output_dir)
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"output_dir={output_dir}: cannot be written: {reason_of(error)}") from error
    return summary


def _check_part(source: Source, resize: str, size: int, classes: Sequence[str] | None) -> None:
    """Raises ValueError unless a part of the classes of a prepared source is prepared as it was."""
    if classes is None:
        raise ValueError(
            f"dataset={source.name}: is prepared already; only a part of its classes can be prepared again"
        )
    for name, value, own in (("resize", resize, source.resize), ("size", size, source.size)):
        if value != own:
            raise ValueError(f"{name}={value}: {source.name} was prepared with {own}, and its images are not changed")


def _own_label_names(source: Source, config: ShardConfig) -> dict[str, str]:
    """The display names of a source, where it has some."""
    names = dict(zip(source.class_names, source.label_names, strict=True))
    return {name: names[name] for name in config.class_names} if source.class_names != source.label_names else {}


def _plan(source: Source, class_names: Sequence[str], take: int | None) -> list[Shard]:
    """All shards of all splits. Their number depends on the dataset alone."""
    share = len(class_names) / len(source.class_names)
    plan = []
    for split, images in source.splits.items():
        expected = min(round(images * share), take or images)
        count = max(-(-expected // _IMAGES_PER_SHARD), min(_SHARDS, expected // _FEWEST_IMAGES_PER_SHARD), 1)
        for index, shard in enumerate(class_order.select(source, split, count, class_names)):
            size = _share(expected, index, count)
            limit = None if take is None else _share(take, index, count)
            plan.append(Shard(source.name, split, index, count, shard, size, limit))
    return plan


def _share(number: int, index: int, count: int) -> int:
    """Part `index` of `number` that is divided into `count` nearly equal parts."""
    return number * (index + 1) // count - number * index // count


def _store(
    plan: Sequence[Shard],
    config: ShardConfig,
    directory: Path,
    workers: int | None,
    runner: str,
    bad: BadImages,
    most_images: int,
    check_interrupted: Callable[[], None],
) -> None:
    """Stores what is not stored yet, with a progress bar; stops once too many of `most_images` are bad."""
    pending = []
    seen = 0
    for shard in plan:
        statistics = stored_statistics(shard, config, directory)
        if statistics:
            seen += statistics.seen
            _count(statistics, bad)
        else:
            pending.append(shard)
    workers = workers or sensible_workers(sum(shard.size for shard in pending))
    with progress_bar("preparing", sum(shard.size for shard in plan), completed=seen) as bar:
        if runner == "ray":
            from pipelines.preparation.on_ray import store_on_ray

            stored = store_on_ray(pending, config, directory, bar, check_interrupted)
        else:
            stored = store_all(pending, config, directory, workers, bar, check_interrupted)
        for statistics in stored:
            _count(statistics, bad)
            bad.check(most_images)


def _count(statistics: ShardStatistics, bad: BadImages) -> None:
    bad.seen += statistics.seen
    for key, reason in statistics.bad.items():
        bad.add(key, reason)
