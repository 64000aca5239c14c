"""Errors about a file as errors of the argument that names it. Standard library only, as `environment`."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def errors_of_path(argument: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts `argument=` in front of the message of a `ValueError` about `path`, or about a file in it.

    The name of another argument is replaced: what `load_network(path)` says of `path` is about --model in a command.
    Other errors pass unchanged.

    Args:
      argument: what the caller's function, or its command, calls the path.
      path: as given; messages begin with it in the form that `pathlib.Path` gives it.

    Raises:
      ValueError: the error of the block, with its type and traceback.

    Example:

    ```python
    with errors_of_path("weights", "m.npy"):
        raise ValueError("m.npy: found an empty file")  # weights=m.npy: found an empty file
    ```
    """
    try:
        yield
    except ValueError as error:
        # What follows must not be part of a word: a file may be called "init" as an argument is.
        about = re.fullmatch(rf"(?:\w+=)?({re.escape(str(Path(path)))}[:/\\].*)", str(error), re.DOTALL)
        if about:
            error.args = (f"{argument}={about[1]}",)
        raise
