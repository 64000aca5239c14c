"""Converts many images on several threads, in order, and keeps account of the ones that cannot be decoded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pipelines.datasets.source import Example
from pipelines.thread_map import ordered_thread_map

_NAMED_ON_STDERR = 20
_NAMED_IN_ERROR = 3

_Result = TypeVar("_Result")


class BadImages:
    """Counts images, and keeps the keys and reasons of those that cannot be decoded.

    The first 20 are named on stderr as they are found. `check` enforces the limit after all images were read.

    Args:
      max_fraction: share of all images that may be bad, 0..1.

    Attributes:
      seen: images read so far, the bad ones included.
      reasons: key -> reason of the bad ones.
    """

    def __init__(self, max_fraction: float) -> None:
        if not 0 <= max_fraction <= 1:
            raise ValueError(f"max_bad_fraction={max_fraction}: expected a share of the images, 0 to 1")
        self.seen = 0
        self.reasons: dict[str, str] = {}
        self._max_fraction = max_fraction

    def add(self, key: str, reason: str) -> None:
        """Records a bad image."""
        self.reasons[key] = reason
        if len(self.reasons) <= _NAMED_ON_STDERR:
            print(f"skipped {key}: {reason}", file=sys.stderr)
        elif len(self.reasons) == _NAMED_ON_STDERR + 1:
            print("further skipped images are not listed", file=sys.stderr)

    def add_files(self, bad_files: Mapping[str, str]) -> None:
        """Records files that were found to be no images without being read, by key."""
        self.seen += len(bad_files)
        for key, reason in bad_files.items():
            self.add(key, reason)

    def check(self, total: int) -> None:
        """Raises ValueError if the share of bad images exceeds the limit, or will after all `total` images."""
        bad, names = len(self.reasons), ", ".join(list(self.reasons)[:_NAMED_IN_ERROR])
        if bad <= self._max_fraction * total:
            return
        found = f"cannot be decoded ({names}{', ...' if bad > _NAMED_IN_ERROR else ''})"
        limit = f"max_bad_fraction={self._max_fraction:g}: "
        if self.seen < total:
            raise ValueError(f"{limit}{bad} of the first {self.seen} images {found}, too many for all {total}")
        # Rounded up, so that the value in the message is enough.
        enough = -(-bad * 10**6 // self.seen) / 10**6
        raise ValueError(f"{limit}{bad} of {self.seen} images {found}; {enough:g} would allow that")


def report_ignored(ignored: Mapping[str, str]) -> None:
    """Names on stderr the first of the files that a dataset does not use, and how many there are."""
    if ignored:
        named = ", ".join(f"{key} ({reason})" for key, reason in list(ignored.items())[:_NAMED_IN_ERROR])
        more = ", ..." if len(ignored) > _NAMED_IN_ERROR else ""
        print(f"ignored {len(ignored)} files that are not images: {named}{more}", file=sys.stderr)


def converted(
    examples: Iterable[Example], convert: Callable[[bytes], _Result], threads: int | None = None
) -> Iterator[tuple[str, int, _Result | ValueError]]:
    """Applies `convert` to every image on several threads, in order.

    Args:
      examples: see `Source.examples`.
      convert: raises ValueError, with a one-line reason, for an image that cannot be decoded.
      threads: one per core if None.

    Yields:
      Key, label, and result or that error.
    """

    def attempt(example: Example) -> tuple[str, int, _Result | ValueError]:
        encoded, label, key = example
        try:
            return key, label, convert(encoded)
        except ValueError as error:
            return key, label, error

    return ordered_thread_map(attempt, examples, threads)
