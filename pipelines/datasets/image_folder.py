"""Image folders: `<dir>/train/<class>/*` and `<dir>/val/<class>/*`, or `<dir>/<class>/*` for training images only.

The layouts of torchvision's ImageFolder and of Keras' `image_dataset_from_directory`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from pipelines.cli.regular_files import MAX_IMAGE_BYTES, unreadable_reason
from pipelines.images.find import IMAGE_SUFFIXES, find_image_files

LAYOUT = "train/<class>/* and val/<class>/*, or <class>/*"

# Of the order from which shards are cut.
_SHARD_SEED = 0

_SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}


@dataclass(frozen=True)
class Listing:
    """The images of one split.

    Attributes:
      keys: paths below the root, such as "train/cat/1.jpg" or "cat/1.jpg".
      labels: int32 [N].
      bad: key -> reason, of image files that cannot be read: no regular files, broken links, too large. They are not in
        `keys`.
      ignored: path -> reason, of other files: no image suffix, or the same file a second time.
    """

    keys: tuple[str, ...]
    labels: np.ndarray
    bad: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)

    def permuted(self, seed: int) -> Listing:
        """The same images in an order that depends on `seed` alone."""
        return self.subset(np.random.default_rng(seed).permutation(len(self.keys)))

    def subset(self, indices: np.ndarray) -> Listing:
        """The images at `indices`, int [M], in that order."""
        return Listing(tuple(np.array(self.keys, dtype=object)[indices]), self.labels[indices])


@dataclass(frozen=True)
class FolderShard:
    """Some images of one split; see `source.SourceShard`."""

    root: str
    listing: Listing

    @property
    def fingerprint(self) -> str:
        """Digest of the keys and labels, in their order."""
        keys = "\n".join(self.listing.keys).encode()
        return hashlib.sha256(keys + self.listing.labels.tobytes()).hexdigest()

    def encoded(self) -> tf.data.Dataset:
        """Elements (encoded string, label int32, key string) in the order of the listing.

        A file that cannot be read is an empty string: an image that cannot be decoded, as others.
        """

        def read(key: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            path = tf.data.Dataset.from_tensors(tf.strings.join([self.root, key], separator="/"))
            contents = path.map(tf.io.read_file).ignore_errors().concatenate(tf.data.Dataset.from_tensors(b""))
            return contents.take(1).get_single_element(), label, key

        keys = tf.constant(np.array(self.listing.keys, dtype=object), tf.string)
        examples = tf.data.Dataset.from_tensor_slices((keys, self.listing.labels))
        return examples.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


@dataclass(frozen=True)
class ImageFolder:
    """An image folder whose layout was checked; its images have not been opened.

    Attributes:
      root: absolute path of the folder.
      class_names: names of the class folders, sorted; the index is the label.
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
        """See `source.Source.encoded`: in path order, or permuted by the seed."""
        listing = self.listings[split]
        listing = listing if shuffle_seed is None else listing.permuted(shuffle_seed)
        return FolderShard(self.root, Listing(listing.keys[start:], listing.labels[start:])).encoded()

    def shards(self, split: str, count: int) -> list[FolderShard]:
        """See `source.Source.shards`: cut from a permutation of the whole split."""
        listing = self.listings[split].permuted(_SHARD_SEED)
        ends = [len(listing.keys) * index // count for index in range(count + 1)]
        return [
            FolderShard(self.root, Listing(listing.keys[start:end], listing.labels[start:end]))
            for start, end in itertools.pairwise(ends)
        ]


def open_folder(root: str, name: str | None = None, splits: Collection[str] = tuple(_SPLIT_FOLDERS)) -> ImageFolder:
    """Lists the images below `root`; class folders may have subfolders, hidden files and folders are left out.

    val/ may be called validation/ or valid/. It may be missing, as may test/; their classes must be among those of
    train/. test/ is the validation split only for `with_test_for_validation`, and never where there is a val/. If there
    is no folder for a split, each folder is a class of training images.

    Args:
      root: the folder.
      name: of the dataset in error messages, "folder:<root>" if None.
      splits: which to list, "train" among them.

    Raises:
      ValueError: the layout is not the expected one; the message says what was found.
    """
    where = f"dataset={name or f'folder:{root}'}"
    if not os.path.isdir(root):
        raise ValueError(f"{where}: no such folder, expected one with {LAYOUT}")
    training_folder = _training_folder(root, where)
    class_names = tuple(_folders(os.path.join(root, training_folder)))
    if not class_names:
        raise ValueError(f"{where}: no class folders in {root}/train, expected {LAYOUT}")
    # Lists of class names have one a line.
    odd = next((name for name in class_names if name != name.strip() or len(name.splitlines()) > 1), None)
    if odd is not None:
        raise ValueError(f"{where}: class {odd!r} has a line break in its name or a blank at its end; rename it")
    if not training_folder:
        return ImageFolder(os.path.abspath(root), class_names, {"train": _list_split(root, "", class_names, where)})
    listings = {}
    for split in splits:
        found = [name for name in _SPLIT_FOLDERS[split] if os.path.isdir(os.path.join(root, name))]
        if len(found) > 1:
            raise ValueError(f"{where}: found both {' and '.join(found)}, expected one of them")
        if found:
            listings[split] = _list_split(root, found[0], class_names, where)
    return ImageFolder(os.path.abspath(root), class_names, listings)


def with_test_for_validation(folder: ImageFolder) -> ImageFolder:
    """`folder` with its test split as the validation split if it has no validation split, as TFDS datasets here."""
    if "validation" in folder.listings or "test" not in folder.listings:
        return folder
    listings = {**folder.listings, "validation": folder.listings["test"]}
    del listings["test"]
    return ImageFolder(folder.root, folder.class_names, listings)


def holds_classes(root: str) -> bool:
    """Whether `root` has a folder with an image file in or below it, as a folder of classes or of splits has."""
    return any(_holds_images(os.path.join(root, name)) for name in _folders(root))


def _holds_images(folder: str) -> bool:
    return any(file.lower().endswith(IMAGE_SUFFIXES) for _, _, files in os.walk(folder) for file in files)


def _training_folder(root: str, where: str) -> str:
    """Where the class folders of the training images are: in "train", or "" for `root` itself."""
    folders = _folders(root)
    if "train" in folders:
        return "train"
    is_split = any(name in folders for names in _SPLIT_FOLDERS.values() for name in names)
    empty = [name for name in folders if not _holds_images(os.path.join(root, name))]
    if is_split or len(empty) == len(folders):
        raise ValueError(f"{where}: no folder train/ in it, expected {LAYOUT}")
    if empty:
        raise ValueError(f"{where}: no folder train/ in it, and no image in {empty[0]}, expected {LAYOUT}")
    if len(folders) == 1:
        raise ValueError(f"{where}: no folder train/ in it, and one class only, {folders[0]}, expected {LAYOUT}")
    return ""


def with_validation_split(folder: ImageFolder, fraction: float, name: str) -> ImageFolder:
    """`folder` with a validation split taken from its training split, the same fraction of every class.

    An image is chosen by a hash of its path, so the split does not change when other images are added, except for the
    few at the limit. Every class keeps a training image; a class with at least two images has a validation image.

    Args:
      folder: without a validation split.
      fraction: of the training images, between 0 and 1.
      name: of the dataset in error messages.

    Raises:
      ValueError: `fraction` is out of range, there is a validation split, or too few images for one.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction={fraction}: expected a fraction of the training images, between 0 and 1")
    if "validation" in folder.listings:
        raise ValueError(
            f"validation_fraction={fraction}: {name} has validation images, expected an image folder without"
        )
    training = folder.listings["train"]
    hashes = np.array([hashlib.sha256(os.fsencode(key)).hexdigest() for key in training.keys])
    chosen = np.zeros(len(training.keys), bool)
    for label in range(len(folder.class_names)):
        images = np.flatnonzero(training.labels == label)
        count = min(max(round(fraction * len(images)), 1), len(images) - 1)
        chosen[images[np.argsort(hashes[images])][: max(count, 0)]] = True
    if not chosen.any():
        raise ValueError(f"validation_fraction={fraction}: {name} has one image per class, expected at least two")
    rest = training.subset(np.flatnonzero(~chosen))
    listings = {
        **folder.listings,
        "train": Listing(rest.keys, rest.labels, training.bad, training.ignored),
        "validation": training.subset(np.flatnonzero(chosen)),
    }
    return ImageFolder(folder.root, folder.class_names, {s: listings[s] for s in _SPLIT_FOLDERS if s in listings})


def _list_split(root: str, folder: str, class_names: tuple[str, ...], where: str) -> Listing:
    keys: list[str] = []
    labels: list[int] = []
    bad: dict[str, str] = {}
    ignored: dict[str, str] = {}
    present = _folders(os.path.join(root, folder))
    unknown = sorted(set(present) - set(class_names))
    if unknown:
        raise ValueError(
            f"{where}: class {unknown[0]!r} is in {folder}/ but not in train/ "
            f"({len(unknown)} such), expected the classes of train/"
        )
    prefix = os.path.join(root, "")
    for name in present:
        try:
            found = find_image_files([os.path.join(root, folder, name)])
        except ValueError:
            raise ValueError(
                f"{where}: no image in {os.path.join(folder, name)}, expected {' '.join(IMAGE_SUFFIXES)}"
            ) from None
        # What reads them, a graph, reads files of any size.
        found.bad.update({path: why for path in found.files if (why := unreadable_reason(path, MAX_IMAGE_BYTES))})
        files = sorted(found.files)
        foreign = next((path for path in files if not _is_unicode(path)), None)
        if foreign:
            raise ValueError(f"{where}: the name {foreign!a} is not UTF-8, rename it")
        keys += (path.removeprefix(prefix) for path in files)
        labels += [class_names.index(name)] * len(files)
        bad |= {path.removeprefix(prefix): reason for path, reason in found.bad.items()}
        ignored |= {path.removeprefix(prefix): why for path, why in found.ignored.items() if why != "hidden"}
    if not keys:
        raise ValueError(f"{where}: no class folders in {folder}/, expected {LAYOUT}")
    return Listing(tuple(keys), np.array(labels, np.int32), bad, ignored)


def _folders(path: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _is_unicode(path: str) -> bool:
    # Python represents foreign bytes in file names as surrogates, which UTF-8 cannot encode.
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
