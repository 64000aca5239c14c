"""Labelled images in TFDS records: finding a dataset by its TFDS name, and reading its images still encoded."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from pipelines.command import InputError

# What a shuffle may hold in memory: all of a small set, or some 15,000 records of 256 x 256.
SHUFFLE_BYTES = 512 * 2**20

_SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "test", "val"), "test": ("test",)}
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
        wanted = {"image", "label", "key"} & set(self.builder.info.features)
        decoders = tfds.decode.PartialDecoding(
            dict.fromkeys(wanted, True), decoders={"image": tfds.decode.SkipDecoding()}
        )
        read_config = tfds.ReadConfig(
            add_tfds_id=True,
            try_autocache=False,
            shuffle_seed=shuffle_seed,
            shuffle_reshuffle_each_iteration=False,
            enable_ordering_guard=False,
        )
        with quiet():
            examples = self.builder.as_dataset(
                split=info.name,
                decoders=decoders,
                read_config=read_config,
                shuffle_files=shuffle_seed is not None,
            )
        if shuffle_seed is not None:
            bytes_per_example = max(1, info.num_bytes // info.num_examples)
            buffer = min(info.num_examples, max(1, SHUFFLE_BYTES // bytes_per_example))
            examples = examples.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=False)
        key = "key" if "key" in wanted else "tfds_id"
        return examples.skip(start).map(
            lambda example: (example["image"], tf.cast(example["label"], tf.int32), example[key])
        )


def open_records(dataset: str, builder: tfds.core.DatasetBuilder) -> Records:
    """Checks that `builder`, found for --dataset, has labelled images and is built.

    Raises:
      InputError: it has or is not.
    """
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not (
        isinstance(image, tfds.features.Image)
        and image.np_dtype == np.uint8
        and isinstance(label, tfds.features.ClassLabel)
    ):
        found = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise InputError(
            f"--dataset={dataset}: found features {found}; expected image (Image of uint8) and label (ClassLabel)"
        )
    if not builder.info.splits:
        raise _not_built(dataset, builder)
    sizes = {name: split.num_examples for name, split in builder.info.splits.items() if split.num_examples}
    own_splits = {}
    for name, candidates in _SPLIT_NAMES.items():
        own = next((own for own in candidates if own in sizes), None)
        if own and own not in own_splits.values() and (own != "test" or _labelled(builder)):
            own_splits[name] = own
    if "train" not in own_splits:
        raise InputError(f"--dataset={dataset}: found splits {', '.join(sizes) or 'none'}; expected train among them")
    return Records(builder, own_splits)


def find_builder(dataset: str, data_dir: str | None, forms: str) -> tfds.core.DatasetBuilder:
    """The TFDS builder called `dataset` ("name", "name/config", with ":version" or without), built or not.

    Raises:
      InputError: TFDS knows no such name; the message suggests some, and says that --dataset may be one of `forms`.
    """
    if not _NAME.fullmatch(dataset):
        raise _unknown(dataset, forms)
    try:
        # Finds datasets without code too, when they lie in data_dir.
        return tfds.builder(dataset, data_dir=data_dir)
    except (AssertionError, ImportError, ValueError, tfds.core.DatasetNotFoundError) as error:
        # TFDS's own messages run to 500 lines.
        raise _unknown(dataset, forms) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what TFDS logs and warns of while it works: that is for its developers."""
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


def _unknown(dataset: str, forms: str) -> InputError:
    name = re.split("[/:]", dataset)[0]
    known = tfds.list_builders(with_community_datasets=False)
    if name in known:
        builder_class = tfds.builder_cls(name)
        versions = " ".join(map(str, [builder_class.VERSION, *builder_class.SUPPORTED_VERSIONS]))
        configs = " ".join(builder_class.builder_configs) or "none"
        return InputError(
            f"--dataset={dataset}: no such version or configuration; "
            f"{name} has versions {versions} and configurations {configs}"
        )
    close = difflib.get_close_matches(name, known, n=3)
    meant = f"; close to it: {', '.join(close)}" if close else ""
    return InputError(f"--dataset={dataset}: no such folder or dataset{meant}; expected {forms}")


def _not_built(dataset: str, builder: tfds.core.DatasetBuilder) -> InputError:
    data_dir = os.fspath(builder.data_dir_root)
    page = f"https://www.tensorflow.org/datasets/catalog/{builder.name}"
    by_hand = ""
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        by_hand = f"put the archives named on {page} into {data_dir}/downloads/manual, then "
    return InputError(
        f"--dataset={dataset}: not built in --data_dir={data_dir}; {by_hand}"
        f"run `tfds build {dataset} --data_dir={data_dir}`"
    )
