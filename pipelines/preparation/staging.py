"""The folder in which a preparation is under way, beside the one it will be: `<output_dir>.incomplete`.

It stays when the preparation is stopped, by whatever, and the next one goes on in it. What is published appears by one
rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipelines.cli import reason_of


@contextlib.contextmanager
def staging_directory(output_dir: Path) -> Iterator[Path]:
    """A folder with subfolders dataset/ and tallies/, which nobody else is working in.

    It is removed at the end if no part in it is finished.

    Raises:
      ValueError: `output_dir` is there already, cannot be made, or is being made by another process.
    """
    _check_free(output_dir)
    if not output_dir.parent.is_dir():
        raise ValueError(f"output_dir={output_dir}: no folder {output_dir.parent} to make it in")
    folder = output_dir.with_name(f"{output_dir.name}.incomplete")
    try:
        for name in ("dataset", "tallies"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ValueError(f"output_dir={output_dir}: cannot be written: {reason_of(error)}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"output_dir={output_dir}: another process is preparing it") from None
        _check_free(output_dir)
        try:
            yield folder
        finally:
            if not any((folder / "tallies").iterdir()):
                shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, output_dir: Path) -> None:
    """Makes dataset/ of the work folder the output, and removes the rest.

    Raises:
      OSError: it cannot be renamed.
    """
    (folder / "dataset").rename(output_dir)
    for path in (folder / "tallies").iterdir():
        path.unlink()


def remove_others(folder: Path, names: set[str]) -> None:
    """Removes the files of the work folder's subfolders that have none of these names.

    They are those of a preparation with other flags, and what processes that were killed have left.
    """
    for parent in (folder / "dataset", folder / "tallies"):
        for path in parent.iterdir():
            if path.name not in names:
                path.unlink()


def _check_free(output_dir: Path) -> None:
    if os.path.lexists(output_dir):
        raise ValueError(f"output_dir={output_dir}: exists already, expected a folder to be made")
