"""Stored views of many images, or why there are none: the decoding pass of `pipelines.prepare` and of
`pipelines.preparation.compute_statistics.scan`.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image
from tqdm import tqdm

from pipelines.cli import reason_of
from pipelines.images.crops import RESIZED_SIZE, resize_image
from pipelines.images.decode import decode_rgb

if TYPE_CHECKING:
    from pipelines.datasets.source import Source

# That of cuda-convnet2's make-data.py, by the author of the paper.
JPEG_QUALITY = 95

_NAMED_ON_STDERR = 20
_NAMED_IN_ERROR = 3
_WINDOW_PER_THREAD = 4

# What Pillow raises over headers and EXIF tags that are broken. TensorFlow decides whether the picture is.
_HEADER_ERRORS = (OSError, SyntaxError, ValueError, struct.error)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class BadImages:
    """Counts the images seen and keeps the keys and reasons of those that could not be decoded.

    The first 20 are named on stderr as they are found. `check` enforces the ceiling once all images were seen.
    """

    def __init__(self, max_fraction: float) -> None:
        if not 0 <= max_fraction <= 1:
            raise ValueError(f"max_bad_fraction={max_fraction}: expected a share of the images, 0 to 1")
        self.seen = 0
        self.reasons: dict[str, str] = {}
        self._max_fraction = max_fraction

    def add(self, key: str, reason: str) -> None:
        """Notes a bad image."""
        self.reasons[key] = reason
        if len(self.reasons) <= _NAMED_ON_STDERR:
            tqdm.write(f"skipped {key}: {reason}", file=sys.stderr)
        elif len(self.reasons) == _NAMED_ON_STDERR + 1:
            tqdm.write("skipped more, not named here", file=sys.stderr)

    def check(self, total: int) -> None:
        """Raises ValueError when the share of bad images is above the ceiling, or will be, after all `total` images."""
        bad, names = len(self.reasons), ", ".join(list(self.reasons)[:_NAMED_IN_ERROR])
        if bad <= self._max_fraction * total:
            return
        found = f"cannot be decoded ({names}{', ...' if bad > _NAMED_IN_ERROR else ''})"
        ceiling = f"more than --max_bad_fraction={self._max_fraction:g} allows"
        if self.seen < total:
            raise ValueError(f"{bad} of the first {self.seen} images {found}, {ceiling} for all {total}")
        # Rounded up, so that the value given in the message does let this set pass.
        enough = -(-bad * 10**6 // self.seen) / 10**6
        raise ValueError(f"{bad} of {self.seen} images {found}, {ceiling}; {enough:g} would let them pass")


def converted(
    examples: tf.data.Dataset, convert: Callable[[bytes], _Result], what: str, threads: int | None = None
) -> Iterator[tuple[str, int, _Result | ValueError]]:
    """Applies `convert` to every image on several threads, in order.

    Args:
      examples: elements (encoded, label, key).
      convert: raises ValueError, with a one-line reason, for an image that cannot be decoded.
      what: is being done, for an error message.
      threads: one per core if None.

    Yields:
      Key, label, and result or that error.

    Raises:
      ValueError: the examples cannot be read.
    """

    def attempt(example: tuple[bytes, int, bytes]) -> tuple[str, int, _Result | ValueError]:
        encoded, label, key = example
        try:
            return key.decode(), int(label), convert(encoded)
        except ValueError as error:
            return key.decode(), int(label), error

    def read() -> Iterator[tuple[bytes, int, bytes]]:
        try:
            yield from examples.as_numpy_iterator()
        except tf.errors.OpError as error:
            raise ValueError(f"{what} failed: {reason_of(error)}") from None

    return in_order(attempt, read(), threads)


def convert_split(
    source: Source, split: str, convert: Callable[[bytes], _Result], bad: BadImages
) -> Iterator[tuple[str, int, _Result]]:
    """Applies `convert` to every image of a split on all cores, in the order of a shuffle with seed 0.

    Shuffled, because what is stored class by class could hardly be mixed when it is read. A progress bar shows on a
    terminal.

    Args:
      source, split: which images.
      convert: raises ValueError, with a one-line reason, for an image that cannot be decoded.
      bad: where those are noted.

    Yields:
      Key, label and result of every good image.

    Raises:
      ValueError: no such split, its files cannot be read, or none of its images is good.
    """

    good = 0
    examples = converted(source.encoded(split, shuffle_seed=0), convert, f"--dataset={source.name}: reading {split}")
    with tqdm(total=source.splits[split], desc=split, unit=" images", disable=None, leave=False) as progress:
        for key, label, result in examples:
            progress.update()
            bad.seen += 1
            if isinstance(result, ValueError):
                bad.add(key, str(result))
            else:
                good += 1
                yield key, label, result
    if not good:
        raise ValueError(f"dataset={source.name}: none of {source.splits[split]} {split} images can be decoded")


def in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int | None = None
) -> Iterator[_Result]:
    """`map(function, items)` on threads, one per core if None, reading only a few items ahead of the consumer."""
    threads = threads or os.cpu_count() or 1
    pending: deque = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= threads * _WINDOW_PER_THREAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def resized_pixels(encoded: bytes, resize: str = "shorter_side") -> np.ndarray:
    """The stored view, uint8 [256,256,3], of an encoded photograph set upright by its EXIF tag.

    Raises:
      ValueError: `encoded` cannot be decoded; the message is a one-line reason.
    """
    try:
        image = _decode(encoded)
    except tf.errors.OpError as error:
        raise ValueError(reason_of(error)) from None
    return _view(image, resize).numpy()


def resized_jpeg(encoded: bytes, resize: str = "shorter_side", quality: int = JPEG_QUALITY) -> tuple[bytes, np.ndarray]:
    """The stored view as a JPEG of `quality` 1..100, and the pixels, uint8 [256,256,3], that it decodes to.

    What already is a 256 x 256 RGB baseline JPEG is returned unchanged.

    Raises:
      ValueError: `encoded` cannot be decoded; the message is a one-line reason.
    """
    pixels = resized_pixels(encoded, resize)
    if _is_resized_jpeg(encoded):
        return encoded, pixels
    encoded = tf.io.encode_jpeg(pixels, quality=quality)
    # Not decode_rgb: what was just written needs none of its care, which takes as long as the decoding.
    return encoded.numpy(), tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE").numpy()


_decode = tf.function(decode_rgb, input_signature=[tf.TensorSpec([], tf.string)])


@tf.function(reduce_retracing=True)
def _view(image: tf.Tensor, resize: str) -> tf.Tensor:
    return resize_image(tf.ensure_shape(image, [None, None, 3]), resize)


def _is_resized_jpeg(encoded: bytes) -> bool:
    with contextlib.suppress(*_HEADER_ERRORS):
        image = Image.open(io.BytesIO(encoded))
        kind = image.format, image.mode, image.size, "progressive" in image.info
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return is_upright and kind == ("JPEG", "RGB", (RESIZED_SIZE, RESIZED_SIZE), False)
    return False
