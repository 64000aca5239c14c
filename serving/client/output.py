"""Output of `python -m serving.client`: a table, JSON lines or CSV, one record per file.

Records are {"file", "valid", "labels", "classes", "scores"}, best class first, or {"file", "valid", "features"}.
Where a request failed, `valid` is None and "error" has the reason. Names and labels are untrusted: none reaches the
terminal or a spreadsheet with control characters or as a formula.
"""

import csv
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.cli.safe_text import json_line, printable, spreadsheet_cell

Record = dict[str, Any]

_CSV_COLUMNS = ("file", "valid", "rank", "class", "label", "score", "error")


def print_json(record: Record) -> None:
    """Prints the record as one line of JSON."""
    print(json_line(record), flush=True)


@contextmanager
def csv_printer() -> Iterator[Callable[[Record], None]]:
    """Prints a header and returns a function for records: one line per class, or one for a file without classes."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)

    def print_rows(record: Record) -> None:
        start = (spreadsheet_cell(record["file"]), "" if record["valid"] is None else str(record["valid"]).lower())
        ranked = zip(record["classes"], record["labels"], record["scores"], strict=True)
        rows: list[tuple[Any, ...]] = [
            (*start, rank, index, spreadsheet_cell(label), score if math.isfinite(score) else "", "")
            for rank, (index, label, score) in enumerate(ranked, 1)
        ]
        writer.writerows(rows or [(*start, "", "", "", "", spreadsheet_cell(record.get("error", "")))])
        sys.stdout.flush()

    yield print_rows


@contextmanager
def table_printer() -> Iterator[Callable[[Record], None]]:
    """Returns a function for records, and prints one table at the end, also after an error.

    Nothing is printed if there was no response at all.
    """
    from rich.console import Console
    from rich.table import Table

    table, has_response = Table(), False

    def add(record: Record) -> None:
        nonlocal has_response
        has_response |= record["valid"] is not None
        _add_rows(table, record)

    try:
        yield add
    finally:
        if table.row_count and has_response:
            Console().print(table)


def _add_rows(table: Any, record: Record) -> None:
    from rich.text import Text

    file = Text(printable(record["file"]), overflow="fold")
    rows: list[tuple[Any, ...]]
    if "features" in record:
        headings: tuple[str, ...] = ("file", "shape", "norm")
        features = record["features"]
        rows = [(file, f"({len(features)},)", f"{math.hypot(*features):.4f}")] if record["valid"] else []
    else:
        headings = ("file", "rank", "class", "score")
        ranked = enumerate(zip(record["labels"], record["scores"], strict=True), start=1)
        rows = [
            (file if rank == 1 else "", str(rank), Text(printable(label)), f"{score:.4f}")
            for rank, (label, score) in ranked
        ]
    if record["valid"] is None:
        rows = [(file, "", "no response", "")[: len(headings)]]
    if not table.columns:
        for heading in headings:
            table.add_column(heading, justify="right" if heading in ("rank", "score", "norm") else "left")
    for row in rows:
        table.add_row(*row)
    if len(rows) > 1:
        table.add_section()
