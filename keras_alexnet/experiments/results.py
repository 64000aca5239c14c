"""Result files: one row per run in <experiment>.csv, and its learning curve in curves/.

Only these files are the source of the report. They hold no path of the machine that wrote them.
"""

import csv
import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipelines.atomic import file_lock, write_file
from pipelines.cli.regular_files import read_csv

_LOCK_TIMEOUT_S = 60.0
# Bytes of a part of a file name; file systems allow 255 for all parts together.
_LONGEST_NAME = 100
_Row = TypeVar("_Row")
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class Result:
    """The result of a run. Errors are fractions 0..1; `hours` are wall-clock and `cpu_hours` those of all cores.

    Attributes:
      experiment, run, seed: the key; a results file has one row for each. An average has the first of its seeds.
      epochs: number of epochs trained.
      images: images in the evaluation.
      center_top1_error, ten_crop_top1_error: after the last epoch.
      best_epoch, best_center_top1_error: for information only; chosen with the images that measure the error.
      train_loss, train_top1_error: of the last epoch, on augmented images with dropout; of an average, their means.
      epochs_to_target: of experiments that measure it; empty if the target was not reached.
      command: that of the training, or of the evaluation of an average, with placeholders for paths.
      revision: of the code.
      processor: name, number of cores and instruction sets; see `provenance.processor`.
      date: of the evaluation, YYYY-MM-DD.
      nine_crop_top1_error: as `ten_crop_top1_error`, of networks whose authors test so; else None.
      dataset: see `dataset_name`; empty in files of older versions.
    """

    experiment: str
    run: str
    seed: int
    epochs: int
    images: int
    center_top1_error: float
    ten_crop_top1_error: float
    best_epoch: int
    best_center_top1_error: float
    train_loss: float
    train_top1_error: float
    epochs_to_target: float | None
    hours: float
    cpu_hours: float
    command: str
    revision: str
    processor: str
    date: str
    nine_crop_top1_error: float | None = None
    dataset: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the row."""
        return self.experiment, self.run, self.seed


@dataclass(frozen=True)
class _Remark:
    name: str
    remark: str


COLUMNS = tuple(field.name for field in dataclasses.fields(Result))


def read_results(directory: Path, experiment: str) -> list[Result]:
    """The rows of an experiment, in the order of the file; empty if it was never run.

    Raises:
      ValueError: the file does not have the columns of `Result`.
    """
    return read_rows(directory / f"{experiment}.csv", Result)


def read_remarks(directory: Path, name: str, results: Sequence[Result]) -> list[str]:
    """What a reader must know about the data of some rows: from remarks.csv in the directory, if there is one.

    Args:
      directory: of the results.
      name: of the experiment. Remarks are about an experiment or a dataset, which the column `name` names.
      results: its rows, whose datasets are looked up.

    Raises:
      ValueError: the file does not have the columns name and remark.
    """
    remarks = {row.name: row.remark for row in read_rows(directory / "remarks.csv", _Remark)}
    names = dict.fromkeys([*sorted({row.dataset for row in results}), name])
    return [remarks[each] for each in names if each in remarks]


def write_result(directory: Path, result: Result, metrics_file: Path | None) -> None:
    """Adds the row of a run, in place of an earlier one with the same key, and copies its learning curve if any."""
    if metrics_file is not None:
        curve = curve_path(directory, *result.key)
        curve.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(metrics_file, curve)
    add_row(directory / f"{result.experiment}.csv", result)


def curve_path(directory: Path, experiment: str, run: str, seed: int) -> Path:
    """Where the learning curve of a run is kept."""
    return directory / "curves" / f"{experiment}-{run}-{seed}.csv"


def read_curve(path: Path) -> list[dict[str, float]]:
    """Reads a `metrics.csv`, or a copy of one: a row for each epoch, without the values that are missing in it.

    Raises:
      ValueError: it has no rows with a column "epoch".
    """
    table = read_csv(path)
    rows = _parsed(path, table, lambda row: {name: float(text) for name, text in row.items() if text})
    if not rows or "epoch" not in rows[0]:
        raise ValueError(f"{path}: found no row with a column epoch; expected rows of metrics.csv")
    return rows


def read_rows(path: Path, kind: type[_Row]) -> list[_Row]:
    """The rows of a CSV file as dataclasses of one kind; empty if there is no such file.

    Columns of fields with a default may be missing: the file is older than they are.

    Raises:
      ValueError: the file does not have the columns of `kind`, or a cell is not a number.
    """
    if not path.exists():
        return []
    fields: Sequence[Any] = dataclasses.fields(kind)  # type: ignore[arg-type]  # a dataclass
    columns = [field.name for field in fields]
    newer = [field.name for field in fields if field.default is not dataclasses.MISSING]
    table = read_csv(path)
    found = table.fieldnames or ()
    if list(dict.fromkeys([*found, *newer])) != columns:
        raise ValueError(f"{path}: found columns {', '.join(found) or 'none'}; expected {', '.join(columns)}")
    return _parsed(path, table, lambda row: kind(**_values(row, kind)))


def _parsed(path: Path, table: "csv.DictReader[str]", parse: Callable[[dict[str, str]], _Parsed]) -> list[_Parsed]:
    """The rows of `table`, which was read from `path`; a cell that is not a number is an error with its line."""
    parsed = []
    for row in table:
        try:
            parsed.append(parse(row))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: line {table.line_num}: {error}") from error
    return parsed


def add_row(path: Path, row: Any) -> None:
    """Adds a dataclass with a `key` to a CSV file, in place of an earlier one with the same key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path.with_name(f".{path.stem}.lock"), timeout_s=_LOCK_TIMEOUT_S):
        rows = [other for other in read_rows(path, type(row)) if other.key != row.key]
        write_file(path, _csv([*rows, row]))


def _csv(rows: Sequence[Any]) -> str:
    text = io.StringIO()
    columns = [field.name for field in dataclasses.fields(rows[0])]
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: _text(getattr(row, name)) for name in columns})
    return text.getvalue()


def _text(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _values(row: dict[str, str], kind: Any) -> dict[str, object]:
    if None in row or None in row.values():
        raise ValueError(f"expected {len(row.keys() - {None})} cells, one for each column")
    values: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        text = row.get(field.name, "")
        if field.type is int:
            values[field.name] = int(text)
        elif field.type is float:
            values[field.name] = float(text)
        elif field.type is str:
            values[field.name] = text
        else:
            values[field.name] = float(text) if text else None
    return values


def dataset_name(dataset: str) -> str:
    """The dataset in rows and file names: the last part of a path, or the first of a TFDS name."""
    kind, colon, path = dataset.partition(":")
    if colon and kind in ("folder", "ilsvrc"):
        return file_name(Path(path).name)
    if Path(dataset).is_dir() or dataset.startswith(("/", "~", ".")):
        return file_name(Path(dataset).name)
    return file_name(kind.partition("/")[0])


def file_name(text: str) -> str:
    """`text` as part of a file name: letters, digits and underscores only; the end of a long one is a digest of it."""
    name = "".join(c if c.isalnum() else "_" for c in text)
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{name.encode()[: _LONGEST_NAME - 13].decode(errors='ignore')}_{digest}"
