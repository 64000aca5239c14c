"""Paths with characters that TensorFlow takes for a pattern."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def literal_path(folder: Path) -> Iterator[str]:
    r"""A path of `folder` without `*`, `?`, `[` and `\`, for the block: a link to it where its own has one of them.

    TensorFlow looks for checkpoints and for the variables of a SavedModel by a pattern, whatever the path. On Windows,
    where `\` separates folders and links need a privilege, the path stays as it is.

    Examples:
        >>> with literal_path(folder) as path:
        ...     model = tf.saved_model.load(path)
    """
    if os.name == "nt" or not set("*?[\\").intersection(str(folder.absolute())):
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as directory:
        link = Path(directory, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield str(link)
