"""Reads image files that are sent to a served signature, which accepts JPEG and PNG. Needs no TensorFlow."""

import os

from pipelines.images.find import image_format
from pipelines.regular_files import MAX_IMAGE_BYTES, open_file

_FORMATS = ("jpeg", "png")


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of a JPEG or PNG file. It is not decoded.

    Raises:
        ValueError: the file cannot be read, has more than MAX_IMAGE_BYTES, or does not begin as a JPEG or PNG file.
    """
    try:
        with open_file(path, MAX_IMAGE_BYTES) as file:
            first = file.read(8)
            return check_image_bytes(first + file.read() if image_format(first) in _FORMATS else first, os.fspath(path))
    except OSError as error:
        raise ValueError(f"{os.fspath(path)}: {error.strerror}; expected a JPEG or PNG file") from error


def check_image_bytes(content: bytes, name: str) -> bytes:
    """Returns `content` if it begins as a JPEG or PNG file.

    Raises:
        ValueError: it does not; the message begins with `name`.
    """
    if not content:
        raise ValueError(f"{name}: the file is empty; expected a JPEG or PNG file")
    if image_format(content[:8]) not in _FORMATS:
        raise ValueError(f"{name}: begins with {content[:8]!r}; expected a JPEG or PNG file")
    return content
