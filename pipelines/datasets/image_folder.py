"""Image folders: `<dir>/train/<class>/*` and `<dir>/val/<class>/*`, the layout of torchvision's ImageFolder."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
LAYOUT = "train/<class>/* and val/<class>/*"

# Of the order in which `parts` are cut.
_MIXING_SEED = 0

_SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Listing:
    """The images of one split: `keys` are their paths below the root ("train/cat/1.jpg"), `labels` int32 [N]."""

    keys: tuple[str, ...]
    labels: np.ndarray

    def permuted(self, seed: int) -> Listing:
        """The same images in an order that depends on `seed` alone."""
        order = np.random.default_rng(seed).permutation(len(self.keys))
        return Listing(tuple(np.array(self.keys, dtype=object)[order]), self.labels[order])


@dataclass(frozen=True)
class FolderPart:
    """Some images of one split, for one worker; see `pipelines.datasets.source.SourceShard`."""

    root: str
    listing: Listing

    @property
    def identity(self) -> str:
        """Digest of the keys and labels, in their order."""
        keys = "\n".join(self.listing.keys).encode()
        return hashlib.sha256(keys + self.listing.labels.tobytes()).hexdigest()

    def encoded(self) -> tf.data.Dataset:
        """Elements (bytes, label int32, key string) in the order of the listing."""

        def read(key: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return tf.io.read_file(tf.strings.join([self.root, key], separator="/")), label, key

        keys = tf.constant(np.array(self.listing.keys, dtype=object), tf.string)
        examples = tf.data.Dataset.from_tensor_slices((keys, self.listing.labels))
        return examples.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


@dataclass(frozen=True)
class ImageFolder:
    """An image folder whose layout has been checked; its images have not been opened.

    Attributes:
      root: absolute path of the folder.
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
        listing = listing if shuffle_seed is None else listing.permuted(shuffle_seed)
        return FolderPart(self.root, Listing(listing.keys[start:], listing.labels[start:])).encoded()

    def parts(self, split: str, count: int) -> list[FolderPart]:
        """See `pipelines.datasets.source.Source.parts`: cut from a permutation of the whole split."""
        listing = self.listings[split].permuted(_MIXING_SEED)
        ends = [len(listing.keys) * index // count for index in range(count + 1)]
        return [
            FolderPart(self.root, Listing(listing.keys[start:end], listing.labels[start:end]))
            for start, end in itertools.pairwise(ends)
        ]


def open_folder(root: str, flag: str | None = None, splits: Collection[str] = tuple(_SPLIT_FOLDERS)) -> ImageFolder:
    """Lists the images below `root` by extension (in any case), hidden ones left out; classes may have subfolders.

    val/ may be called validation/, and may be missing, as may test/; their classes must be among those of train/.

    Args:
      root: the folder.
      flag: what errors begin with, "--dataset=folder:<root>" if None.
      splits: which to list, "train" among them.

    Raises:
      ValueError: the layout is not the expected one; the message says what was found.
    """
    flag = flag or f"--dataset=folder:{root}"
    if not os.path.isdir(root):
        raise ValueError(f"{flag}: no such folder, expected one with {LAYOUT}")
    if not os.path.isdir(os.path.join(root, "train")):
        raise ValueError(f"{flag}: no folder train/ in it{_what_is_there(root)}, expected {LAYOUT}")
    class_names = tuple(_folders(os.path.join(root, "train")))
    if not class_names:
        raise ValueError(f"{flag}: no class folders in {root}/train, expected {LAYOUT}")
    listings = {}
    for split in splits:
        found = [name for name in _SPLIT_FOLDERS[split] if os.path.isdir(os.path.join(root, name))]
        if len(found) > 1:
            raise ValueError(f"{flag}: found both {' and '.join(found)}, expected one of them")
        if found:
            listings[split] = _list_split(root, found[0], class_names, flag)
    return ImageFolder(os.path.abspath(root), class_names, listings)


def holds_classes(root: str) -> bool:
    """Whether `root` holds `<class>/*` or `train/<class>/*`: a folder (or split) with an image in it."""
    return any(next(_images(os.path.join(root, name)), None) is not None for name in _folders(root))


def _what_is_there(root: str) -> str:
    return " (its folders look like classes: move them into train/)" if holds_classes(root) else ""


def _list_split(root: str, folder: str, class_names: tuple[str, ...], flag: str) -> Listing:
    keys: list[str] = []
    labels: list[int] = []
    present = _folders(os.path.join(root, folder))
    unknown = sorted(set(present) - set(class_names))
    if unknown:
        raise ValueError(
            f"{flag}: class {unknown[0]!r} is in {folder}/ but not in train/ "
            f"({len(unknown)} such), expected the classes of train/"
        )
    for name in present:
        paths = sorted(_images(os.path.join(root, folder, name)))
        if not paths:
            raise ValueError(f"{flag}: no image in {folder}/{name}, expected {' '.join(EXTENSIONS)}")
        unreadable = next((path for path in paths if not _is_unicode(path)), None)
        if unreadable:
            raise ValueError(f"{flag}: the name {unreadable!a} is not UTF-8, rename it")
        keys += (path.removeprefix(os.path.join(root, "")) for path in paths)
        labels += [class_names.index(name)] * len(paths)
    if not keys:
        raise ValueError(f"{flag}: no class folders in {folder}/, expected {LAYOUT}")
    return Listing(tuple(keys), np.array(labels, np.int32))


def _folders(path: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _is_unicode(path: str) -> bool:
    # Python writes foreign bytes in file names as surrogates, which UTF-8 does not know.
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _images(path: str) -> Iterator[str]:
    for parent, folders, files in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield os.path.join(parent, name)
