"""results.csv: one row per evaluation; and the errors of each class."""

import contextlib
import csv
import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from keras_alexnet.training.evaluation import ErrorRates
from pipelines.atomic import FileLockedError, file_lock, write_file
from pipelines.cli import reason_of
from pipelines.cli.regular_files import read_csv
from pipelines.cli.safe_text import spreadsheet_cell

COLUMNS = (
    *("time", "model_dir", "steps", "dataset", "split", "crops", "images", "skipped"),
    *("top1_error", "top5_error", "loss", "macro_error", "calibration_error"),
)
_LOCK_TIMEOUT_S = 60.0
# Of columns in version 0.1.
_OLD_NAMES = {"views": "crops"}


def check_results_file(path: Path) -> None:
    """Checks that `append_result` can append to `path`, before time is spent on an evaluation. Changes no file.

    Args:
      path: the file; its directory is created if necessary.

    Raises:
      ValueError: the file has other columns, or cannot be written.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _columns(path)
            open(path, "a", encoding="utf-8").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()


def append_result(path: Path, result: Mapping[str, object]) -> None:
    """Appends one row to a CSV file, after a header if the file is new. Several processes may append at once.

    Args:
      path: the file; its directory is created if necessary.
      result: one value for each of `COLUMNS`.

    Raises:
      ValueError: the file has other columns, or cannot be written.
    """
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock")
        with file_lock(lock, timeout_s=_LOCK_TIMEOUT_S):
            if path.exists() and _columns(path) not in ([], list(COLUMNS)):
                _convert_old_columns(path)
            with open(path, "a", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if file.seek(0, os.SEEK_END) == 0:
                    table.writeheader()
                table.writerow(result)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors about `path` as errors of the argument `results_file`."""
    try:
        yield
    except FileLockedError as error:
        raise ValueError(f"results_file={path}: {error}") from error
    except OSError as error:
        raise ValueError(f"results_file={path}: {reason_of(error)}; expected a file that can be written") from error


def _columns(path: Path) -> list[str]:
    """The columns of an existing file; none if it is empty.

    Raises:
      OSError: it is not a regular file, or cannot be read.
      ValueError: it has columns that this version and older ones do not have.
    """
    found = list(read_csv(path).fieldnames or ())
    if not {_OLD_NAMES.get(name, name) for name in found} <= set(COLUMNS):
        raise ValueError(f"results_file={path}: found columns {', '.join(found)}; expected {', '.join(COLUMNS)}")
    return found


def _convert_old_columns(path: Path) -> None:
    """Gives a file of an older version the columns of this one: "crops" was called "views", and some are new."""
    table = read_csv(path)
    text = io.StringIO()
    converted = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    converted.writeheader()
    names = [_OLD_NAMES.get(name, name) for name in table.fieldnames or ()]
    converted.writerows(dict(zip(names, row.values(), strict=False)) for row in table)
    write_file(path, text.getvalue())


def write_class_errors(path: Path, names: Sequence[str], rates: Mapping[str, ErrorRates]) -> None:
    """Writes a CSV file with the top-1 error of each class.

    Args:
      path: file to write; an existing one is replaced.
      names: of the classes.
      rates: crops -> their error rates; each is a column.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["class", "images", *(f"{crops}_top1_error" for crops in rates)])
    counts = next(iter(rates.values())).confusion
    assert counts is not None
    columns = [each.class_errors for each in rates.values()]
    for index, (name, images) in enumerate(zip(names, counts.sum(1), strict=False)):
        table.writerow(
            [spreadsheet_cell(name), images, *("" if images == 0 else f"{column[index]:.6g}" for column in columns)]
        )
    write_file(path, text.getvalue())
