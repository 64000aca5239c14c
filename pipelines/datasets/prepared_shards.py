"""Directories written by `pipelines.prepare`: opens them and reads their records in a seeded order.

TFDS's own reader needs half as long to read a prepared record as it takes to decode one, and can only start at the
beginning.

The order is drawn in two steps. The shards are put into a random order and divided into shuffle blocks of some 256 MB;
each block is read whole and its records are put into a random order. So any record can come at any place of an epoch, a
small dataset is one block, and to start in the middle, reading begins with the block that has the middle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from pipelines.choices import RESIZED_SIZE
from pipelines.cli.regular_files import check_directory, read_text
from pipelines.datasets import image_folder
from pipelines.datasets.source import Source
from pipelines.datasets.tfds_records import open_records
from pipelines.statistics import Statistics

STATISTICS_FILE = "statistics.npz"
SUMMARY_FILE = "summary.json"

# Size of a shuffle block, at least one shard. While one is consumed, the next one is read.
SHUFFLE_BLOCK_BYTES = 256 * 2**20

# Parsed together, which is ten times faster than one by one.
_PARSED_TOGETHER = 32

_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "key": tf.io.FixedLenFeature([], tf.string),
}


def open_prepared(directory: str) -> Source:
    """Opens a directory that `pipelines.prepare` has written.

    Raises:
      ValueError: it is another directory, or damaged.
    """
    try:
        summary = json.loads(read_text(os.path.join(directory, SUMMARY_FILE)))
        check_directory(directory)
        resize, labels = summary["resize"], summary.get("label_names", {})
        # Version 0.1 stored neither; its records were all alike.
        size, encoding = int(summary.get("size", RESIZED_SIZE)), summary.get("encoding", "jpeg")
        builder = tfds.builder_from_directory(directory)
    except FileNotFoundError:
        hint = (
            f"dataset=folder:{directory} reads an image folder"
            if image_folder.holds_classes(directory)
            else "python -m pipelines.prepare writes one"
        )
        raise ValueError(f"dataset={directory}: not a prepared directory, it has no {SUMMARY_FILE}; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError, json_format.Error) as error:
        raise ValueError(f"dataset={directory}: damaged prepared directory: {str(error).splitlines()[0]}") from None
    found = open_records(directory, builder)
    names = found.class_names
    statistics = Statistics.load(os.path.join(directory, STATISTICS_FILE))
    if len(statistics.mean_image) != size:
        raise ValueError(
            f"dataset={directory}: damaged prepared directory: {SUMMARY_FILE} says {size} pixels, {STATISTICS_FILE} "
            f"{len(statistics.mean_image)}"
        )

    def read(split: str, shuffle_seed: int | None, start: int) -> tf.data.Dataset:
        return Shards.of_split(builder.info.splits[found.own_splits[split]]).encoded(shuffle_seed, start)

    return Source(
        name=directory,
        class_names=names,
        label_names=tuple(labels.get(name, name) for name in names),
        splits=found.splits,
        prepared=True,
        resize=resize,
        statistics=statistics,
        read=read,
        read_shards=found.shards,
        size=size,
        encoding=encoding,
    )


@dataclass(frozen=True)
class Shards:
    """The files of one split, with the number of records of each.

    Attributes:
      paths: TFRecord files of tf.train.Example with `image`, `label` and `key`.
      lengths: records in each.
      num_bytes: size of all of them together.
    """

    paths: Sequence[str]
    lengths: Sequence[int]
    num_bytes: int

    @classmethod
    def of_split(cls, info: tfds.core.SplitInfo) -> Shards:
        """The files of a split that `pipelines.prepare` has written."""
        return cls([str(path) for path in info.filepaths], list(info.shard_lengths), info.num_bytes)

    def encoded(
        self, shuffle_seed: int | None = None, start: int = 0, block_bytes: int = SHUFFLE_BLOCK_BYTES
    ) -> tf.data.Dataset:
        """Every record once, from the one at place `start` of the order on.

        Args:
          shuffle_seed: None for the order in which they are stored; else the order is a function of this and of the
            files alone.
          start: records to leave out; they are not parsed, and most are not read.
          block_bytes: size of a shuffle block.

        Returns:
          Elements (encoded string, label int32, key string), all scalars.
        """
        serialized, left_out = self._blocks(shuffle_seed, start, block_bytes)
        return (
            serialized.skip(start - left_out)
            .batch(_PARSED_TOGETHER)
            .map(_parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .unbatch()
        )

    def _blocks(self, shuffle_seed: int | None, start: int, block_bytes: int) -> tuple[tf.data.Dataset, int]:
        """The serialized records from the block with place `start` on, and the number of those before."""
        order, random = np.arange(len(self.paths)), np.random.default_rng(shuffle_seed)
        if shuffle_seed is not None:
            order = random.permutation(order)
        lengths = np.asarray(self.lengths)[order]
        in_block = max(1, block_bytes * int(lengths.sum()) // max(1, self.num_bytes))
        # The block of a shard is that of its middle record.
        block_of_shard = (np.cumsum(lengths) - lengths // 2 - 1) // in_block
        firsts = np.flatnonzero(np.diff(block_of_shard, prepend=-1))
        ends = np.append(firsts[1:], len(order))
        counts = np.add.reduceat(lengths, firsts)
        seeds = random.integers(2**62, size=len(firsts))
        whole = int(np.searchsorted(np.cumsum(counts), start, side="right"))
        paths = tf.constant([self.paths[int(shard)] for shard in order])

        def read(first: tf.Tensor, end: tf.Tensor, count: tf.Tensor, seed: tf.Tensor) -> tf.data.Dataset:
            records = tf.data.TFRecordDataset(paths[first:end])
            if shuffle_seed is None:
                return records
            # Dataset.shuffle mixes in the seed of tf.random.set_seed, and fails where that is 0 and its own a tensor.
            shuffled = records.batch(count).map(
                lambda block: tf.random.experimental.stateless_shuffle(block, [seed, 0])
            )
            return shuffled.unbatch()

        blocks = tf.data.Dataset.from_tensor_slices((firsts, ends, counts, seeds)).skip(whole)
        # Parallel, so that the next block is read before this one ends.
        records = blocks.interleave(read, cycle_length=1, num_parallel_calls=1, deterministic=True)
        return records, int(counts[:whole].sum())


def _parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    example = tf.io.parse_example(serialized, _FEATURES)
    return example["image"], tf.cast(example["label"], tf.int32), example["key"]
