"""Result files: one row per run in <experiment>.csv, and its learning curve in curves/.

Only these files are the source of the report. They hold no path of the machine that wrote them.
"""

import csv
import dataclasses
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.atomic import file_lock, write_file
from pipelines.regular_files import read_text

_LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Result:
    """What a run gave. Errors are fractions 0..1; `hours` are wall-clock and `cpu_hours` those of all cores.

    Attributes:
      experiment, run, seed: the key; a results file has one row for each.
      epochs: number of epochs trained.
      images: images in the evaluation.
      center_top1_error, ten_crop_top1_error: after the last epoch.
      best_epoch, best_center_top1_error: for information only; chosen with the images that measure the error.
      train_loss, train_top1_error: of the last epoch, on augmented images with dropout.
      epochs_to_target: of experiments that measure it; empty if the target was not reached.
      command: the training command, with placeholders for paths.
      revision: of the code.
      processor: name, number of cores and what decides the speed.
      date: of the evaluation, YYYY-MM-DD.
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

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the row."""
        return self.experiment, self.run, self.seed


COLUMNS = tuple(field.name for field in dataclasses.fields(Result))


def read_results(directory: Path, experiment: str) -> list[Result]:
    """The rows of an experiment, in the order of the file; empty if it was never run.

    Raises:
      ValueError: the file does not have the columns of `Result`.
    """
    path = directory / f"{experiment}.csv"
    if not path.exists():
        return []
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if tuple(table.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{path}: found columns {table.fieldnames}; expected {', '.join(COLUMNS)}")
    return [_result(row) for row in table]


def write_result(directory: Path, result: Result, metrics_file: Path) -> None:
    """Adds the row of a run, in place of an earlier one with the same key, and copies its learning curve."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.experiment}.csv"
    curve = curve_path(directory, *result.key)
    curve.parent.mkdir(exist_ok=True)
    shutil.copyfile(metrics_file, curve)
    with file_lock(directory / f".{result.experiment}.lock", timeout_s=_LOCK_TIMEOUT_S):
        rows = [row for row in read_results(directory, result.experiment) if row.key != result.key]
        write_file(path, _csv([*rows, result]))


def curve_path(directory: Path, experiment: str, run: str, seed: int) -> Path:
    """Where the learning curve of a run is kept."""
    return directory / "curves" / f"{experiment}-{run}-{seed}.csv"


def read_curve(path: Path) -> list[dict[str, float]]:
    """Reads a `metrics.csv`, or a copy of one: a row for each epoch, without the values that are missing in it."""
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    return [{name: float(text) for name, text in row.items() if text} for row in table]


def _csv(rows: Sequence[Result]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        values = {name: getattr(row, name) for name in COLUMNS}
        table.writerow({name: _text(value) for name, value in values.items()})
    return text.getvalue()


def _text(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _result(row: dict[str, str]) -> Result:
    values: dict[str, object] = {}
    for field in dataclasses.fields(Result):
        text = row[field.name]
        if field.type is int:
            values[field.name] = int(text)
        elif field.type is float:
            values[field.name] = float(text)
        elif field.type is str:
            values[field.name] = text
        else:
            values[field.name] = float(text) if text else None
    return Result(**values)  # type: ignore[arg-type]  # each has the type of its field
