"""Prepares a dataset for training: resizes every image once to 256 x 256, stores it, and counts statistics.

    python -m pipelines.prepare --dataset=folder:photographs --output_dir=prepared

The result is a TFDS dataset directory with two more files: statistics.npz (mean image, RGB mean and covariance of the
stored training images) and summary.json, which is for people. Any command takes the directory as --dataset. Photographs
are set upright by their EXIF tag. The directory appears complete or not at all; a preparation that was stopped goes on
where it was when the same command is given again.
"""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from absl import flags
from tqdm import tqdm

from pipelines.cli import reason_of, run
from pipelines.datasets import class_order
from pipelines.datasets.registry import FORMS, open_source
from pipelines.datasets.source import Source
from pipelines.images.crops import RESIZE_POLICIES, check_resize
from pipelines.preparation import convert as stored
from pipelines.preparation.metadata import write_metadata
from pipelines.preparation.processes import sensible_workers, store_all
from pipelines.preparation.shard import Shard, ShardConfig, ShardStatistics, finished
from pipelines.preparation.staging import publish, remove_others, staging_directory

# Some 70 MB: enough shards to be read in parallel and shuffled, few enough to be copied around.
_IMAGES_PER_PART = 2048
# Of smaller sets, so that these too can be read and prepared in parallel.
_PARTS, _FEWEST_IMAGES_PER_PART = 16, 128

_RUNNERS = ("local", "beam")


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("dataset", None, FORMS, required=True)
    flags.DEFINE_string("data_dir", None, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set")
    flags.DEFINE_string("output_dir", None, "folder to write; it must not exist, the one above it must", required=True)
    flags.DEFINE_enum(
        "resize",
        "shorter_side",
        RESIZE_POLICIES,
        "shorter side to 256 and the centre of it, or both sides to 256",
    )
    flags.DEFINE_integer(
        "quality", stored.JPEG_QUALITY, "of the JPEG stored; a 256 x 256 RGB JPEG is kept as it is", 1, 100
    )
    flags.DEFINE_float("max_bad_fraction", 0.001, "share of images that may be undecodable", 0.0, 1.0)
    flags.DEFINE_enum(
        "class_order",
        "sorted",
        class_order.CLASS_ORDERS,
        "order of the outputs: sorted wnids, or ImageNet's own numbers (as in the 2012 code)",
    )
    flags.DEFINE_string("classes_file", None, "keep only the classes in this file, one a line")
    flags.DEFINE_string("label_names_file", None, "names for people: a line has a class and its name")
    flags.DEFINE_integer("take", None, "for trials: so many images of each split, at most", 1)
    flags.DEFINE_integer("workers", None, "processes; by default one a core, where that is worth it", 1)
    flags.DEFINE_enum("runner", "local", _RUNNERS, "this machine, or an Apache Beam pipeline")
    flags.DEFINE_string("beam_options", "", "Beam's own, such as '--runner=FlinkRunner --flink_master=host:8081'")


def main(argv: Sequence[str]) -> int:
    """Runs the command."""
    del argv
    values = flags.FLAGS
    if values.beam_options and values.runner != "beam":
        raise ValueError(f"beam_options={values.beam_options}: expected --runner=beam with it")
    check_interrupted = _interruptible()
    try:
        source = open_source(values.dataset, values.data_dir, values.class_order)
        classes = class_order.read_class_list(values.classes_file, source.class_names) if values.classes_file else None
        names = values.label_names_file
        summary = prepare(
            source,
            values.output_dir,
            values.resize,
            values.max_bad_fraction,
            quality=values.quality,
            classes=classes,
            label_names=class_order.read_label_names(names, classes or source.class_names) if names else None,
            take=values.take,
            workers=values.workers,
            beam_options=values.beam_options if values.runner == "beam" else None,
            check_interrupted=check_interrupted,
        )
    except KeyboardInterrupt:
        print("interrupted: nothing is published; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    counts = ", ".join(f"{split['images']} {name}" for name, split in summary["splits"].items())
    skipped = f" ({len(summary['bad_images'])} skipped)" if summary["bad_images"] else ""
    output_dir = shlex.quote(values.output_dir)
    print(
        f"prepared {counts} images{skipped} in {output_dir}; "
        f"train on them: python -m keras_alexnet.train --dataset={output_dir} --model_dir=model"
    )
    return 0


def _interruptible() -> Callable[[], None]:
    """Makes SIGTERM clean up as Ctrl-C does; returns a function that raises KeyboardInterrupt if either has come.

    The handler raises it too, but an exception that is raised inside a callback of TensorFlow's is lost.
    """
    caught: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if caught:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    return check


def prepare(
    source: Source,
    output_dir: str | os.PathLike,
    resize: str = "shorter_side",
    max_bad_fraction: float = 0.001,
    *,
    quality: int = stored.JPEG_QUALITY,
    classes: Sequence[str] | None = None,
    label_names: Mapping[str, str] | None = None,
    take: int | None = None,
    workers: int | None = None,
    beam_options: str | None = None,
    check_interrupted: Callable[[], None] = lambda: None,
) -> dict:
    """Writes the prepared folder `output_dir` from all splits of `source`.

    The files are the same to the last bit whatever `workers` and `beam_options` are, and however often the work was
    stopped.

    Args:
      source: not a prepared one.
      output_dir: must not exist; the folder above it must.
      resize: one of `RESIZE_POLICIES`.
      max_bad_fraction: share of all images that may be undecodable, 0..1; these are skipped and named on stderr.
      quality: of the stored JPEG, 1..100.
      classes: those of `source.class_names` to keep, in the order of the labels; None for all.
      label_names: what people call the classes, kept with the dataset.
      take: images of each split at most.
      workers: processes; as many as are worth it if None.
      beam_options: None for this machine; else Beam's own options, for a Beam pipeline.
      check_interrupted: called often; what it raises stops the preparation cleanly.

    Returns:
      The contents of summary.json.

    Raises:
      ValueError: one of these does not hold, or the disk cannot be written. `output_dir` does not exist then; what was
        finished is kept beside it, in `<output_dir>.incomplete`.
    """
    if source.prepared:
        raise ValueError(f"dataset={source.name}: is prepared already")
    check_resize(resize)
    output_dir = Path(output_dir)
    recipe = ShardConfig(resize, quality, tuple(classes or source.class_names))
    plan = _plan(source, recipe.class_names, take)
    bad = stored.BadImages(max_bad_fraction)
    with staging_directory(output_dir) as folder:
        try:
            names = {path.name for part in plan for path in part.files(folder)}
            remove_others(folder, names)
            if beam_options is not None:
                from pipelines.beam_runner import store_on_beam

                store_on_beam(plan, recipe, folder, beam_options, check_interrupted)
            most_images = sum(min(images, take or images) for images in source.splits.values())
            _store(plan, recipe, folder, workers, bad, most_images, check_interrupted)
            bad.check(bad.seen)
            remove_others(folder, names)
            summary = write_metadata(source, plan, recipe, folder, label_names or {})
            publish(folder, output_dir)
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"output_dir={output_dir}: cannot be written: {reason_of(error)}") from error
    return summary


def _plan(source: Source, class_names: Sequence[str], take: int | None) -> list[Shard]:
    """All parts of all splits. How many there are depends on the dataset alone."""
    share = len(class_names) / len(source.class_names)
    plan = []
    for split, images in source.splits.items():
        expected = min(round(images * share), take or images)
        count = max(-(-expected // _IMAGES_PER_PART), min(_PARTS, expected // _FEWEST_IMAGES_PER_PART), 1)
        for index, part in enumerate(class_order.select(source, split, count, class_names)):
            size, limit = (
                number and number * (index + 1) // count - number * index // count for number in (expected, take)
            )
            plan.append(Shard(source.name, split, index, count, part, size, limit))
    return plan


def _store(
    plan: Sequence[Shard],
    recipe: ShardConfig,
    folder: Path,
    workers: int | None,
    bad: stored.BadImages,
    most_images: int,
    check_interrupted: Callable[[], None],
) -> None:
    """Stores what is not stored yet, with a progress bar; stops once too many of `most_images` are bad."""
    pending = []
    for part in plan:
        tally = finished(part, recipe, folder)
        if tally:
            _note(tally, bad)
        else:
            pending.append(part)
    workers = workers or sensible_workers(sum(part.size for part in pending))
    total = sum(part.size for part in plan)
    with tqdm(total=total, initial=bad.seen, unit=" images", disable=None, leave=False) as progress:
        for tally in store_all(pending, recipe, folder, workers, progress, check_interrupted):
            _note(tally, bad)
            bad.check(most_images)


def _note(tally: ShardStatistics, bad: stored.BadImages) -> None:
    bad.seen += tally.seen
    for key, reason in tally.bad.items():
        bad.add(key, reason)


if __name__ == "__main__":
    run(main, define_flags)
