"""Image statistics of a dataset that has not been prepared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.choices import RESIZED_SIZE
from pipelines.cli.progress import progress_bar
from pipelines.datasets.source import Source
from pipelines.images.resized import resized_pixels
from pipelines.preparation.convert import BadImages, converted, report_ignored
from pipelines.statistics import Accumulator, Statistics


def compute_statistics(
    source: Source,
    split: str = "train",
    resize: str = "shorter_side",
    max_bad_fraction: float = 0.001,
    size: int = RESIZED_SIZE,
) -> tuple[Statistics, frozenset[str]]:
    """Decodes every image of a split once and computes statistics of the resized images; shows a progress bar.

    Args:
      source: where the images come from.
      split: one of `source.splits`.
      resize: one of `choices.RESIZE_POLICIES`.
      max_bad_fraction: share of images that may be undecodable, 0..1.
      size: side of the resized images in pixels; without effect on a prepared source.

    Returns:
      The statistics of the good images, and the keys of the undecodable ones, which are also named on stderr.

    Raises:
      ValueError: no such split, or more bad images than `max_bad_fraction` allows.
    """
    bad = BadImages(max_bad_fraction)
    report_ignored(source.ignored_files)
    bad.add_files(source.bad_files.get(split, {}))
    accumulator = Accumulator()
    size = source.size if source.prepared else size
    for pixels in _good_images(source, split, resize, size, bad):
        accumulator.update(pixels)
    bad.check(bad.seen)
    return accumulator.result(), frozenset(bad.reasons) - source.bad_files.get(split, {}).keys()


def _good_images(source: Source, split: str, resize: str, size: int, bad: BadImages) -> Iterator[np.ndarray]:
    """Resized images, uint8 [size,size,3]; the undecodable ones go to `bad`."""
    good = 0
    examples = converted(source.examples(split), lambda encoded: resized_pixels(encoded, resize, size))
    with progress_bar(f"statistics of {split}", source.splits[split]) as bar:
        for key, _, result in examples:
            bar.update()
            bad.seen += 1
            if isinstance(result, ValueError):
                bad.add(key, str(result))
            else:
                good += 1
                yield result
    if not good:
        raise ValueError(f"dataset={source.name}: none of {source.splits[split]} {split} images can be decoded")
