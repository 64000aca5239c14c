"""Flagfiles: `--flagfile=NAME` on a command line stands for the flags in that file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pipelines.cli.regular_files import read_lines

# Where our own flagfiles are, which --flagfile finds by name. Not imported: this package knows nothing of that one.
_OUR_FLAGFILES = Path(__file__).parents[2] / "keras_alexnet" / "configs"


def expand_flagfiles(arguments: Sequence[str], parents: tuple[Path, ...] = ()) -> list[str]:
    """`arguments` with each --flagfile replaced by the flags in it, one a line; `#` and `//` begin comments.

    absl would read them too, but finds no file of ours by its name alone and takes a UTF-8 BOM for a flag.
    """
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        match = re.fullmatch(r"--?flagfile(?:=(.*))?", argument)
        if argument == "--":
            return [*expanded, argument, *rest]
        if not match:
            expanded.append(argument)
            continue
        path = _flagfile(match[1] if match[1] is not None else next(rest, ""))
        if path in parents:
            raise flags.IllegalFlagValueError(f"--flagfile={path} includes itself")
        try:
            lines = [line.strip() for line in read_lines(path, "utf-8-sig")]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file (UTF-8)"
            raise flags.IllegalFlagValueError(f"--flagfile={path}: {reason}") from error
        given = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += expand_flagfiles(given, (*parents, path))
    return expanded


def _flagfile(name: str) -> Path:
    path = Path(name).expanduser()
    if path.exists():
        return path
    if (_OUR_FLAGFILES / name).is_file():
        return _OUR_FLAGFILES / name
    ours = ", ".join(sorted(file.name for file in _OUR_FLAGFILES.glob("*.flags"))) or "none"
    raise flags.IllegalFlagValueError(f"--flagfile={name}: no such file; found {ours} in this package")
