"""Datasets by name: the embedded photographs, image folders, prepared folders, and whatever TFDS knows.

Nothing is ever downloaded here, and no image is decoded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from pipelines import folders, photos, records
from pipelines.command import InputError
from pipelines.shards import Shards
from pipelines.statistics import Statistics

FORMS = "photos, folder:<dir>, a folder written by pipelines.prepare, or a TFDS name such as imagenet2012"
STATISTICS_FILE = "statistics.npz"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class Source:
    """A dataset that has been found and looks usable.

    Attributes:
      name: what --dataset said.
      class_names: the index is the label.
      splits: images per split, under the names "train" and "validation", and "test" where there is one besides.
      prepared: whether the records are 256 x 256 RGB JPEG.
      resize: the policy the records were prepared with, "shorter_side" where they were not.
      statistics: those of the training split, where prepared.
      read: (split, shuffle_seed, start) -> dataset; call `encoded` instead.
    """

    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, int]
    prepared: bool
    resize: str
    statistics: Statistics | None
    read: Callable[[str, int | None, int], tf.data.Dataset]

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
            (and, for all but image folders, on `tf.random.set_seed` if that was called).
          start: images to leave out; of prepared records and image folders most of these are not even read.

        Returns:
          Elements (encoded string, label int32, key string), all scalars. The key does not depend on the order.

        Raises:
          InputError: there is no such split.
        """
        seed = None if shuffle_seed is None else shuffle_seed % 2**63
        return self.read(self.split(split), seed, start)


@records.quiet()
def open_source(dataset: str, data_dir: str | None = None) -> Source:
    """Finds the dataset that --dataset and --data_dir name, in this order: "photos" (the embedded photographs),
    "folder:<dir>" (an image folder), the path of a folder written by `pipelines.prepare`, and any TFDS name.

    Args:
      dataset: one of these; "photos" is built on first use, which takes some seconds.
      data_dir: where TFDS keeps its datasets; its own default (~/tensorflow_datasets) if None.

    Raises:
      InputError: there is no such dataset, it is not built, or it does not consist of labelled images.
    """
    if dataset == "photos":
        found = records.open_records(dataset, photos.build(data_dir))
    elif dataset.startswith("folder:"):
        found = folders.open_folder(os.path.expanduser(dataset.removeprefix("folder:")))
    elif os.path.isdir(dataset):
        return _open_prepared(dataset)
    else:
        found = records.open_records(dataset, records.find_builder(dataset, data_dir, FORMS))
    return Source(dataset, found.class_names, found.splits, False, "shorter_side", None, found.encoded)


def _open_prepared(directory: str) -> Source:
    """Raises InputError when `directory` was not written by `pipelines.prepare`, or not wholly."""
    try:
        with open(os.path.join(directory, SUMMARY_FILE), encoding="utf-8") as file:
            resize = json.load(file)["resize"]
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
    statistics = Statistics.load(os.path.join(directory, STATISTICS_FILE))

    def read(split: str, shuffle_seed: int | None, start: int) -> tf.data.Dataset:
        return Shards.of_split(builder.info.splits[found.own_splits[split]]).encoded(shuffle_seed, start)

    return Source(directory, found.class_names, found.splits, True, resize, statistics, read)
