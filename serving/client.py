"""Asks a server for the classes of photographs: TensorFlow Serving or the embedded one, which it cannot tell apart.

  python -m serving.client --server=127.0.0.1:8500 photo.jpg ...
  python -m serving.client --json --signature=center_crop photos/*.png
  python -m serving.client --signature=features photo.jpg

Files are JPEG or PNG, any number. Signatures: serving_default (mean of ten views), center_crop (one view, ten times
cheaper), images (as serving_default; decoded on this side), features (fc7 activations instead of classes). A file
that cannot be used is named on stderr, the others are answered, and the exit code is 1. In a program, use `Client`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.command import InputError, run
from serving import signatures as wire
from serving.client_library import IMAGES_PER_REQUEST, Client, Result
from serving.connection import ServingError
from serving.photographs import read_photograph

__all__ = ["Client", "Result", "ServingError"]


def define_flags() -> None:
    """Flags of `python -m serving.client`."""
    flags.DEFINE_string("server", "127.0.0.1:8500", "host:port of the server's gRPC port.")
    flags.DEFINE_string("model_name", "alexnet", "Name under which the server serves the model.")
    flags.DEFINE_string("signature", wire.SIGNATURE_TEN_CROP, "What to ask for: one of the signatures above.")
    flags.DEFINE_integer("top_k", wire.TOP_K, "Classes to show per file, best first.", 1, wire.TOP_K)
    flags.DEFINE_boolean("json", False, "Print one JSON object per file and line instead of a table.")
    flags.DEFINE_float(
        "timeout_s", 60.0, f"Seconds to wait for each request of at most {IMAGES_PER_REQUEST} files.", 0.001
    )


def answers(client: Client, files: Sequence[str], signature: str, top_k: int) -> Iterator[dict[str, Any]]:
    """One record per file, in order; a file that cannot be used is named on stderr and has `valid` false.

    Records are {"file", "valid", "labels", "classes", "scores"}, or {"file", "valid", "features"} for
    SIGNATURE_FEATURES. Files are read as they are sent.
    """
    ask, nothing = _question(client, signature, top_k)
    for start in range(0, len(files), IMAGES_PER_REQUEST):
        part = files[start : start + IMAGES_PER_REQUEST]
        contents = [_read_or_report(file) for file in part]
        answered = iter(ask([content for content in contents if content is not None]))
        for file, content in zip(part, contents, strict=True):
            answer = nothing if content is None else next(answered)
            if content is not None and not answer["valid"]:
                _report(f"{file}: the image cannot be decoded; expected a whole JPEG or PNG file")
            yield {"file": file, **answer}


def _question(
    client: Client, signature: str, top_k: int
) -> tuple[Callable[[list[bytes]], list[dict[str, Any]]], dict[str, Any]]:
    """How to ask for records, and the record of a file that is not asked about."""

    def classes(images: list[bytes]) -> list[dict[str, Any]]:
        return [asdict(result) for result in client.classify(images, signature, top_k)]

    def features(images: list[bytes]) -> list[dict[str, Any]]:
        rows = zip(*client.features(images), strict=True)
        return [{"valid": bool(valid), "features": row.tolist() if valid else []} for row, valid in rows]

    if signature == wire.SIGNATURE_FEATURES:
        return features, {"valid": False, "features": []}
    return classes, asdict(Result(valid=False))


def _read_or_report(file: str) -> bytes | None:
    try:
        return read_photograph(file)
    except InputError as error:
        _report(str(error))
        return None


def _report(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)


def print_json(record: dict[str, Any]) -> None:
    """Prints the record as one line, at once."""
    print(json.dumps(record), flush=True)


@contextmanager
def printed_table() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Takes records and prints them as one table at the end, also at an early end: what was answered is shown."""
    table = Table()
    try:
        yield lambda record: _add_rows(table, record)
    finally:
        if table.row_count:
            Console().print(table)


def _add_rows(table: Table, record: dict[str, Any]) -> None:
    file = Text(record["file"].encode(errors="replace").decode(), overflow="fold")
    if "features" in record:
        headings = ("file", "shape", "norm")
        features = np.array(record["features"])
        rows = [(file, str(features.shape), f"{np.linalg.norm(features):.4f}")] if record["valid"] else []
    else:
        headings = ("file", "rank", "class", "score")
        ranked = enumerate(zip(record["labels"], record["scores"], strict=True), start=1)
        rows = [(file if rank == 1 else "", str(rank), Text(label), f"{score:.4f}") for rank, (label, score) in ranked]
    if not table.columns:
        for heading in headings:
            table.add_column(heading, justify="right" if heading in ("rank", "score", "norm") else "left")
    for row in rows:
        table.add_row(*row)
    if len(rows) > 1:
        table.add_section()


def main(argv: Sequence[str]) -> int:
    """Asks about the files in `argv[1:]`; 1 if any of them could not be used, else 0."""
    options, files = flags.FLAGS, argv[1:]
    if not files:
        raise InputError("no image file given; expected python -m serving.client --server=host:port FILE ...")
    printer = nullcontext(print_json) if options.json else printed_table()
    all_valid = True
    with Client(options.server, options.model_name, options.timeout_s) as client, printer as show:
        for record in answers(client, files, options.signature, options.top_k):
            show(record)
            all_valid &= record["valid"]
    return 0 if all_valid else 1


main.takes_arguments = True

if __name__ == "__main__":
    run(main, define_flags)
