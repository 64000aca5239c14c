"""The staging directory of a preparation, beside its output: `<output_dir>.incomplete`.

It stays when the preparation stops, for whatever reason, and the next one resumes in it. The output appears by one
rename.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipelines.atomic import FileLockedError, file_lock
from pipelines.cli import reason_of
from pipelines.preparation.shard import DATASET_DIR, STATISTICS_DIR


@contextlib.contextmanager
def staging_directory(output_dir: Path) -> Iterator[Path]:
    """A directory with subdirectories for records and statistics, in which no other process works.

    It is removed at the end if it has no complete shard.

    Raises:
      ValueError: `output_dir` exists, cannot be made, or is being made by another process.
    """
    _check_free(output_dir)
    if not output_dir.parent.is_dir():
        raise ValueError(f"output_dir={output_dir}: no directory {output_dir.parent} to create it in")
    directory = output_dir.with_name(f"{output_dir.name}.incomplete")
    with contextlib.ExitStack() as stack:
        try:
            for name in (DATASET_DIR, STATISTICS_DIR):
                (directory / name).mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(directory / "lock"))
        except FileLockedError:
            raise ValueError(f"output_dir={output_dir}: another process is preparing it") from None
        except OSError as error:
            raise ValueError(f"output_dir={output_dir}: cannot be written: {reason_of(error)}") from error
        _check_free(output_dir)
        try:
            yield directory
        finally:
            if not any((directory / STATISTICS_DIR).iterdir()):
                shutil.rmtree(directory, ignore_errors=True)


def publish(directory: Path, output_dir: Path) -> None:
    """Makes the records in the staging directory the output, and removes the rest.

    Raises:
      OSError: it cannot be renamed.
    """
    (directory / DATASET_DIR).rename(output_dir)
    for path in (directory / STATISTICS_DIR).iterdir():
        path.unlink()


def remove_others(directory: Path, names: set[str]) -> None:
    """Removes the files in the subdirectories of the staging directory that have none of these names.

    They belong to a preparation with other flags, or were left by processes that were killed.
    """
    for parent in (directory / DATASET_DIR, directory / STATISTICS_DIR):
        for path in parent.iterdir():
            if path.name not in names:
                path.unlink()


def _check_free(output_dir: Path) -> None:
    if os.path.lexists(output_dir):
        raise ValueError(f"output_dir={output_dir}: exists already, expected a path that does not")
