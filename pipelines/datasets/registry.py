"""Datasets by name: the embedded photographs, image folders, prepared directories, and TFDS datasets.

Nothing is downloaded here, and no image is decoded.
"""

from __future__ import annotations

import os

from pipelines.datasets import class_order as orders
from pipelines.datasets import image_folder, imagenet, photos, prepared_shards, tfds_records
from pipelines.datasets.source import Source


@tfds_records.quiet()
def open_source(
    dataset: str,
    data_dir: str | None = None,
    class_order: str = "sorted",
    *,
    validation_fraction: float | None = None,
) -> Source:
    """Opens a dataset by name.

    Args:
      dataset: "photos" (the embedded photographs, built on first use in some seconds), "folder:<dir>" (an image
        folder), "ilsvrc:<dir>" (ImageNet's files), the path of a directory written by `pipelines.prepare`, or any TFDS
        name; looked for in this order. `~` in a path is expanded.
      data_dir: where TFDS keeps its datasets; its own default (~/tensorflow_datasets) if None.
      class_order: one of `choices.CLASS_ORDERS`.
      validation_fraction: for image folders without validation images: the fraction of the training images, of each
        class, that becomes the validation split; the same images every time. None for no such split: then the test
        split, if there is one, is the validation split.

    Raises:
      ValueError: there is no such dataset, it is not built, it does not consist of labelled images, it does not have
        the classes for that order, or it cannot be divided.
    """
    source = _open_in_own_order(dataset, data_dir, validation_fraction)
    return orders.reordered(source, orders.ordered(source.class_names, class_order))


def _open_in_own_order(dataset: str, data_dir: str | None, validation_fraction: float | None) -> Source:
    if dataset.startswith("folder:"):
        folder = image_folder.open_folder(os.path.expanduser(dataset.removeprefix("folder:")), dataset)
        if validation_fraction is not None:
            folder = image_folder.with_validation_split(folder, validation_fraction, dataset)
        else:
            folder = image_folder.with_test_for_validation(folder)
        return _folder_source(dataset, folder)
    if validation_fraction is not None:
        raise ValueError(
            f"validation_fraction={validation_fraction}: expected an image folder (folder:<dir>), found {dataset}"
        )
    if dataset.startswith("ilsvrc:"):
        return _folder_source(dataset, imagenet.open_ilsvrc(os.path.expanduser(dataset.removeprefix("ilsvrc:"))))
    directory = os.path.expanduser(dataset)
    if dataset != "photos" and os.path.isdir(directory):
        return prepared_shards.open_prepared(directory)
    builder = photos.build(data_dir) if dataset == "photos" else tfds_records.find_builder(dataset, data_dir)
    records = tfds_records.open_records(dataset, builder)
    names = records.class_names
    return Source(dataset, names, names, records.splits, False, "shorter_side", None, records.encoded, records.shards)


def _folder_source(dataset: str, folder: image_folder.ImageFolder) -> Source:
    names = folder.class_names
    listings = folder.listings.items()
    return Source(
        name=dataset,
        class_names=names,
        label_names=names,
        splits=folder.splits,
        prepared=False,
        resize="shorter_side",
        statistics=None,
        read=folder.encoded,
        read_shards=folder.shards,
        bad_files={split: listing.bad for split, listing in listings if listing.bad},
        ignored_files={path: reason for _, listing in listings for path, reason in listing.ignored.items()},
    )
