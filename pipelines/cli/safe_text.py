"""Untrusted text, such as file names and labels, made safe for terminals, spreadsheets and JSON."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

# What spreadsheets take for a formula, some of them also in full width, behind any number of spaces and of the quotes
# that stand for text.
_FORMULA = re.compile(r"[' ]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def printable(text: str) -> str:
    """`text` with control characters, direction marks and undecodable bytes of file names as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """`printable`, with one space for the end of a line and the space around it."""
    return printable(re.sub(r"\s*[\r\n]+\s*", " ", text.strip()))


def from_printable(text: str) -> str:
    """What `printable` has made `text` of, if that had no backslash itself."""
    return _ESCAPE.sub(lambda escape: escape[0].encode().decode("unicode_escape"), text)


def spreadsheet_cell(text: str) -> str:
    """A cell that a spreadsheet shows as text: `printable`, and a quote in front of what would be a formula."""
    shown = printable(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def cell_text(cell: str) -> str:
    """The printable text of which `spreadsheet_cell` has made `cell`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def json_line(record: Mapping[str, Any]) -> str:
    """The record as one line of JSON, in ASCII. Numbers that JSON does not have become null."""
    line = json.dumps({name: _finite(value) for name, value in record.items()}, allow_nan=False)
    return line.replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
