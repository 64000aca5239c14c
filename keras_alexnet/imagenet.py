"""The 1000 classes of ImageNet (ILSVRC-2012). Needs no TensorFlow."""

import functools
from collections.abc import Sequence
from importlib import resources


def imagenet_wnids() -> tuple[str, ...]:
    """The 1000 wnids of ILSVRC-2012, sorted: the label order of Caffe, torchvision, keras.applications and TFDS."""
    return tuple(wnid for wnid, _ in _classes())


def imagenet_names() -> tuple[str, ...]:
    """A display name for each of the classes of `imagenet_wnids`, in the same order."""
    return tuple(name for _, name in _classes())


def display_names(wnids: Sequence[str]) -> tuple[str, ...]:
    """The display name of each of some of the classes; empty if one of `wnids` is none of them."""
    names = dict(_classes())
    return tuple(names[wnid] for wnid in wnids) if names.keys() >= set(wnids) else ()


@functools.cache
def _classes() -> tuple[tuple[str, str], ...]:
    file = resources.files("keras_alexnet") / "imagenet_classes.tsv"
    rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return tuple((wnid, name) for wnid, name in rows)
