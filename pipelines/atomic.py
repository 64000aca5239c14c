"""Files that appear complete or not at all, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from pipelines.cli.regular_files import unreadable_reason


class FileLockedError(BlockingIOError):
    """Another process, or another part of this one, holds the lock."""


def write_file(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes `data` to `path` in one step; readers see the old file or the new one, also after a crash.

    Args:
      path: file to create or replace. A symbolic link stays a link; its target is replaced.
      data: contents; text is written as UTF-8, with surrogates from undecodable file names as the bytes they stand for.

    Raises:
      OSError: the file cannot be written; the old one is unchanged.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


def writable_directory(argument: str, path: str | os.PathLike[str]) -> Path:
    """Creates a directory for results, before hours are spent on what could not be written there.

    Args:
      argument: what the caller calls it, for the message.
      path: a directory that may exist.

    Raises:
      ValueError: it cannot be created, or no file can be written in it.
    """
    directory = Path(path)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise ValueError(f"{argument}={path}: {error.strerror}; expected a directory that can be written") from error
    return directory


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there becomes `path` when the block ends.

    The temporary name ends in the name of `path`, so that libraries which look at the suffix see the right one. If the
    block raises, what was written is removed and `path` is unchanged.

    Args:
      path: file, or directory that does not exist yet.

    Yields:
      A path that does not exist.

    Raises:
      OSError: `path` cannot be written, or is a device, a named pipe or the like, which a rename would replace.

    Example:

    ```python
    with atomic_path("mean.npy") as temporary:
        np.save(temporary, mean)
    ```
    """
    target = Path(os.path.realpath(path))
    reason = unreadable_reason(target) if target.exists() and not target.is_dir() else None
    if reason is not None:
        raise OSError(errno.EINVAL, reason, os.fspath(path))
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        yield temporary
        if temporary.is_file():
            # Windows flushes only files that are open for writing.
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        # NumPy and others name no file, for example on a full disk.
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str], *, timeout_s: float = 0.0) -> Iterator[None]:
    """Holds an exclusive lock on the file `path` while the block runs. The file may stay behind.

    The lock ends with its process, also if that is killed.

    Args:
      path: file used only for locking; its directory is created if necessary.
      timeout_s: how long to wait for another holder, in seconds; -1 waits without limit.

    Raises:
      FileLockedError: the lock is held elsewhere; an OSError.
      OSError: the file cannot be created.
    """
    try:
        lock = filelock.FileLock(path, timeout=timeout_s).acquire()
    except filelock.Timeout:
        raise FileLockedError(f"{os.fspath(path)}: locked by another process") from None
    except NotImplementedError as error:
        raise OSError(f"{os.fspath(path)}: this file system has no file locks") from error
    with lock:
        yield
