"""What one worker of `pipelines.prepare` does: some images of a split, stored as one file of records.

A part comes out the same to the last bit wherever and whenever it is made. It is finished when its tally, a small file
with all that the summary and the statistics need of it, is there; so a preparation can stop and go on between parts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.images.crops import RESIZED_SIZE
from pipelines.preparation import convert as stored
from pipelines.statistics import Accumulator

if TYPE_CHECKING:
    from pipelines.datasets.source import SourceShard

# Named in each tally: another version may decode, resize or encode otherwise.
VERSIONS = {name: metadata.version(name) for name in ("keras-alexnet", "tensorflow", "tensorflow-datasets")}

_FORMAT = "tfrecord"


@dataclass(frozen=True)
class ShardConfig:
    """What is done to every image.

    Attributes:
      resize: one of `crops.RESIZE_POLICIES`.
      quality: of the stored JPEG, 1..100.
      class_names: the index is the label.
    """

    resize: str
    quality: int
    class_names: tuple[str, ...]

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """Those of the prepared TFDS dataset."""
        return tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(RESIZED_SIZE, RESIZED_SIZE, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=self.class_names),
                "key": tfds.features.Text(doc="id of the example in the original dataset"),
            }
        )


@dataclass(frozen=True)
class Shard:
    """A piece of work. It can be pickled.

    Attributes:
      dataset: what --dataset said.
      split: canonical name of the split.
      index, count: which of the split's parts it is.
      source: its images.
      size: about how many images that are, for a progress bar.
      limit: images to read at most; None for all.
    """

    dataset: str
    split: str
    index: int
    count: int
    source: SourceShard
    size: int
    limit: int | None = None

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Its two files below `folder`."""
        return self.records_file(folder), self.statistics_file(folder)

    def records_file(self, folder: Path) -> Path:
        """Where its records are below `folder`, the work folder, by TFDS's naming scheme."""
        template = file_template(folder / "dataset", self.split)
        return Path(template.sharded_filepath(shard_index=self.index, num_shards=self.count))

    def statistics_file(self, folder: Path) -> Path:
        """Where its tally is below `folder`."""
        return folder / "tallies" / f"{self.split}-{self.index:05d}-of-{self.count:05d}.npz"

    def identity(self, recipe: ShardConfig) -> str:
        """Digest of all that decides the records."""
        what = (recipe.resize, recipe.quality, recipe.class_names, self.limit, self.source.identity, VERSIONS)
        return hashlib.sha256(repr(what).encode(errors="surrogateescape")).hexdigest()


def file_template(folder: Path, split: str) -> tfds.core.ShardedFileTemplate:
    """The names of a split's files of records in `folder`."""
    return tfds.core.ShardedFileTemplate(folder, dataset_name="prepared", split=split, filetype_suffix=_FORMAT)


@dataclass
class ShardStatistics:
    """What was seen while a part was stored.

    Attributes:
      class_counts: int64 [classes], images stored.
      record_bytes: size of the file of records.
      seen: images read.
      bad: key and reason of those that could not be decoded.
      sums: of the stored pixels; of the training split only.
    """

    class_counts: np.ndarray
    record_bytes: int = 0
    seen: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    sums: Accumulator = field(default_factory=Accumulator)

    def save(self, path: Path, identity: str) -> None:
        """Writes `path` in one step, with `identity` in it."""
        scalars = {"identity": identity, "record_bytes": self.record_bytes, "seen": self.seen, "bad": self.bad}
        arrays = {"class_counts": self.class_counts}
        if self.sums.count:
            arrays |= {"image_sum": self.sums.image_sum, "product_sum": self.sums.product_sum}
        with _in_one_step(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, scalars=json.dumps(scalars | {"count": self.sums.count}), **arrays)


@contextlib.contextmanager
def _in_one_step(path: Path) -> Iterator[Path]:
    """A path to write to; the file gets its name `path` when it is whole and on the disk."""
    # A name of its own: a cluster may start the same work twice.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def finished(part: Shard, recipe: ShardConfig, folder: Path) -> ShardStatistics | None:
    """The tally of `part` if it is stored in `folder` already, by the same recipe from the same images."""
    try:
        with np.load(part.statistics_file(folder)) as archive:
            scalars = json.loads(str(archive["scalars"]))
            size = part.records_file(folder).stat().st_size
            if (scalars["identity"], scalars["record_bytes"]) != (part.identity(recipe), size):
                return None
            sums = Accumulator()
            if scalars["count"]:
                sums = Accumulator(scalars["count"], archive["image_sum"], archive["product_sum"])
            return ShardStatistics(archive["class_counts"], size, scalars["seen"], scalars["bad"], sums)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def store(
    part: Shard,
    recipe: ShardConfig,
    folder: Path,
    after_image: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> ShardStatistics:
    """Writes the records and the tally of `part` into `folder`, unless they are there.

    Args:
      part, recipe: what, and how.
      folder: the work folder, with subfolders dataset/ and tallies/.
      after_image: called after each image; what it raises stops the work.
      threads: that decode; one per core if None.

    Raises:
      ValueError: the images cannot be read.
      OSError, tf.errors.OpError: `folder` cannot be written.
    """
    tally = finished(part, recipe, folder)
    if tally:
        return tally
    tally = ShardStatistics(np.zeros(len(recipe.class_names), np.int64))
    with _in_one_step(part.records_file(folder)) as unfinished:
        _write_records(part, recipe, unfinished, tally, after_image, threads)
        tally.record_bytes = unfinished.stat().st_size
    tally.save(part.statistics_file(folder), part.identity(recipe))
    return tally


def _write_records(
    part: Shard,
    recipe: ShardConfig,
    path: Path,
    tally: ShardStatistics,
    after_image: Callable[[], None],
    threads: int | None,
) -> None:
    features = recipe.features
    examples = part.source.encoded()
    if part.limit is not None:
        examples = examples.take(part.limit)

    def convert(encoded: bytes) -> tuple[bytes, np.ndarray]:
        return stored.resized_jpeg(encoded, recipe.resize, recipe.quality)

    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        what = f"--dataset={part.dataset}: reading {part.split}"
        for key, label, result in stored.converted(examples, convert, what, threads):
            tally.seen += 1
            if isinstance(result, ValueError):
                tally.bad[key] = str(result)
            else:
                jpeg, pixels = result
                tally.class_counts[label] += 1
                if part.split == "train":
                    tally.sums.update(pixels)
                # Serialized once more: TFDS leaves the order of the features to chance.
                example = features.serialize_example({"image": jpeg, "label": label, "key": key})
                writer.write(tf.train.Example.FromString(example).SerializeToString(deterministic=True))
            after_image()
