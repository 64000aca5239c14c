"""Weights of the classes in the training loss, for datasets that have more images of some classes than of others."""

import csv
import math
import os
from collections.abc import Collection, Sequence

import numpy as np

from pipelines.cli import reason_of
from pipelines.cli.regular_files import read_text
from pipelines.datasets.source import Source, read_errors

# Labels and keys are read this many at a time.
_BATCH = 1024
# Bounds of the weights of a file; products with losses are far from the limits of float32.
_SMALLEST, _LARGEST = 1e-9, 1e9


def count_images(source: Source, bad_images: Collection[str] = ()) -> list[int]:
    """The number of training images of each class.

    Args:
      source: the dataset; its training images are read once, but not decoded.
      bad_images: keys of images that do not count.

    Raises:
      ValueError: the images cannot be read.
    """
    counts, left_out = np.zeros(len(source.class_names), np.int64), {key.encode() for key in bad_images}
    labels_and_keys = source.encoded("train").map(lambda encoded, label, key: (label, key)).batch(_BATCH)
    with read_errors(source):
        for labels, keys in labels_and_keys.as_numpy_iterator():
            counted = labels[[key not in left_out for key in keys]]
            counts += np.bincount(counted, minlength=len(counts))
    return counts.tolist()


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Weights inversely proportional to the numbers of images, with a mean of 1 over the images.

    The images of all classes then have the same sum of weights.

    Args:
      counts: images of each class. A class without images has the weight 1, which no image uses.

    Examples:
        >>> balanced_weights([30, 10])
        (0.6666666666666666, 2.0)
    """
    share = sum(counts) / max(1, sum(count > 0 for count in counts))
    return tuple(share / count if count else 1.0 for count in counts)


def read_class_weights(path: str | os.PathLike[str], class_names: Sequence[str]) -> tuple[float, ...]:
    """Reads the weight of each class from a CSV or TSV file.

    Args:
      path: lines with a class and its weight, in any order, between them a comma or a tab. A first line such as
        "class,weight" is skipped, and so are blank lines.
      class_names: each must be named exactly once.

    Returns:
      The weights in the order of `class_names`.

    Raises:
      ValueError: the file cannot be read, names another class, one twice or not all, or a weight is not a positive
        number of reasonable size.
    """
    what = f"class_weights={os.fspath(path)}"
    weights: dict[str, float] = {}
    for number, name, text in _rows(what, path):
        if name not in class_names:
            raise ValueError(f"{what}: line {number}: found class {name!r}; expected one of {_some(class_names)}")
        if name in weights:
            raise ValueError(f"{what}: line {number}: found {name!r} again; expected each class once")
        weights[name] = _weight(text)
        if not _SMALLEST <= weights[name] <= _LARGEST:
            raise ValueError(f"{what}: line {number}: found the weight {text!r}; expected a number above 0")
    missing = [name for name in class_names if name not in weights]
    if missing:
        raise ValueError(f"{what}: found no weight of {_some(missing)}; expected each class once")
    return tuple(weights[name] for name in class_names)


def _rows(what: str, path: str | os.PathLike[str]) -> list[tuple[int, str, str]]:
    """Number of the line, class and weight of each line that is not blank."""
    try:
        text = read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "not a text file (UTF-8)"
        raise ValueError(f"{what}: {reason}; expected none, auto, or a file of lines class,weight") from None
    reader = csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ",")
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                name, weight = (cell.strip() for cell in cells)
                rows.append((reader.line_num, name, weight))
    except (csv.Error, ValueError):
        raise ValueError(f"{what}: line {reader.line_num}: expected a class and its weight") from None
    is_header = bool(rows) and rows[0][2].lower() == "weight"
    return rows[1:] if is_header else rows


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
