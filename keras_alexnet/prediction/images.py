"""The images of a prediction: files and datasets, divided into numbered parts."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.cli.regular_files import MAX_TEXT_BYTES, read_file
from pipelines.images.find import (
    FIRST_BYTES,
    IMAGE_SUFFIXES,
    check_image_bytes,
    find_image_files,
    image_format,
    read_image_file,
)
from pipelines.preparation.convert import report_ignored
from pipelines.thread_map import ordered_thread_map

# Images per part: the most that an interruption repeats. Small inputs get smaller parts, so that several machines can
# share them.
_MOST_IMAGES, _FEWEST_IMAGES, _PARTS = 1024, 32, 64
_READERS = 16

# Written by `pipelines.prepare`.
_PREPARED_FILE = "summary.json"
_LIST_SUFFIX = ".txt"
_DATASET = re.compile(r"photos|(folder|ilsvrc):.+|\w+(/[\w.\-]+)?(:\d+\.\d+\.\d+)?")


@dataclass(frozen=True)
class Image:
    """An image to predict.

    Attributes:
      path: of the file, or key in the dataset; empty if it came as bytes.
      content: the JPEG or PNG file; None if it cannot be read.
      reason: why it cannot be read.
    """

    path: str
    content: bytes | None
    reason: str = ""


def read_image(image: str | os.PathLike[str] | bytes, root: str = "") -> Image:
    """Reads a file that `image` names, below `root`, or takes its content."""
    path = "" if isinstance(image, bytes) else os.fspath(image)
    full = os.path.join(root, path)
    try:
        content = check_image_bytes(image, "image") if isinstance(image, bytes) else read_image_file(full)
        return Image(path, content)
    except ValueError as error:
        return Image(path, None, str(error).removeprefix(f"{full or 'image'}: "))


@dataclass(frozen=True)
class FilePart:
    """Some of the files. Can be pickled.

    Attributes:
      index: number of the part, from 0.
      root: where relative paths begin.
      paths: of the files.
    """

    index: int
    root: str
    paths: Sequence[str]

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.paths)

    def images(self) -> Iterator[Image]:
        """The images, in order."""
        return ordered_thread_map(lambda path: read_image(path, self.root), self.paths, _READERS)


@dataclass(frozen=True)
class DatasetPart:
    """A shard of a split of a dataset. Can be pickled.

    Attributes:
      index: number of the part, from 0.
      name: of the dataset and split.
      shard: a `pipelines.datasets.source.SourceShard`.
      size: number of images, one more or less where TFDS was told not to shuffle.
    """

    index: int
    name: str
    shard: Any
    size: int

    def images(self) -> Iterator[Image]:
        """The images, in stored order."""
        from pipelines.datasets.source import read_examples

        for content, _, key in read_examples(self.shard.encoded(), f"images={self.name}: reading"):
            image = read_image(content)
            yield Image(key, image.content, image.reason)


Part = FilePart | DatasetPart


@dataclass(frozen=True)
class Inputs:
    """All images, in parts.

    Attributes:
      parts: in order; part i has `index` i.
      size: number of images.
      fingerprint: differs for other images or another order. Contents of files are not part of it.
    """

    parts: Sequence[Part]
    size: int
    fingerprint: str


def find_inputs(arguments: Sequence[str], *, split: str | None = None, data_dir: str | None = None) -> Inputs:
    """Finds the images that `arguments` name. Reads none of them.

    Args:
      arguments: files, directories, glob patterns and text files (`.txt`) with one of these per line, as for
        `find_image_files`; relative paths begin at the current directory. Or a single dataset: a directory of
        `pipelines.prepare`, "photos", "folder:<dir>", "ilsvrc:<dir>" or a TFDS name.
      split: of a dataset: "train", "validation" or "test"; all of them if None.
      data_dir: where TFDS keeps datasets.

    Raises:
      ValueError: there is no image.
    """
    if len(arguments) == 1 and _is_dataset(arguments[0]):
        return _dataset_inputs(arguments[0], split, data_dir)
    if split is not None:
        raise ValueError(f"split={split}: expected a dataset as images")
    found = find_image_files(line for argument in arguments for line in _lines(argument))
    report_ignored(found.ignored)
    if not found.files:
        path, reason = next(iter(found.bad.items()), (", ".join(arguments), "no images"))
        raise ValueError(f"images={path}: {reason}; expected files, directories, glob patterns, a list or a dataset")
    size = _part_size(len(found.paths))
    starts = range(0, len(found.paths), size)
    root = os.getcwd()
    parts = [FilePart(index, root, found.paths[start : start + size]) for index, start in enumerate(starts)]
    digest = hashlib.sha256("\0".join(found.paths).encode(errors="surrogateescape"))
    return Inputs(parts, len(found.paths), digest.hexdigest())


def _dataset_inputs(dataset: str, split: str | None, data_dir: str | None) -> Inputs:
    from pipelines.datasets.registry import open_source

    try:
        source = open_source(dataset, data_dir)
    except ValueError as error:
        raise ValueError(f"images={str(error).removeprefix('dataset=')}") from error
    splits = source.splits if split is None else [source.split(split)]
    size = sum(source.splits[name] for name in splits)
    parts: list[DatasetPart] = []
    for name in splits:
        images = source.splits[name]
        count = -(-images // _part_size(size))
        for index, shard in enumerate(source.shards(name, count)):
            share = images * (index + 1) // count - images * index // count
            parts.append(DatasetPart(len(parts), f"{dataset} {name}", shard, share))
    digest = hashlib.sha256("\0".join(part.shard.fingerprint for part in parts).encode(errors="surrogateescape"))
    return Inputs(parts, size, digest.hexdigest())


def _part_size(images: int) -> int:
    size = -(-images // (_PARTS * _FEWEST_IMAGES)) * _FEWEST_IMAGES
    return min(_MOST_IMAGES, max(_FEWEST_IMAGES, size))


def _is_dataset(argument: str) -> bool:
    path = Path(argument).expanduser()
    if path.is_dir():
        return (path / _PREPARED_FILE).is_file()
    is_file = path.exists() or path.suffix.lower() in (*IMAGE_SUFFIXES, _LIST_SUFFIX)
    return not is_file and _DATASET.fullmatch(argument) is not None


def _lines(argument: str) -> list[str]:
    """The arguments in a list of paths; any other argument itself."""
    path = Path(argument).expanduser()
    if path.suffix.lower() != _LIST_SUFFIX or not path.is_file():
        return [argument]
    try:
        content = read_file(path, MAX_TEXT_BYTES)
    except OSError as error:
        raise ValueError(f"images={path}: {error.strerror}; expected a list of images") from error
    if image_format(content[: max(map(len, FIRST_BYTES.values()))]):
        return [argument]
    # As the names of files are decoded; a byte order mark is what Windows' editor puts in front.
    lines = (line.removesuffix("\r") for line in os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n"))
    return [line for line in lines if line.strip()]
