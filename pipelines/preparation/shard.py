"""One shard of a prepared dataset: some images of a split, stored as one file of records.

A shard is byte-identical wherever and whenever it is made. It is complete when its statistics, a small file with all
that the summary and the image statistics need of it, exist. So a preparation can stop and resume between shards.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pipelines.atomic import atomic_path
from pipelines.choices import LOSSLESS_SIZE, RESIZED_SIZE
from pipelines.datasets.source import SourceShard, read_examples
from pipelines.images.resized import resized_file
from pipelines.preparation.convert import converted
from pipelines.statistics import Accumulator

# Part of each fingerprint: another version may decode, resize or encode otherwise.
VERSIONS = {name: metadata.version(name) for name in ("keras-alexnet", "tensorflow", "tensorflow-datasets")}

# Subdirectories of the staging directory.
DATASET_DIR, STATISTICS_DIR = "dataset", "statistics"


@dataclass(frozen=True)
class ShardConfig:
    """What is done to every image.

    Attributes:
      resize: one of `choices.RESIZE_POLICIES`.
      quality: of the stored images if they are JPEG, 1..100.
      class_names: the index is the label.
      size: side of the stored images in pixels.
    """

    resize: str
    quality: int
    class_names: tuple[str, ...]
    size: int = RESIZED_SIZE

    @property
    def encoding(self) -> str:
        """Format of the stored images, "jpeg" or "png"."""
        return "png" if self.size <= LOSSLESS_SIZE else "jpeg"

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """Features of the prepared TFDS dataset."""
        return tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(self.size, self.size, 3), encoding_format=self.encoding),
                "label": tfds.features.ClassLabel(names=self.class_names),
                "key": tfds.features.Text(doc="id of the example in the original dataset"),
            }
        )


@dataclass(frozen=True)
class Shard:
    """A unit of work. It can be pickled.

    Attributes:
      dataset: name of the source.
      split: canonical name of the split.
      index, count: which of the split's shards it is.
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

    def files(self, directory: Path) -> tuple[Path, Path]:
        """Its two files below the staging directory."""
        return self.records_file(directory), self.statistics_file(directory)

    def records_file(self, directory: Path) -> Path:
        """Its records below the staging directory, by TFDS's naming scheme."""
        template = file_template(directory / DATASET_DIR, self.split)
        return Path(template.sharded_filepath(shard_index=self.index, num_shards=self.count))

    def statistics_file(self, directory: Path) -> Path:
        """Its statistics below the staging directory."""
        return directory / STATISTICS_DIR / f"{self.split}-{self.index:05d}-of-{self.count:05d}.npz"

    def fingerprint(self, config: ShardConfig) -> str:
        """Digest of everything that determines the records."""
        what = (*vars(config).values(), self.limit, self.source.fingerprint, VERSIONS)
        return hashlib.sha256(repr(what).encode(errors="surrogateescape")).hexdigest()


def file_template(directory: Path, split: str) -> tfds.core.ShardedFileTemplate:
    """The names of a split's files of records in `directory`."""
    return tfds.core.ShardedFileTemplate(directory, dataset_name="prepared", split=split, filetype_suffix="tfrecord")


@dataclass
class ShardStatistics:
    """What was counted while a shard was stored.

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

    def save(self, path: Path, fingerprint: str) -> None:
        """Writes `path` in one step, with the fingerprint of the shard in it."""
        scalars = {
            "fingerprint": fingerprint,
            "record_bytes": self.record_bytes,
            "seen": self.seen,
            "bad": self.bad,
            "count": self.sums.count,
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                scalars=np.array(json.dumps(scalars)),
                class_counts=self.class_counts,
                # Of the training split only; zeros would take space.
                image_sum=self.sums.image_sum if self.sums.count else np.zeros(0),
                product_sum=self.sums.product_sum,
            )


def stored_statistics(shard: Shard, config: ShardConfig, directory: Path) -> ShardStatistics | None:
    """The statistics of `shard` if it is stored in the staging directory already, with this config and these images."""
    try:
        with np.load(shard.statistics_file(directory)) as archive:
            scalars = json.loads(str(archive["scalars"]))
            size = shard.records_file(directory).stat().st_size
            if (scalars["fingerprint"], scalars["record_bytes"]) != (shard.fingerprint(config), size):
                return None
            sums = Accumulator()
            if scalars["count"]:
                sums = Accumulator(scalars["count"], archive["image_sum"], archive["product_sum"])
            return ShardStatistics(archive["class_counts"], size, scalars["seen"], scalars["bad"], sums)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def store(
    shard: Shard,
    config: ShardConfig,
    directory: Path,
    after_image: Callable[[], None] = lambda: None,
    threads: int | None = None,
) -> ShardStatistics:
    """Writes the records and the statistics of `shard`, unless they exist.

    Args:
      shard, config: what, and how.
      directory: the staging directory.
      after_image: called after each image; what it raises stops the work.
      threads: that decode; one per core if None.

    Raises:
      ValueError: the images cannot be read.
      OSError, tf.errors.OpError: `directory` cannot be written.
    """
    stored = stored_statistics(shard, config, directory)
    if stored:
        return stored
    statistics = ShardStatistics(np.zeros(len(config.class_names), np.int64))
    with atomic_path(shard.records_file(directory)) as temporary:
        _write_records(shard, config, temporary, statistics, after_image, threads)
        statistics.record_bytes = temporary.stat().st_size
    statistics.save(shard.statistics_file(directory), shard.fingerprint(config))
    return statistics


def _write_records(
    shard: Shard,
    config: ShardConfig,
    path: Path,
    statistics: ShardStatistics,
    after_image: Callable[[], None],
    threads: int | None,
) -> None:
    features = config.features
    encoded = shard.source.encoded()
    if shard.limit is not None:
        encoded = encoded.take(shard.limit)
    examples = read_examples(encoded, f"dataset={shard.dataset}: reading {shard.split}")

    def convert(image: bytes) -> tuple[bytes, np.ndarray]:
        return resized_file(image, config.resize, config.quality, config.size, config.encoding)

    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for key, label, result in converted(examples, convert, threads):
            statistics.seen += 1
            if isinstance(result, ValueError):
                statistics.bad[key] = str(result)
            else:
                stored, pixels = result
                statistics.class_counts[label] += 1
                if shard.split == "train":
                    statistics.sums.update(pixels)
                # Serialized once more: TFDS leaves the order of the features to chance.
                example = features.serialize_example({"image": stored, "label": label, "key": key})
                writer.write(tf.train.Example.FromString(example).SerializeToString(deterministic=True))
            after_image()
