"""Asks a server for the classes of photographs: TensorFlow Serving or the embedded one, which it cannot tell apart.

  python -m serving.client --server=127.0.0.1:8500 photo.jpg ...
  python -m serving.client --csv --signature=center_crop --concurrency=4 photos 'more/**/*.png' > classes.csv
  curl -s https://example.org/photo.jpg | python -m serving.client --json -
  python -m serving.client --server=http://127.0.0.1:8501 photo.jpg
  python -m serving.client --signature=features --json photo.jpg

Arguments are JPEG or PNG files, folders of them, patterns, or - for one image on the standard input. Signatures:
serving_default (mean of ten views), center_crop (one view, ten times cheaper), images (as serving_default; decoded on
this side), features (fc7 activations instead of classes). A file that cannot be used is named on stderr, the others
are answered, and the exit code is 1. In a program, use `Client` or `AsyncClient`.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from multiprocessing.pool import ThreadPool

from absl import flags
from tqdm import tqdm

from pipelines.command import InputError, run
from serving import signatures as wire
from serving import target_flags
from serving.client_library import AsyncClient, Client
from serving.photographs import checked_photograph, find_photographs, read_photograph
from serving.printing import Record, print_json, printed_csv, printed_table
from serving.questions import IMAGES_PER_REQUEST, Result
from serving.target import ServingError

__all__ = ["AsyncClient", "Client", "Result", "ServingError"]

_STDIN = "-"
REST_SERVER = "http://127.0.0.1:8501"


def define_flags() -> None:
    """Flags of `python -m serving.client`."""
    target_flags.define(f"Seconds to wait for each request of at most {IMAGES_PER_REQUEST} files.")
    flags.adopt_module_key_flags(target_flags)
    flags.DEFINE_string("signature", wire.SIGNATURE_TEN_CROP, "What to ask for: one of the signatures above.")
    flags.DEFINE_integer("top_k", wire.TOP_K, "Classes to show per file, best first.", 1, wire.TOP_K)
    flags.DEFINE_integer("concurrency", 2, "Requests under way at once.", 1, 256)
    flags.DEFINE_boolean("json", False, "Print one JSON object per file and line instead of a table.")
    flags.DEFINE_boolean("csv", False, "Print one line per class, separated by commas, instead of a table.")
    flags.DEFINE_boolean(
        "rest", False, f"Ask TensorFlow Serving's REST port, {REST_SERVER} by default; http:// in --server does too."
    )


def answers(
    client: Client, files: Sequence[str], signature: str, top_k: int, concurrency: int = 1
) -> Iterator[tuple[list[Record], list[str]]]:
    """For one part of the files after the other: a record per file, in order, and what is wrong with some of them.

    Records are {"file", "valid", "labels", "classes", "scores"}, or {"file", "valid", "features"} for
    SIGNATURE_FEATURES; `valid` is false for a file that cannot be used. Files are read as they are sent, in
    `concurrency` threads.
    """
    ask, nothing = _question(client, signature, top_k)

    def answer(part: Sequence[str]) -> tuple[list[Record], list[str]]:
        contents, complaints = {}, []
        for file in dict.fromkeys(part):
            try:
                contents[file] = _read(file)
            except InputError as error:
                complaints.append(str(error))
        answered = dict(zip(contents, ask(list(contents.values())), strict=True))
        complaints += [
            f"{file}: the image cannot be decoded; expected a whole JPEG or PNG file"
            for file, record in answered.items()
            if not record["valid"]
        ]
        return [{"file": file, **answered.get(file, nothing)} for file in part], complaints

    size = min(IMAGES_PER_REQUEST, math.ceil(len(files) / concurrency))
    parts = [files[start : start + size] for start in range(0, len(files), size)]
    # Its threads, unlike those of an executor, are not waited for when the command is interrupted.
    with ThreadPool(min(concurrency, len(parts))) as pool:
        yield from pool.imap(answer, parts)


def _question(client: Client, signature: str, top_k: int) -> tuple[Callable[[list[bytes]], list[Record]], Record]:
    """How to ask for records, and the record of a file that is not asked about."""

    def classes(images: list[bytes]) -> list[Record]:
        return [asdict(result) for result in client.classify(images, signature, top_k)]

    def features(images: list[bytes]) -> list[Record]:
        rows = zip(*client.features(images), strict=True)
        return [{"valid": bool(valid), "features": row.tolist() if valid else []} for row, valid in rows]

    if signature == wire.SIGNATURE_FEATURES:
        return features, {"valid": False, "features": []}
    return classes, asdict(Result(valid=False))


def _read(file: str) -> bytes:
    if file != _STDIN:
        return read_photograph(file)
    # Not sys.stdin: Python cannot end while a thread waits in it.
    with open(0, "rb", closefd=False) as stdin:
        return checked_photograph(stdin.read(), file)


def _printer() -> AbstractContextManager[Callable[[Record], None]]:
    options = flags.FLAGS
    if options.json and options.csv:
        raise InputError("--json and --csv: expected at most one of them")
    if options.csv and options.signature == wire.SIGNATURE_FEATURES:
        raise InputError(f"--csv: --signature={options.signature} gives vectors; expected --json")
    return printed_csv() if options.csv else nullcontext(print_json) if options.json else printed_table()


def _client() -> Client:
    options, target = flags.FLAGS, target_flags.values()
    if options.rest and not options["server"].present:
        target["server"] = REST_SERVER
    elif options.rest and "://" not in options.server:
        target["server"] = f"http://{options.server}"
    return Client(**target)


def main(argv: Sequence[str]) -> int:
    """Asks about the files that `argv[1:]` name; 1 if any of them was not answered, else 0."""
    options, files = flags.FLAGS, find_photographs(argv[1:])
    if not files:
        raise InputError("no image file given; expected python -m serving.client --server=host:port FILE ...")
    # A bar is of use where nothing else tells how far it is.
    streaming = (options.json or options.csv) and sys.stdout.isatty()
    bar = tqdm(total=len(files), unit=" files", leave=False, delay=0.5, disable=True if streaming else None)
    answered = 0
    with (
        bar,
        _client() as client,
        _printer() as show,
        closing(answers(client, files, options.signature, options.top_k, options.concurrency)) as found,
    ):
        for records, complaints in found:
            for complaint in complaints:
                tqdm.write(f"error: {complaint}", file=sys.stderr)
            for record in records:
                show(record)
            bar.update(len(records))
            answered += sum(record["valid"] for record in records)
    return 0 if answered == len(files) else 1


main.takes_arguments = True

if __name__ == "__main__":
    run(main, define_flags)
