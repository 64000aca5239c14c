"""The photographs of a figure: image files, or a sample of a dataset's split."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_alexnet.pretrained import LoadedNetwork
from pipelines.cli import reason_of
from pipelines.cli.regular_files import MAX_IMAGE_BYTES, read_file
from pipelines.datasets.source import Source
from pipelines.images.decode import FORMATS, resized_image_or_zeros
from pipelines.images.find import find_image_files

# Images that are read in search of one of each class.
_SEARCHED = 2000


@dataclass(frozen=True)
class Photograph:
    """A photograph of a figure.

    Attributes:
      image: resized as the network expects, uint8 `[R, R, 3]`.
      name: file name, or key in the dataset.
      label: its class; None if unknown.
    """

    image: np.ndarray
    name: str
    label: int | None = None


def decoder(network: LoadedNetwork) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """The function from an encoded image to its resized image and whether it could be decoded."""
    return _decoder(network.resize, network.resized_size)


@functools.cache  # tracing it takes a second, and a summary has several figures
def _decoder(resize: str, size: int) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return resized_image_or_zeros(encoded, resize, FORMATS, size=size)

    return decode


def read_files(network: LoadedNetwork, arguments: Sequence[str], most: int) -> list[Photograph]:
    """Reads image files; those that cannot be decoded are named on stderr.

    Args:
      network: says how images are resized.
      arguments: paths, directories or glob patterns.
      most: of more images the first ones are read, which is said on stderr.

    Raises:
      ValueError: no file can be decoded.
    """
    found = find_image_files(arguments)
    for path, reason in found.bad.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    photographs = list(itertools.islice(_decoded_files(network, found.files), most))
    if not photographs:
        raise ValueError(f"images={', '.join(arguments)}: found no image that can be decoded")
    if len(found.files) > most:
        print(f"images: the first {len(photographs)} of {len(found.files)} are drawn", file=sys.stderr)
    return photographs


def _decoded_files(network: LoadedNetwork, paths: Iterable[str]) -> Iterator[Photograph]:
    decode = decoder(network)
    for path in paths:
        try:
            image, valid = decode(read_file(path, MAX_IMAGE_BYTES))
        except OSError as error:
            print(f"skipped {path}: {reason_of(error)}", file=sys.stderr)
            continue
        if valid:
            yield Photograph(image.numpy(), Path(path).name)
        else:
            print(f"skipped {path}: cannot be decoded", file=sys.stderr)


def sample(network: LoadedNetwork, source: Source, split: str, count: int) -> list[Photograph]:
    """Chooses up to `count` photographs of a split, spread evenly over its classes; the same ones every time.

    Raises:
      ValueError: there is no such split, or no image of it can be decoded.
    """
    decode = decoder(network)
    by_class: list[list[Photograph]] = [[] for _ in source.class_names]
    most, least = -(-count // len(by_class)), count // len(by_class)
    examples = source.examples(split, shuffle_seed=0)
    for encoded, label, key in itertools.islice(examples, _SEARCHED):
        if sum(min(len(found), most) for found in by_class) >= count and min(map(len, by_class)) >= least:
            break
        if len(by_class[label]) < count:
            image, valid = decode(encoded)
            if valid:
                by_class[label].append(Photograph(image.numpy(), key, label))
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*by_class))
    chosen = list(itertools.islice(filter(None, rounds), count))
    if not chosen:
        raise ValueError(f"split={split}: found no image in {source.name} that can be decoded")
    return sorted(chosen, key=lambda photograph: photograph.label or 0)
