"""Some of the training images, for a trial that takes minutes."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from pipelines.datasets.source import Source


def take(source: Source, images: int) -> Source:
    """`source` with no more than `images` training images, always the same ones; its other splits stay whole.

    Which ones is drawn at random, so that a dataset stored class by class gives images of all classes. Statistics of
    a prepared source stay those of all its images.

    Raises:
      ValueError: `images` is below 1.
    """
    if images < 1:
        raise ValueError(f"take={images}: expected at least 1")
    taken = min(images, source.splits["train"])

    def read(split: str, shuffle_seed: int | None, start: int) -> tf.data.Dataset:
        if split != "train":
            return source.read(split, shuffle_seed, start)
        examples = source.read("train", 0, 0).take(taken)
        if shuffle_seed is not None:
            examples = examples.shuffle(taken, seed=shuffle_seed, reshuffle_each_iteration=False)
        return examples.skip(start)

    return dataclasses.replace(source, splits={**source.splits, "train": taken}, read=read)
