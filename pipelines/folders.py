"""Image folders: `<dir>/train/<class>/*` and `<dir>/val/<class>/*`, the layout of torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipelines.command import InputError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
LAYOUT = "train/<class>/* and val/<class>/*"

_SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Listing:
    """The images of one split: `keys` are their paths below the root ("train/cat/1.jpg"), `labels` int32 [N]."""

    keys: tuple[str, ...]
    labels: np.ndarray


@dataclass(frozen=True)
class ImageFolder:
    """An image folder whose layout has been checked; its images have not been opened.

    Attributes:
      root: the folder that was given.
      class_names: names of the folders in train/, sorted; the index is the label.
      listings: by canonical split name ("train", "validation", "test").
    """

    root: str
    class_names: tuple[str, ...]
    listings: Mapping[str, Listing]

    @property
    def splits(self) -> dict[str, int]:
        """Images per split."""
        return {name: len(listing.keys) for name, listing in self.listings.items()}

    def encoded(self, split: str, shuffle_seed: int | None, start: int = 0) -> tf.data.Dataset:
        """Elements (bytes, label int32, key string) from place `start` on, in path order or permuted by the seed."""
        listing = self.listings[split]
        order = np.arange(len(listing.keys))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        order = order[start:]
        keys = np.array(listing.keys, dtype=object)[order]
        examples = tf.data.Dataset.from_tensor_slices((tf.constant(keys, tf.string), listing.labels[order]))

        def read(key: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return tf.io.read_file(tf.strings.join([self.root, key], separator="/")), label, key

        return examples.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def open_folder(root: str) -> ImageFolder:
    """Lists the images below `root` by extension (in any case), hidden ones left out; classes may have subfolders.

    val/ may be called validation/, and may be missing, as may test/; their classes must be among those of train/.

    Raises:
      InputError: the layout is not the expected one; the message says what was found.
    """
    flag = f"--dataset=folder:{root}"
    if not os.path.isdir(root):
        raise InputError(f"{flag}: no such folder, expected one with {LAYOUT}")
    if not os.path.isdir(os.path.join(root, "train")):
        raise InputError(f"{flag}: no folder train/ in it{_what_is_there(root)}, expected {LAYOUT}")
    class_names = tuple(_folders(os.path.join(root, "train")))
    if not class_names:
        raise InputError(f"{flag}: no class folders in {root}/train, expected {LAYOUT}")
    listings = {}
    for split, candidates in _SPLIT_FOLDERS.items():
        found = [name for name in candidates if os.path.isdir(os.path.join(root, name))]
        if len(found) > 1:
            raise InputError(f"{flag}: found both {' and '.join(found)}, expected one of them")
        if found:
            listings[split] = _list_split(root, found[0], class_names)
    return ImageFolder(root, class_names, listings)


def holds_classes(root: str) -> bool:
    """Whether `root` holds `<class>/*` or `train/<class>/*`: a folder (or split) with an image in it."""
    return any(next(_images(os.path.join(root, name)), None) is not None for name in _folders(root))


def _what_is_there(root: str) -> str:
    return " (its folders look like classes: move them into train/)" if holds_classes(root) else ""


def _list_split(root: str, folder: str, class_names: tuple[str, ...]) -> Listing:
    keys: list[str] = []
    labels: list[int] = []
    present = _folders(os.path.join(root, folder))
    unknown = sorted(set(present) - set(class_names))
    if unknown:
        raise InputError(
            f"--dataset=folder:{root}: class {unknown[0]!r} is in {folder}/ but not in train/ "
            f"({len(unknown)} such), expected the classes of train/"
        )
    for name in present:
        paths = sorted(_images(os.path.join(root, folder, name)))
        if not paths:
            raise InputError(f"--dataset=folder:{root}: no image in {folder}/{name}, expected {' '.join(EXTENSIONS)}")
        keys += (Path(path).relative_to(root).as_posix() for path in paths)
        labels += [class_names.index(name)] * len(paths)
    if not keys:
        raise InputError(f"--dataset=folder:{root}: no class folders in {folder}/, expected {LAYOUT}")
    return Listing(tuple(keys), np.array(labels, np.int32))


def _folders(path: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _images(path: str) -> Iterator[str]:
    for parent, folders, files in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield os.path.join(parent, name)
