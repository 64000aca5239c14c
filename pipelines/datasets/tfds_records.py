"""Labelled images in TFDS records: finding a dataset by its TFDS name, and reading its images still encoded."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from pipelines.choices import DATASET_FORMS

# What a shuffle may hold in memory: all of a small set, or some 15,000 records of 256 x 256.
SHUFFLE_BYTES = 512 * 2**20

_SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "test", "val"), "test": ("test",)}
_ARCHIVE = re.compile(r"[\w.-]+\.(?:tar\.gz|tar|tgz|zip)\b")
_NAME = re.compile(r"\w+(/[\w.\-]+)?(:\d+\.\d+\.\d+)?")


@dataclass(frozen=True)
class Records:
    """A built TFDS dataset of labelled images.

    Attributes:
      builder: has features `image` (uint8) and `label`.
      own_splits: from "train", "validation" and "test" to the dataset's own names; a dataset without a validation
        split lends its test split, and test splits without labels (ImageNet's) are left out.
    """

    builder: tfds.core.DatasetBuilder
    own_splits: Mapping[str, str]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The index is the label."""
        return tuple(self.builder.info.features["label"].names)

    @property
    def splits(self) -> dict[str, int]:
        """Images per split."""
        return {name: self.builder.info.splits[own].num_examples for name, own in self.own_splits.items()}

    def encoded(self, split: str, shuffle_seed: int | None, start: int = 0) -> tf.data.Dataset:
        """Elements (bytes, label int32, key string) from place `start` on, in stored order or shuffled by shards and
        within a buffer."""
        info = self.builder.info.splits[self.own_splits[split]]
        if shuffle_seed is None:
            return _read(self.builder, info.name).skip(start)
        bytes_per_example = max(1, info.num_bytes // info.num_examples)
        buffer = min(info.num_examples, max(1, SHUFFLE_BYTES // bytes_per_example))
        examples = _read(self.builder, info.name, shuffle_seed)
        return examples.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=False).skip(start)

    def shards(self, split: str, count: int) -> list[RecordsShard]:
        """See `source.Source.shards`: ranges of the stored order, which TFDS has shuffled.

        Where TFDS was told not to shuffle, a shard is every `count`-th example and reads the whole split.
        """
        info = self.builder.info.splits[self.own_splits[split]]
        if self.builder.info.disable_shuffling:
            return [RecordsShard(self.builder, info.name, index, count) for index in range(count)]
        ends = [info.num_examples * index // count for index in range(count + 1)]
        return [RecordsShard(self.builder, f"{info.name}[{start}:{end}]") for start, end in itertools.pairwise(ends)]


@dataclass(frozen=True)
class RecordsShard:
    """Some examples of one split; see `source.SourceShard`.

    Attributes:
      builder: as in `Records`.
      split: split in TFDS's notation, such as "train[0:2048]".
      index, stride: every `stride`-th example of it, from `index` on, in a mixed order; all, as stored, if stride is 1.
    """

    builder: tfds.core.DatasetBuilder
    split: str
    index: int = 0
    stride: int = 1

    @property
    def fingerprint(self) -> str:
        """Name, version and place of the dataset, and which examples of it."""
        # All directories that pipelines.prepare has written have one name.
        return f"{self.builder.info.full_name} {self.builder.data_dir} {self.split} {self.index}/{self.stride}"

    def encoded(self) -> tf.data.Dataset:
        """Elements (bytes, label int32, key string)."""
        examples = _read(self.builder, self.split)
        if self.stride == 1:
            return examples
        size = -(-self.builder.info.splits[self.split].num_examples // self.stride)
        return examples.shard(self.stride, self.index).shuffle(size, seed=0, reshuffle_each_iteration=False)


def _read(builder: tfds.core.DatasetBuilder, split: str, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Elements (bytes, label int32, key string) of `split`; with a seed, its files are read in another order."""
    wanted = {"image", "label", "key"} & set(builder.info.features)
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(wanted, True), decoders={"image": tfds.decode.SkipDecoding()})
    read_config = tfds.ReadConfig(
        add_tfds_id=True,
        try_autocache=False,
        shuffle_seed=shuffle_seed,
        shuffle_reshuffle_each_iteration=False,
        enable_ordering_guard=False,
    )
    with quiet():
        examples = builder.as_dataset(
            split=split, decoders=decoders, read_config=read_config, shuffle_files=shuffle_seed is not None
        )
    key = "key" if "key" in wanted else "tfds_id"
    return examples.map(lambda example: (example["image"], tf.cast(example["label"], tf.int32), example[key]))


def open_records(dataset: str, builder: tfds.core.DatasetBuilder) -> Records:
    """Checks that `builder`, found for `dataset`, has labelled images and is built.

    Raises:
      ValueError: one of these is not so.
    """
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not (
        isinstance(image, tfds.features.Image)
        and image.np_dtype == np.uint8
        and isinstance(label, tfds.features.ClassLabel)
    ):
        found = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise ValueError(
            f"dataset={dataset}: found features {found}; expected image (Image of uint8) and label (ClassLabel)"
        )
    if not builder.info.splits:
        raise _not_built(dataset, builder)
    sizes = {name: split.num_examples for name, split in builder.info.splits.items() if split.num_examples}
    own_splits: dict[str, str] = {}
    for name, candidates in _SPLIT_NAMES.items():
        own = next((own for own in candidates if own in sizes), None)
        if own and own not in own_splits.values() and (own != "test" or _labelled(builder)):
            own_splits[name] = own
    if "train" not in own_splits:
        raise ValueError(f"dataset={dataset}: found splits {', '.join(sizes) or 'none'}; expected train among them")
    return Records(builder, own_splits)


def find_builder(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The TFDS builder called `dataset` ("name", "name/config", with ":version" or without), built or not.

    Raises:
      ValueError: TFDS knows no such name; the message suggests some.
    """
    if not _NAME.fullmatch(dataset):
        raise _unknown(dataset)
    try:
        # Finds datasets without code too, when they lie in data_dir.
        return tfds.builder(dataset, data_dir=data_dir)
    except (AssertionError, ImportError, ValueError, tfds.core.DatasetNotFoundError) as error:
        # TFDS's own messages run to 500 lines.
        raise _unknown(dataset) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the log messages and warnings of TFDS, which are meant for its developers."""
    tensorflow_logger = tf.get_logger()
    levels = logging.get_verbosity(), tensorflow_logger.level
    logging.set_verbosity(logging.ERROR)
    tensorflow_logger.setLevel("ERROR")
    try:
        yield
    finally:
        logging.set_verbosity(levels[0])
        tensorflow_logger.setLevel(levels[1])


def _labelled(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether the test split has labels: TFDS writes -1 where they are secret."""
    decoders = tfds.decode.PartialDecoding({"label": True})
    return int(next(iter(builder.as_dataset(split="test[:1]", decoders=decoders)))["label"]) >= 0


def _unknown(dataset: str) -> ValueError:
    name = re.split("[/:]", dataset)[0]
    known = tfds.list_builders(with_community_datasets=False)
    if name in known:
        builder_class = tfds.builder_cls(name)
        versions = " ".join(map(str, [builder_class.VERSION, *builder_class.SUPPORTED_VERSIONS]))
        configs = " ".join(builder_class.builder_configs) or "none"
        return ValueError(
            f"dataset={dataset}: no such version or configuration; "
            f"{name} has versions {versions} and configurations {configs}"
        )
    close = difflib.get_close_matches(name, known, n=3)
    meant = f"; close to it: {', '.join(close)}" if close else ""
    return ValueError(f"dataset={dataset}: no such folder or dataset{meant}; expected {DATASET_FORMS}")


def _not_built(dataset: str, builder: tfds.core.DatasetBuilder) -> ValueError:
    data_dir = os.fspath(builder.data_dir_root)
    build = f"`tfds build {dataset} --data_dir={shlex.quote(data_dir)}`"
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        return ValueError(f"dataset={dataset}: not built in data_dir={data_dir}; run {build}")
    page = f"https://www.tensorflow.org/datasets/catalog/{builder.name}"
    archives = list(dict.fromkeys(_ARCHIVE.findall(builder.MANUAL_DOWNLOAD_INSTRUCTIONS)))
    names = " ".join(archives) or "<archives>"
    manual_dir = shlex.quote(os.path.join(data_dir, "downloads/manual/"))
    return ValueError(
        f"dataset={dataset}: not built in data_dir={data_dir}; fetch its archives by hand, as {page} says, "
        f"then run `mkdir -p {manual_dir} && mv {names} {manual_dir}` and {build}"
    )
