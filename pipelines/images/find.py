"""Finds image files among files, directories and glob patterns, and reads them. Needs no TensorFlow.

Only regular files are read, each found one once. Everything that is left out is returned with its reason, so that a
caller can count and name it.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.cli.regular_files import MAX_IMAGE_BYTES, open_file, unreadable_reason

# Files with these suffixes are taken for images, in upper or lower case. The content decides whether they are.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjp", ".pjpeg"),
    *(".png", ".apng", ".bmp", ".dib", ".gif", ".webp"),
)

# First bytes of a file, by format: ITU-T T.81 B.1.1.3; PNG (W3C) 5.2; BITMAPFILEHEADER; GIF89a 17; RFC 9649 2.4.
FIRST_BYTES = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "bmp": b"BM", "gif": b"GIF8", "webp": b"RIFF"}

# Keys of FIRST_BYTES that the signatures of a served model accept.
_SERVED_FORMATS = ("jpeg", "png")

_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class ImageFiles:
    """The result of `find_image_files`.

    Attributes:
        paths: image files by their names, in order, those in `bad` included.
        bad: path -> reason, for those of `paths` that are not regular files or cannot be reached.
        ignored: path -> reason, for everything else that was met: other suffixes, hidden names, second visits.
    """

    paths: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Those of `paths` that are regular files."""
        return [path for path in self.paths if path not in self.bad]


def image_format(first_bytes: bytes) -> str | None:
    """The key of FIRST_BYTES for a file that begins so (8 bytes are enough), or None for any other file."""
    return next((name for name, magic in FIRST_BYTES.items() if first_bytes.startswith(magic)), None)


def find_image_files(arguments: Iterable[str], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> ImageFiles:
    """Finds the image files that `arguments` name.

    Args:
        arguments: paths. A directory stands for the files with one of `suffixes` in it and below, in the order of their
            names; links to directories are followed, and every directory and file is visited once. A glob pattern
            (`*`, `?`, `[...]`, `**`) stands for what it matches. Any other argument stands for itself, whatever its
            suffix, as often as it is given.
        suffixes: lower-case suffixes of image files.

    Returns:
        ImageFiles.

    Raises:
        ValueError: a directory without any image file.

    Examples:
        >>> found = find_image_files(["photos", "more/*.png"])
        >>> found.files, found.bad, found.ignored
    """
    search = _Search(tuple(suffixes))
    for argument in arguments:
        search.add(os.path.expanduser(argument))
    return search.found


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of a JPEG or PNG file. It is not decoded.

    Raises:
        ValueError: the file cannot be read, has more than MAX_IMAGE_BYTES, or does not begin as a JPEG or PNG file.
    """
    try:
        with open_file(path, MAX_IMAGE_BYTES) as file:
            first = file.read(8)
            # A large file of another format is not read to its end.
            rest = file.read() if image_format(first) in _SERVED_FORMATS else b""
            return check_image_bytes(first + rest, os.fspath(path))
    except OSError as error:
        raise ValueError(f"{os.fspath(path)}: {error.strerror}; expected a JPEG or PNG file") from error


def check_image_bytes(content: bytes, name: str) -> bytes:
    """Returns `content` if it begins as a JPEG or PNG file.

    Raises:
        ValueError: it does not; the message begins with `name`.
    """
    if not content:
        raise ValueError(f"{name}: the file is empty; expected a JPEG or PNG file")
    if image_format(content[:8]) not in _SERVED_FORMATS:
        raise ValueError(f"{name}: begins with {content[:8]!r}; expected a JPEG or PNG file")
    return content


class _Search:
    def __init__(self, suffixes: tuple[str, ...]) -> None:
        self.found = ImageFiles()
        self._suffixes = suffixes
        self._visited: set[str] = set()  # real paths of directories and of the files found in them

    def add(self, argument: str) -> None:
        if os.path.isdir(argument):
            self._add_directory(argument)
        elif os.path.lexists(argument) or not _GLOB_CHARACTERS.intersection(argument):
            self._visited.add(os.path.realpath(argument))
            self._add_path(argument)
        else:
            self._add_pattern(argument)

    def _add_directory(self, directory: str) -> None:
        before = len(self.found.paths)
        self._walk(directory)
        if len(self.found.paths) == before and directory not in self.found.ignored:
            raise ValueError(
                f"{directory}: no image file in this directory; expected names that end in {', '.join(self._suffixes)}"
            )

    def _add_pattern(self, pattern: str) -> None:
        path = Path(f"{pattern}/*" if pattern.endswith("**") else pattern)
        root = Path(path.anchor)
        # Unlike glob.glob, Path.glob follows no link below `**`, which a loop of links would multiply.
        matches = root.glob(str(path.relative_to(root)))
        hidden_allowed = any(part.startswith(".") and part != ".." for part in path.parts)
        names = sorted(map(str, matches))
        for name in names if hidden_allowed else [n for n in names if not _has_hidden_part(n)]:
            if os.path.isdir(name):
                self._walk(name)
            elif self._is_first_visit(name, os.path.realpath(name)):
                self._add_path(name)
        if not names:
            self._add_path(pattern)

    def _walk(self, directory: str) -> None:
        real_directory = os.path.realpath(directory)
        if not self._is_first_visit(directory, real_directory):
            return
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            self.found.paths.append(directory)
            self.found.bad[directory] = str(error.strerror)
            return
        for entry in entries:
            # Millions of files: what the directory itself says of an entry is not asked for again.
            is_link = entry.is_symlink()
            if entry.name.startswith("."):
                self.found.ignored[entry.path] = "hidden"
            elif is_link and _contains(os.path.realpath(entry.path), real_directory):
                self.found.ignored[entry.path] = "a link to a directory that contains it"
            elif os.path.isdir(entry.path) if is_link else entry.is_dir():
                self._walk(entry.path)
            elif not entry.name.lower().endswith(self._suffixes):
                self.found.ignored[entry.path] = "no image by its suffix"
            elif is_link or not entry.is_file():
                if self._is_first_visit(entry.path, os.path.realpath(entry.path)):
                    self._add_path(entry.path)
            elif self._is_first_visit(entry.path, os.path.join(real_directory, entry.name)):
                self.found.paths.append(entry.path)

    def _is_first_visit(self, path: str, real: str) -> bool:
        if real in self._visited:
            self.found.ignored[path] = "visited before"
            return False
        self._visited.add(real)
        return True

    def _add_path(self, path: str) -> None:
        self.found.paths.append(path)
        reason = unreadable_reason(path)
        if reason is not None:
            self.found.bad[path] = reason


def _contains(directory: str, path: str) -> bool:
    return path == directory or path.startswith(os.path.join(directory, ""))


def _has_hidden_part(path: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in Path(path).parts)
