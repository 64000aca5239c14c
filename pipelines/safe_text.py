"""Text of strangers, such as file names and labels, made safe for terminals, spreadsheets and JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """`text` with control characters, direction marks and undecodable bytes of file names as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def spreadsheet_cell(text: str) -> str:
    """A cell that a spreadsheet shows as text."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA_STARTS) else shown


def json_line(record: Mapping[str, Any]) -> str:
    """The record as one line of JSON, in ASCII. Numbers that JSON does not have become null."""
    line = json.dumps({name: _finite(value) for name, value in record.items()}, allow_nan=False)
    return line.replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
