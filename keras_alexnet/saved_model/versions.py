"""The directory of a model's versions: a new version appears by one rename, complete."""

import contextlib
import numbers
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from pipelines.atomic import FileLockedError, file_lock
from pipelines.cli import reason_of


def check_names(model: keras.Model, argument: str, names: Sequence[str]) -> None:
    """Raises ValueError unless `names` are one line per class."""
    classes = model.output_shape[-1]
    if names is None or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{argument}={names!r}: expected a list of strings")
    if len(names) != classes:
        raise ValueError(f"{argument}: found {len(names)}; expected {classes}, one per class of {model.name}")
    broken = [name for name in names if name.splitlines() != [name]]
    if broken:
        raise ValueError(f"{argument}: found {broken[0]!r}; expected names without line breaks, not empty")


@contextlib.contextmanager
def part_of(target: Path) -> Iterator[Path]:
    """A new directory beside `target`, which is removed afterwards unless it was renamed.

    Raises:
      ValueError: it cannot be created, or writing into it fails.
    """
    base = target.parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        _remove_parts(base)
        # Not a number: TensorFlow Serving ignores it. In the same directory: renaming cannot cross file systems.
        part = base / f"part-{target.name}-{os.getpid()}-{secrets.token_hex(4)}"
        lock = _lock_of(part)
        with file_lock(lock):
            try:
                part.mkdir()
                yield part
            finally:
                shutil.rmtree(part, ignore_errors=True)
                # Windows removes no open files; the next export does.
                with contextlib.suppress(PermissionError):
                    lock.unlink(missing_ok=True)
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"export_base={base}: writing version {target.name} failed: {reason_of(error)}; "
            "expected a directory that can be written"
        ) from error


def _lock_of(part: Path) -> Path:
    return part.with_name(f".{part.name}.lock")


def _remove_parts(base: Path) -> None:
    """Removes what killed exports left behind; running ones hold their locks, on other machines too."""
    for part in base.glob("part-*"):
        with contextlib.suppress(FileLockedError, PermissionError), file_lock(_lock_of(part)):
            shutil.rmtree(part, ignore_errors=True)
            _lock_of(part).unlink(missing_ok=True)


def new_version(export_base: str | os.PathLike[str], version: int | None) -> Path:
    """`<export_base>/<version>`; without a version, the one after the highest that exists.

    Raises:
      ValueError: the version exists, or is not a number that TensorFlow Serving takes.
    """
    base = Path(export_base)
    if version is None:
        version = next_version(base)
    elif not isinstance(version, numbers.Integral) or isinstance(version, bool) or not 1 <= version < 2**63:
        raise ValueError(f"version={version!r}: expected an integer from 1 to {2**63 - 1}")
    target = base / str(version)
    refuse_existing(target)
    return target


def next_version(base: Path) -> int:
    """One more than the highest version in `base`."""
    versions = [int(entry.name) for entry in base.iterdir() if entry.name.isdecimal()] if base.is_dir() else []
    return max(versions, default=0) + 1


def refuse_existing(target: Path) -> None:
    """Raises ValueError if the version exists."""
    if target.exists():
        raise ValueError(
            f"version={target.name}: found {target}; expected a version that does not exist yet "
            f"(the next free one is {next_version(target.parent)})"
        )


def publish(part: Path, target: Path) -> None:
    """Renames `part` to `target`; of two exporters at once, one gets the number and the other an error."""
    try:
        part.rename(target)
    except OSError:
        refuse_existing(target)
        raise
