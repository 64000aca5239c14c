"""Datasets by name: the embedded photographs, image folders, prepared folders, and whatever TFDS knows.

Nothing is ever downloaded here, and no image is decoded.
"""

from __future__ import annotations

import json
import os

import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format

from pipelines.datasets import class_order as orders
from pipelines.datasets import image_folder as folders
from pipelines.datasets import imagenet as ilsvrc
from pipelines.datasets import photos
from pipelines.datasets import tfds_records as records
from pipelines.datasets.prepared_shards import Shards
from pipelines.datasets.source import Source
from pipelines.statistics import Statistics

FORMS = "photos, folder:<dir>, ilsvrc:<dir>, a folder written by pipelines.prepare, or a TFDS name such as imagenet2012"
STATISTICS_FILE = "statistics.npz"
SUMMARY_FILE = "summary.json"


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
      ValueError: there is no such dataset, it is not built, it does not consist of labelled images, or it does not
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
    """Raises ValueError when `directory` was not written by `pipelines.prepare`, or not wholly."""
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
        raise ValueError(f"dataset={directory}: not a prepared folder, it has no {SUMMARY_FILE}; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError, json_format.Error) as error:
        raise ValueError(f"dataset={directory}: broken prepared folder: {str(error).splitlines()[0]}") from None
    found = records.open_records(directory, builder)
    names = found.class_names
    label_names = tuple(labels.get(name, name) for name in names)
    statistics = Statistics.load(os.path.join(directory, STATISTICS_FILE))

    def read(split: str, shuffle_seed: int | None, start: int) -> tf.data.Dataset:
        return Shards.of_split(builder.info.splits[found.own_splits[split]]).encoded(shuffle_seed, start)

    return Source(directory, names, label_names, found.splits, True, resize, statistics, read, found.parts)
