"""Which output is which class: the order of a dataset's classes, a subset of them, and their display names.

The 2012 code numbers ImageNet's classes as the challenge's development kit does; Caffe, torchvision, Keras and TFDS
sort their WordNet ids (wnids). The two are permutations of each other.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

import tensorflow as tf

from pipelines.choices import CLASS_ORDERS
from pipelines.cli.regular_files import read_lines
from pipelines.datasets.source import Source, SourceShard

_LEFT_OUT = -1


@cache
def devkit_wnids() -> tuple[str, ...]:
    """The 1000 wnids of ILSVRC-2012 by ILSVRC2012_ID, from 1 on: the table `synsets` of the kit's meta.mat."""
    return tuple(resources.files("pipelines.datasets").joinpath("ilsvrc2012_wnids.txt").read_text("ascii").split())


def ordered(class_names: Sequence[str], class_order: str) -> tuple[str, ...]:
    """`class_names` in one of `choices.CLASS_ORDERS`.

    Raises:
      ValueError: no such order, or "devkit" and a class that is not one of the 1000.
    """
    if class_order not in CLASS_ORDERS:
        raise ValueError(f"class_order={class_order}: expected one of {', '.join(CLASS_ORDERS)}")
    if class_order == "sorted":
        return tuple(class_names)
    ids = {wnid: index for index, wnid in enumerate(devkit_wnids())}
    foreign = [name for name in class_names if name not in ids]
    if foreign:
        raise ValueError(f"class_order=devkit: found class {foreign[0]!r}, expected wnids of ILSVRC-2012 only")
    return tuple(sorted(class_names, key=ids.__getitem__))


def reordered(source: Source, class_names: Sequence[str]) -> Source:
    """`source` with its labels in the order of `class_names`.

    Raises:
      ValueError: these are not the classes of `source`.
    """
    class_names = tuple(class_names)
    if sorted(class_names) != sorted(source.class_names):
        raise ValueError(f"dataset={source.name}: its classes differ from those to be put in order")
    if class_names == source.class_names:
        return source
    labels = _new_labels(source.class_names, class_names)
    label_names = dict(zip(source.class_names, source.label_names, strict=True))
    return dataclasses.replace(
        source,
        class_names=class_names,
        label_names=tuple(label_names[name] for name in class_names),
        read=lambda split, seed, start: _relabelled(source.read(split, seed, start), labels),
        read_shards=lambda split, count: select(source, split, count, class_names),
    )


def select(source: Source, split: str, count: int, class_names: Sequence[str]) -> list[SourceShard]:
    """`source.shards(split, count)` with the images of `class_names` only, labelled in their order."""
    labels = _new_labels(source.class_names, class_names)
    return [RelabelledShard(shard, labels) for shard in source.shards(split, count)]


@dataclasses.dataclass(frozen=True)
class RelabelledShard:
    """A shard of a source with other labels.

    Attributes:
      shard: as the source has it.
      labels: from its labels to the new ones; the images of -1 are left out.
    """

    shard: SourceShard
    labels: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """See `source.SourceShard`."""
        return f"{self.shard.fingerprint} {self.labels}"

    def encoded(self) -> tf.data.Dataset:
        """See `source.SourceShard`."""
        return _relabelled(self.shard.encoded(), self.labels)


def read_class_list(path: str | os.PathLike, class_names: Sequence[str]) -> tuple[str, ...]:
    """Those of `class_names` that the file lists, one a line; what follows the name and a blank is a remark.

    Raises:
      ValueError: the file cannot be read, is empty, or names another class.
    """
    listed, known = set(), frozenset(class_names)
    for line in _lines("classes_file", path):
        name, _ = next(_begins_with(line, known), (None, ""))
        if name is None:
            raise ValueError(f"classes_file={path}: found {line.split()[0]!r}, expected classes of the dataset")
        listed.add(name)
    if not listed:
        raise ValueError(f"classes_file={path}: found no class, expected one a line")
    return tuple(name for name in class_names if name in listed)


def read_label_names(path: str | os.PathLike, class_names: Sequence[str]) -> dict[str, str]:
    """Display names from a file: a line has a class, a tab or blanks, and its display name.

    Class names may have blanks and tabs in them. Lines for other classes are ignored, so that one list of all synsets
    serves every subset of them.

    Raises:
      ValueError: the file cannot be read, or lacks one of `class_names`.
    """
    names, known = {}, frozenset(class_names)
    for line in _lines("label_names_file", path):
        name, display_name = next((found for found in _begins_with(line, known) if found[1]), ("", ""))
        names[name] = display_name
    missing = [name for name in class_names if name not in names]
    if missing:
        raise ValueError(
            f"label_names_file={path}: no line with {missing[0]!r}, a tab and its name ({len(missing)} such)"
        )
    return {name: names[name] for name in class_names}


def _begins_with(line: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Those of `names` that `line` begins with, the longest first, and what follows each and a blank."""
    longest = max(map(len, names))
    for text in (line, line.strip()):
        for end in range(min(len(text), longest), 0, -1):
            if text[:end] in names and (end == len(text) or text[end].isspace()):
                yield text[:end], text[end:].strip()


def _lines(argument: str, path: str | os.PathLike) -> list[str]:
    """The lines of a text file that are not blank."""
    try:
        return [line for line in read_lines(path, "utf-8-sig") if line.strip()]
    except OSError as error:
        raise ValueError(f"{argument}={path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{argument}={path}: not a text file (UTF-8)") from None


def _new_labels(old: Sequence[str], new: Sequence[str]) -> tuple[int, ...]:
    index = {name: label for label, name in enumerate(new)}
    return tuple(index.get(name, _LEFT_OUT) for name in old)


def _relabelled(examples: tf.data.Dataset, labels: tuple[int, ...]) -> tf.data.Dataset:
    table = tf.constant(labels, tf.int32)
    examples = examples.map(lambda encoded, label, key: (encoded, table[label], key))
    if _LEFT_OUT in labels:
        examples = examples.filter(lambda encoded, label, key: label != _LEFT_OUT)
    return examples
