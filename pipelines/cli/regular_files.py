"""Reads untrusted files: regular files only, of limited size. Needs no TensorFlow.

A named pipe would block its reader, a device fills the memory, and so does a sparse file of gigabytes.
"""

import csv
import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Of an image file. Decoders accept fewer pixels than fit into most larger ones (`choices.MAX_PIXELS`).
MAX_IMAGE_BYTES = 64 * 2**20

# Of lists, configurations and tables that are read as a whole: two million paths, for example.
MAX_TEXT_BYTES = 256 * 2**20

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def unreadable_reason(path: str | os.PathLike[str], most_bytes: int | None = None) -> str | None:
    """Why `path` cannot be read as a file, or None for a regular file or a link to one. Opens nothing.

    Args:
        path: the file.
        most_bytes: a larger file cannot be read either; None for no limit.
    """
    try:
        return _reason(os.stat(path), most_bytes)
    except ValueError:
        return "not a path"
    except OSError as error:
        return "a broken link" if os.path.islink(path) else str(error.strerror)


def open_file(path: str | os.PathLike[str], most_bytes: int | None = None) -> BinaryIO:
    """Opens a regular file of at most `most_bytes` for reading.

    Raises:
        OSError: it is missing, no regular file, too large or cannot be opened; `strerror` is the reason.
    """
    reason = _reason(os.stat(path), most_bytes)
    if reason is not None:
        raise OSError(errno.EINVAL, reason, os.fspath(path))
    return open(path, "rb")


def read_file(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The content of a regular file of at most `most_bytes`; errors as of `open_file`."""
    with open_file(path, most_bytes) as file:
        return file.read()


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """The content of a text file of at most MAX_TEXT_BYTES, ends of lines unchanged; errors as of `open_file`.

    Raises:
        UnicodeDecodeError: it is not text in `encoding`.
    """
    return read_file(path, MAX_TEXT_BYTES).decode(encoding)


def read_lines(path: str | os.PathLike[str], encoding: str = "utf-8") -> list[str]:
    """The lines of a text file, which end in LF, CR LF or CR and nothing else; errors as of `read_text`."""
    return read_text(path, encoding).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_csv(path: str | os.PathLike[str], encoding: str = "utf-8") -> "csv.DictReader[str]":
    """The rows of a CSV file with a header, as dictionaries; errors as of `open_file`.

    Raises:
        ValueError: it is not text in `encoding`.
    """
    try:
        text = read_text(path, encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text ({error.reason} at byte {error.start}); expected a CSV file") from error
    return csv.DictReader(io.StringIO(text, newline=""))


def check_directory(directory: str | os.PathLike[str]) -> None:
    """Raises OSError if a file in or below `directory`, which a library will open, is not a regular file."""
    for parent, _, names in os.walk(directory):
        for path in (Path(parent, name) for name in names):
            reason = unreadable_reason(path)
            if reason is not None:
                raise OSError(errno.EINVAL, f"{path.relative_to(directory)}: {reason}", os.fspath(directory))


def _reason(status: os.stat_result, most_bytes: int | None) -> str | None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        return f"{_KINDS.get(kind, 'not a regular file')}, not a regular file"
    if most_bytes is not None and status.st_size > most_bytes:
        return f"{status.st_size:,} bytes, more than {most_bytes:,}"
    return None
