"""Command: reports what is in a dataset, and shows the crops that training makes of it.

    python -m pipelines.inspect folder:photographs --output=contact_sheet.png

Prints images and sizes per split, images per class, files that cannot be opened, and duplicates: files of the same
bytes, within a split and across splits, which makes validation results useless. Only headers are decoded;
`pipelines.prepare` also finds files that are damaged after the header. The contact sheet has a row per photograph: the
resized image, then crops as training sees them.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from absl import flags
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipelines.atomic import atomic_path
from pipelines.choices import DATASET_FORMS
from pipelines.cli import UsageError, define_path, reason_of, run
from pipelines.cli.progress import progress_bar

if TYPE_CHECKING:
    from pipelines.datasets.source import Source

# More classes than that are not listed one by one.
_LISTED_CLASSES = 30
_NAMED = 5


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("dataset", None, f"{DATASET_FORMS}; may also be given without --dataset=")
    define_path("data_dir", None, "where TFDS keeps its datasets; ~/tensorflow_datasets if not set")
    define_path("output", None, "contact sheet to write, a .png; none if not set")
    flags.DEFINE_integer("seed", 0, "which photographs the contact sheet shows", 0, 2**32 - 1)


@dataclass
class Findings:
    """What was found in one split.

    Attributes:
      classes: images of each class, by label.
      sizes: images of each (width, height), from their headers.
      unreadable: keys of files that are no regular files, or whose header Pillow cannot read or refuses for its number
        of pixels.
      duplicates: (key, key of an earlier image of the same bytes), both in this split.
      leaked: (key, key of an image of the same bytes in an earlier split, name of that split).
      relabelled: (key, key of an earlier image of the same bytes that has another label), in any split.
    """

    classes: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    leaked: list[tuple[str, str, str]] = field(default_factory=list)
    relabelled: list[tuple[str, str]] = field(default_factory=list)


def inspect(source: Source) -> dict[str, Findings]:
    """Reads every image of every split once; nothing but headers is decoded.

    Returns:
      Split -> findings, the training split first.

    Raises:
      ValueError: the images cannot be read.
    """
    seen: dict[bytes, tuple[str, str, int]] = {}
    return {split: _inspect_split(source, split, seen) for split in source.splits}


def _inspect_split(source: Source, split: str, seen: dict[bytes, tuple[str, str, int]]) -> Findings:
    """Adds to `seen`: digest of the bytes -> (split, key, label) of the first image that has them."""
    found = Findings()
    found.unreadable += source.bad_files.get(split, {})
    with progress_bar(split, source.splits[split]) as bar:
        for encoded, label, key in source.examples(split):
            bar.update()
            _inspect_image(found, split, encoded, label, key, seen)
    return found


def _inspect_image(
    found: Findings, split: str, encoded: bytes, label: int, key: str, seen: dict[bytes, tuple[str, str, int]]
) -> None:
    found.classes[label] += 1
    size = _size(encoded)
    if size is None:
        found.unreadable.append(key)
    else:
        found.sizes[size] += 1
    first = seen.setdefault(hashlib.blake2b(encoded, digest_size=16).digest(), (split, key, label))
    if first == (split, key, label):
        return
    if first[0] == split:
        found.duplicates.append((key, first[1]))
    else:
        found.leaked.append((key, first[1], first[0]))
    if first[2] != label:
        found.relabelled.append((key, first[1]))


def _size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height in the header of an image file, or None if it has none or Pillow refuses them."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    values = flags.FLAGS
    names = [*argv[1:], *([values.dataset] if values.dataset else [])]
    if len(names) != 1:
        raise UsageError(f"found {len(names)} datasets, expected one: python -m pipelines.inspect folder:photographs")
    if values.output and os.path.splitext(values.output)[1].lower() != ".png":
        raise ValueError(f"output={values.output}: expected a name that ends in .png")
    from pipelines.contact_sheet import contact_sheet
    from pipelines.datasets.registry import open_source
    from pipelines.preparation.convert import report_ignored

    source = open_source(names[0], values.data_dir)
    report_ignored(source.ignored_files)
    findings = inspect(source)
    # Names of classes and files may look like rich's markup.
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(_splits_table(source.name, findings))
    console.print(_classes_table(source.class_names, findings))
    for line in _complaints(findings):
        console.print(line, soft_wrap=True)
    if values.output:
        try:
            with atomic_path(values.output) as temporary:
                contact_sheet(source, values.seed).save(temporary)
        except OSError as error:
            raise ValueError(f"output={values.output}: cannot be written: {reason_of(error)}") from None
        console.print(f"contact sheet: {values.output}", soft_wrap=True)


def _splits_table(name: str, findings: dict[str, Findings]) -> Table:
    table = Table(title=name)
    for heading in ("split", "images", "classes", "smallest", "median", "largest"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split, found in findings.items():
        by_area = sorted(found.sizes.elements(), key=lambda size: size[0] * size[1])
        chosen = [by_area[0], by_area[len(by_area) // 2], by_area[-1]] if by_area else []
        sizes = [f"{width} x {height}" for width, height in chosen] or ["-"] * 3
        table.add_row(split, str(found.classes.total()), str(len(found.classes)), *sizes)
    return table


def _classes_table(class_names: Sequence[str], findings: dict[str, Findings]) -> Table:
    counts = np.array([[found.classes[label] for found in findings.values()] for label in range(len(class_names))])
    table = Table(title="images per class")
    table.add_column("class")
    for split in findings:
        table.add_column(split, justify="right")
    if len(class_names) <= _LISTED_CLASSES:
        for name, row in zip(class_names, counts, strict=True):
            table.add_row(name, *map(str, row))
    else:
        for name, of_class in (("fewest", np.min), ("median", np.median), ("most", np.max)):
            table.add_row(f"{name} of {len(class_names)} classes", *(f"{n:.0f}" for n in of_class(counts, axis=0)))
    return table


def _complaints(findings: dict[str, Findings]) -> list[str]:
    """A line for each kind of problem in each split, or one that says that there is none."""
    lines = []
    for split, found in findings.items():
        for problem, items in (
            ("files that cannot be opened", found.unreadable),
            ("duplicates within the split", [f"{key} = {first}" for key, first in found.duplicates]),
            ("images that another split has too", [f"{key} = {first} ({of})" for key, first, of in found.leaked]),
            ("duplicates of another class", [f"{key} = {first}" for key, first in found.relabelled]),
        ):
            if items:
                more = ", ..." if len(items) > _NAMED else ""
                lines.append(f"{split}, {problem} ({len(items)}): {', '.join(items[:_NAMED])}{more}")
    return lines or ["no unreadable files, no duplicates, nothing that two splits share"]


def command() -> None:
    """Runs the command, as `python -m pipelines.inspect` does."""
    run(main, define_flags, takes_arguments=True)


if __name__ == "__main__":
    command()
