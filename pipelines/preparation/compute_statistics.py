"""Image statistics of a dataset that has not been prepared."""

from __future__ import annotations

from pipelines.datasets.source import Source
from pipelines.preparation import convert as stored
from pipelines.statistics import Accumulator, Statistics


def compute_statistics(
    source: Source, split: str = "train", resize: str = "shorter_side", max_bad_fraction: float = 0.001
) -> tuple[Statistics, frozenset[str]]:
    """Decodes every image of a split once, with a progress bar, to train from a source that is not prepared.

    Args:
      source: where the images come from.
      split: one of `source.splits`.
      resize: one of `pipelines.images.crops.RESIZE_POLICIES`.
      max_bad_fraction: share of images that may be undecodable, 0..1.

    Returns:
      The statistics of the good images and the keys of the bad ones, which are also named on stderr.

    Raises:
      ValueError: no such split, or more bad images than `max_bad_fraction` allows.
    """
    bad = stored.BadImages(max_bad_fraction)
    accumulator = Accumulator()
    for _, _, pixels in stored.convert_split(
        source, split, lambda encoded: stored.resized_pixels(encoded, resize), bad
    ):
        accumulator.update(pixels)
    bad.check(bad.seen)
    return accumulator.result(), frozenset(bad.reasons)
