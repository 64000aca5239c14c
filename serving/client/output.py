"""What `python -m serving.client` prints: a table, JSON lines or CSV, one record a file.

Records are {"file", "valid", "labels", "classes", "scores"}, best class first, or {"file", "valid", "features"}.
Where a request failed, `valid` is None and there is an "error", too.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

Record = dict[str, Any]

_CSV_COLUMNS = ("file", "valid", "rank", "class", "label", "score", "error")


def print_json(record: Record) -> None:
    """Prints the record as one line, at once."""
    print(json.dumps(record), flush=True)


@contextmanager
def printed_csv() -> Iterator[Callable[[Record], None]]:
    """Prints a line of headings, and takes records of classes: a line for each class, one for a file without any."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)

    def print_rows(record: Record) -> None:
        start = (record["file"], "" if record["valid"] is None else str(record["valid"]).lower())
        ranked = zip(record["classes"], record["labels"], record["scores"], strict=True)
        rows = [(*start, rank, *values, "") for rank, values in enumerate(ranked, start=1)]
        writer.writerows(rows or [(*start, "", "", "", "", record.get("error", ""))])
        sys.stdout.flush()

    yield print_rows


@contextmanager
def printed_table() -> Iterator[Callable[[Record], None]]:
    """Takes records and prints them as one table at the end, also at an early end: what was answered is shown."""
    table = Table()
    try:
        yield lambda record: _add_rows(table, record)
    finally:
        if table.row_count:
            Console().print(table)


def _add_rows(table: Table, record: Record) -> None:
    file = Text(record["file"].encode(errors="replace").decode(), overflow="fold")
    if "features" in record:
        headings = ("file", "shape", "norm")
        features = np.array(record["features"])
        rows = [(file, str(features.shape), f"{np.linalg.norm(features):.4f}")] if record["valid"] else []
    else:
        headings = ("file", "rank", "class", "score")
        ranked = enumerate(zip(record["labels"], record["scores"], strict=True), start=1)
        rows = [(file if rank == 1 else "", str(rank), Text(label), f"{score:.4f}") for rank, (label, score) in ranked]
    if record["valid"] is None:
        rows = [(file, "", "not answered", "")[: len(headings)]]
    if not table.columns:
        for heading in headings:
            table.add_column(heading, justify="right" if heading in ("rank", "score", "norm") else "left")
    for row in rows:
        table.add_row(*row)
    if len(rows) > 1:
        table.add_section()
