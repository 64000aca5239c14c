"""A dataset that has been opened: its classes, its splits, and how to read their encoded images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from pipelines.statistics import Statistics


class SourceShard(Protocol):
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
    read_parts: Callable[[str, int], Sequence[SourceShard]]

    def split(self, name: str) -> str:
        """Returns `name`.

        Raises:
          ValueError: there is no such split.
        """
        if name not in self.splits:
            raise ValueError(
                f"split={name}: --dataset={self.name} has no such split, expected one of {', '.join(self.splits)}"
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
          ValueError: there is no such split.
        """
        seed = None if shuffle_seed is None else shuffle_seed % 2**63
        return self.read(self.split(split), seed, start)

    def parts(self, split: str, count: int) -> Sequence[SourceShard]:
        """Divides a split into `count` parts of nearly equal size, each with a mixture of the classes.

        Raises:
          ValueError: there is no such split.
        """
        return self.read_parts(self.split(split), count)
