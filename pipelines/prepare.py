"""Prepares a dataset for training: resizes every image once to 256 x 256, stores it, and counts statistics.

    python -m pipelines.prepare --dataset=folder:photographs --output_dir=prepared

The result is a TFDS dataset directory with two more files: statistics.npz (mean image, RGB mean and covariance of the
stored training images) and summary.json, which is for people. Any command takes the directory as --dataset. Photographs
are set upright by their EXIF tag. The directory appears complete or not at all.
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import flags

from pipelines import stored
from pipelines.command import InputError, reason_of, run
from pipelines.crops import RESIZE_POLICIES, STORED_SIZE
from pipelines.sources import FORMS, STATISTICS_FILE, SUMMARY_FILE, Source, open_source
from pipelines.statistics import Accumulator, Statistics

# Some 70 MB: enough shards to be read in parallel and shuffled, few enough to be copied around.
_EXAMPLES_PER_SHARD = 2048
# The writer rewrites its metadata at every call.
_EXAMPLES_PER_WRITE = 256


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
    flags.DEFINE_float("max_bad_fraction", 0.001, "share of images that may be undecodable", 0.0, 1.0)


def main(argv: Sequence[str]) -> int:
    """Runs the command."""
    del argv
    values = flags.FLAGS
    check_interrupted = _interruptible()
    try:
        source = open_source(values.dataset, values.data_dir)
        summary = prepare(source, values.output_dir, values.resize, values.max_bad_fraction, check_interrupted)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
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
    before_image: Callable[[], None] = lambda: None,
) -> dict:
    """Writes the prepared folder `output_dir` from all splits of `source`.

    Args:
      source: not a prepared one.
      output_dir: must not exist; the folder above it must.
      resize: one of `RESIZE_POLICIES`.
      max_bad_fraction: share of all images that may be undecodable, 0..1; these are skipped and named on stderr.
      before_image: called before each image is written; what it raises stops the preparation cleanly.

    Returns:
      The contents of summary.json.

    Raises:
      InputError: one of these does not hold, or the disk cannot be written. `output_dir` does not exist then.
    """
    if source.prepared:
        raise InputError(f"--dataset={source.name}: is prepared already")
    bad = stored.BadImages(max_bad_fraction)
    with _published(Path(output_dir)) as folder:
        statistics, class_counts = _write_records(source, folder, resize, bad, before_image)
        bad.check()
        statistics.save(folder / STATISTICS_FILE)
        summary = _summary(source, resize, statistics, class_counts, bad)
        (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


@contextlib.contextmanager
def _published(output_dir: Path) -> Iterator[Path]:
    """A new folder beside `output_dir`, which is renamed to it at the end, or removed when something goes wrong."""
    if os.path.lexists(output_dir):
        raise InputError(f"--output_dir={output_dir}: exists already, expected a folder to be made")
    if not output_dir.parent.is_dir():
        raise InputError(f"--output_dir={output_dir}: no folder {output_dir.parent} to make it in")
    incomplete = output_dir.with_name(f"{output_dir.name}.incomplete-{secrets.token_hex(4)}")
    try:
        incomplete.mkdir()
        yield incomplete
        incomplete.rename(output_dir)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"--output_dir={output_dir}: cannot be written: {reason_of(error)}") from error
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)


def _write_records(
    source: Source, folder: Path, resize: str, bad: stored.BadImages, before_image: Callable[[], None]
) -> tuple[Statistics, dict[str, np.ndarray]]:
    """Writes the records; returns the statistics of the training split and int64 images per class by split."""
    writer = tfds.core.SequentialWriter(_dataset_info(source, folder), _EXAMPLES_PER_SHARD)
    writer.initialize_splits(list(source.splits))
    accumulator = Accumulator()
    class_counts = {split: np.zeros(len(source.class_names), np.int64) for split in source.splits}
    for split in source.splits:
        pending: list[dict] = []
        converted = stored.convert_split(source, split, lambda encoded: stored.stored_jpeg(encoded, resize), bad)
        for key, label, (jpeg, pixels) in converted:
            before_image()
            class_counts[split][label] += 1
            if split == "train":
                accumulator.update(pixels)
            pending.append({"image": jpeg, "label": label, "key": key})
            if len(pending) == _EXAMPLES_PER_WRITE:
                writer.add_examples({split: pending})
                pending = []
        writer.add_examples({split: pending})
    writer.close_all()
    return accumulator.result(), class_counts


def _dataset_info(source: Source, folder: Path) -> tfds.core.DatasetInfo:
    identity = tfds.core.DatasetIdentity(
        name="prepared", version=tfds.core.Version("1.0.0"), data_dir=os.fspath(folder), module_name=__name__
    )
    features = {
        "image": tfds.features.Image(shape=(STORED_SIZE, STORED_SIZE, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=source.class_names),
        "key": tfds.features.Text(doc="id of the example in the original dataset"),
    }
    return tfds.core.DatasetInfo(
        builder=identity,
        description=f"{source.name}, resized to {STORED_SIZE} x {STORED_SIZE}",
        features=tfds.features.FeaturesDict(features),
    )


def _summary(
    source: Source,
    resize: str,
    statistics: Statistics,
    class_counts: dict[str, np.ndarray],
    bad: stored.BadImages,
) -> dict:
    return {
        "source": source.name,
        "resize": resize,
        "splits": {
            split: {
                "images": int(counts.sum()),
                "classes": dict(zip(source.class_names, counts.tolist(), strict=True)),
            }
            for split, counts in class_counts.items()
        },
        "bad_images": bad.reasons,
        "rgb_mean": statistics.rgb_mean.tolist(),
        "eigenvalues": statistics.eigenvalues.tolist(),
        "versions": {name: metadata.version(name) for name in ("keras-alexnet", "tensorflow", "tensorflow-datasets")},
    }


if __name__ == "__main__":
    run(main, define_flags)
