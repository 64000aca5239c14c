"""An opened dataset: its classes, its splits, and its encoded images."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import tensorflow as tf

from pipelines.choices import RESIZED_SIZE
from pipelines.cli import reason_of
from pipelines.statistics import Statistics

# Begins the error of a training image that was damaged after it was checked; its key follows.
UNDECODABLE = "this training image cannot be decoded:"

# Encoded image, label, key.
Example: TypeAlias = tuple[bytes, int, str]


class SourceShard(Protocol):
    """Some images of a split, for one process. It can be pickled, and read without reading the other images."""

    @property
    def fingerprint(self) -> str:
        """Differs for any other set of images and for any other order."""

    def encoded(self) -> tf.data.Dataset:
        """Elements (encoded string, label int32, key string), all scalars, in a fixed order."""


@dataclass(frozen=True)
class Source:
    """A dataset that was found and looks usable.

    Attributes:
      name: as given to `open_source`.
      class_names: the index is the label.
      label_names: display names of the classes, in the same order; the class names if there are none.
      splits: images per split, by the names "train", "validation" and "test", as far as the dataset has them.
      prepared: whether the records are resized already: RGB images of one size.
      resize: the policy with which the records were prepared; "shorter_side" if they were not.
      statistics: of the training split, if prepared.
      read: (split, shuffle_seed, start) -> dataset; call `encoded` instead.
      read_shards: (split, count) -> shards; call `shards` instead.
      bad_files: split -> key -> reason, of image files that cannot be read. `splits` does not count them.
      ignored_files: path -> reason, of other files in an image folder.
      size: side of the records in pixels, if prepared.
      encoding: format of the records, "jpeg" or "png", if prepared.
    """

    name: str
    class_names: tuple[str, ...]
    label_names: tuple[str, ...]
    splits: Mapping[str, int]
    prepared: bool
    resize: str
    statistics: Statistics | None
    read: Callable[[str, int | None, int], tf.data.Dataset]
    read_shards: Callable[[str, int], Sequence[SourceShard]]
    bad_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ignored_files: Mapping[str, str] = field(default_factory=dict)
    size: int = RESIZED_SIZE
    encoding: str = "jpeg"

    def split(self, name: str) -> str:
        """Returns `name`.

        Raises:
          ValueError: there is no such split.
        """
        if name not in self.splits:
            raise ValueError(f"split={name}: {self.name} has no such split, expected one of {', '.join(self.splits)}")
        return name

    def encoded(self, split: str, shuffle_seed: int | None = None, start: int = 0) -> tf.data.Dataset:
        """Every image of a split once, encoded as it is stored, from place `start` of the order on.

        Args:
          split: one of `splits`.
          shuffle_seed: None for a fixed order; any integer for a pseudo-random order that depends on it alone
            (and, for TFDS datasets that are not prepared, on `tf.random.set_seed` if that was called).
          start: images to leave out; of prepared records and image folders most of these are not even read.

        Returns:
          Elements (encoded string, label int32, key string), all scalars. The key does not depend on the order.

        Raises:
          ValueError: there is no such split.
        """
        seed = None if shuffle_seed is None else shuffle_seed % 2**63
        return self.read(self.split(split), seed, start)

    def examples(self, split: str, shuffle_seed: int | None = None) -> Iterator[Example]:
        """The elements of `encoded` as Python values.

        Raises:
          ValueError: there is no such split, or it cannot be read.
        """
        return read_examples(self.encoded(split, shuffle_seed), f"dataset={self.name}: reading {split}")

    def shards(self, split: str, count: int) -> Sequence[SourceShard]:
        """Divides a split into `count` shards of nearly equal size, each with a mixture of the classes.

        Raises:
          ValueError: there is no such split.
        """
        return self.read_shards(self.split(split), count)


def read_examples(encoded: tf.data.Dataset, what: str) -> Iterator[Example]:
    """The elements of `Source.encoded` or `SourceShard.encoded` as Python values.

    Args:
      encoded: the dataset.
      what: beginning of the error message.

    Raises:
      ValueError: the dataset cannot be read.
    """
    try:
        for image, label, key in encoded.as_numpy_iterator():
            yield image, int(label), key.decode()
    except tf.errors.OpError as error:
        raise ValueError(f"{what} failed: {reason_of(error)}") from None


@contextlib.contextmanager
def read_errors(source: Source) -> Iterator[None]:
    """Reports images that were damaged or removed since they were checked, in one line that names them.

    Args:
      source: whose batches are consumed in the block.

    Raises:
      ValueError: instead of the `tf.errors.OpError` of such an image; other errors pass.
    """
    try:
        yield
    except tf.errors.OpError as error:
        damaged = re.search(rf"{UNDECODABLE}\]? \[?([^\]\n]*)", str(error))
        if damaged:
            raise ValueError(f"dataset={source.name}: {damaged[1]} can no longer be read or decoded") from error
        if isinstance(error, tf.errors.DataLossError) or "No such file" in str(error):
            raise ValueError(f"dataset={source.name}: {reason_of(error)}") from error
        raise
