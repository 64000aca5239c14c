"""Datasets by name: the embedded photographs, image folders, prepared folders, and whatever TFDS knows.

Nothing is ever downloaded here, and no image is decoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from pipelines import class_order as orders
from pipelines import folders, ilsvrc, photos, records
from pipelines.command import InputError
from pipelines.shards import Shards
from pipelines.statistics import Statistics

FORMS = "photos, folder:<dir>, ilsvrc:<dir>, a folder written by pipelines.prepare, or a TFDS name such as imagenet2012"
STATISTICS_FILE = "statistics.npz"
SUMMARY_FILE = "summary.json"


class SourcePart(Protocol):
    """Some images of a split, for one worker: it can be pickled, and read without reading the others."""

    @property
    def identity(self) -> str:
        """Names these images and their order: another set of images, or another order, has another."""

    def encoded(self) -> tf.data.Dataset:
        """Elements (encoded string, label int32, key string), all scalars, in a fixed order."""


@dataclass(frozen=True)
class Source:
    """A dataset that has been found and looks usable.

    Attributes:
      name: what --dataset said.
      class_names: the index is the label.
      label_names: what people call the classes, in the same order; the class names where nobody has said.
      splits: images per split, under the names "train" and "validation", and "test" where there is one besides.
      prepared: whether the records are 256 x 256 RGB JPEG.
      resize: the policy the records were prepared with, "shorter_side" where they were not.
      statistics: those of the training split, where prepared.
      read: (split, shuffle_seed, start) -> dataset; call `encoded` instead.
      read_parts: (split, count) -> parts; call `parts` instead.
    """

    name: str
    class_names: tuple[str, ...]
    label_names: tuple[str, ...]
    splits: Mapping[str, int]
    prepared: bool
    resize: str
    statistics: Statistics | None
    read: Callable[[str, int | None, int], tf.data.Dataset]
    read_parts: Callable[[str, int], Sequence[SourcePart]]

    def split(self, name: str) -> str:
        """Returns `name`.

        Raises:
          InputError: there is no such split.
        """
        if name not in self.splits:
            raise InputError(
                f"--split={name}: --dataset={self.name} has no such split, expected one of {', '.join(self.splits)}"
            )
        return name

    def encoded(self, split: str, shuffle_seed: int | None = None, start: int = 0) -> tf.data.Dataset:
        """Every image of a split once, from place `start` of the order on, encoded as it is stored.

        Args:
          split: one of `splits`.
          shuffle_seed: None for a fixed order; any integer for a pseudo-random order that depends on it alone
            (and, for TFDS datasets that are not prepared, on `tf.random.set_seed` if that was called).
          start: images to leave out; of prepared records and image folders most of these are not even read.

        Returns:
          Elements (encoded string, label int32, key string), all scalars. The key does not depend on the order.

        Raises:
          InputError: there is no such split.
        """
        seed = None if shuffle_seed is None else shuffle_seed % 2**63
        return self.read(self.split(split), seed, start)

    def parts(self, split: str, count: int) -> Sequence[SourcePart]:
        """Divides a split into `count` parts of nearly equal size, each with a mixture of the classes.

        Raises:
          InputError: there is no such split.
        """
        return self.read_parts(self.split(split), count)


@records.quiet()
def open_source(dataset: str, data_dir: str | None = None, class_order: str = "sorted") -> Source:
    """Finds the dataset that --dataset and --data_dir name, in this order: "photos" (the embedded photographs),
    "folder:<dir>" (an image folder), "ilsvrc:<dir>" (ImageNet's files), the path of a folder written by
    `pipelines.prepare`, and any TFDS name.

    Args:
      dataset: one of these; "photos" is built on first use, which takes some seconds.
      data_dir: where TFDS keeps its datasets; its own default (~/tensorflow_datasets) if None.
      class_order: one of `class_order.CLASS_ORDERS`.

    Raises:
      InputError: there is no such dataset, it is not built, it does not consist of labelled images, or it does not
        have the classes for that order.
    """
    source = _open_in_own_order(dataset, data_dir)
    return orders.reordered(source, orders.ordered(source.class_names, class_order))


def _open_in_own_order(dataset: str, data_dir: str | None) -> Source:
    if dataset == "photos":
        found = records.open_records(dataset, photos.build(data_dir))
    elif dataset.startswith("folder:"):
        found = folders.open_folder(os.path.expanduser(dataset.removeprefix("folder:")))
    elif dataset.startswith("ilsvrc:"):
        found = ilsvrc.open_ilsvrc(os.path.expanduser(dataset.removeprefix("ilsvrc:")))
    elif os.path.isdir(dataset):
        return _open_prepared(dataset)
    else:
        found = records.open_records(dataset, records.find_builder(dataset, data_dir, FORMS))
    names = found.class_names
    return Source(dataset, names, names, found.splits, False, "shorter_side", None, found.encoded, found.parts)


def _open_prepared(directory: str) -> Source:
    """Raises InputError when `directory` was not written by `pipelines.prepare`, or not wholly."""
    try:
        with open(os.path.join(directory, SUMMARY_FILE), encoding="utf-8") as file:
            summary = json.load(file)
        resize, labels = summary["resize"], summary.get("label_names", {})
        builder = tfds.builder_from_directory(directory)
    except FileNotFoundError:
        hint = (
            f"--dataset=folder:{directory} reads an image folder"
            if folders.holds_classes(directory)
            else "python -m pipelines.prepare writes one"
        )
        raise InputError(f"--dataset={directory}: not a prepared folder, it has no {SUMMARY_FILE}; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError, json_format.Error) as error:
        raise InputError(f"--dataset={directory}: broken prepared folder: {str(error).splitlines()[0]}") from None
    found = records.open_records(directory, builder)
    names = found.class_names
    label_names = tuple(labels.get(name, name) for name in names)
    statistics = Statistics.load(os.path.join(directory, STATISTICS_FILE))

    def read(split: str, shuffle_seed: int | None, start: int) -> tf.data.Dataset:
        return Shards.of_split(builder.info.splits[found.own_splits[split]]).encoded(shuffle_seed, start)

    return Source(directory, names, label_names, found.splits, True, resize, statistics, read, found.parts)
