"""Asks a server for the classes of photographs: TensorFlow Serving or the embedded one, which it cannot tell apart.

  python -m serving.client --server=127.0.0.1:8500 photo.jpg ...
  python -m serving.client --csv --signature=center_crop --concurrency=4 photos 'more/**/*.png' > classes.csv
  curl -s https://example.org/photo.jpg | python -m serving.client --json -
  python -m serving.client --server=http://127.0.0.1:8501 photo.jpg
  python -m serving.client --signature=features --json photo.jpg

Arguments are JPEG or PNG files, folders of them, patterns, or - for one image on the standard input. Signatures:
serving_default (mean of ten views), center_crop (one view, ten times cheaper), images (as serving_default; decoded on
this side), features (fc7 activations instead of classes). In a program, use `Client` or `AsyncClient`.

A file that cannot be used is named on stderr, the others are answered, and the exit code is 1; it has `valid` false. So
are the files of a request that failed for good, whose `valid` is not known: null in JSON, empty in CSV, with the reason
as `error`; the table says "not answered". When the server is gone no more is asked.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext

from absl import flags
from tqdm import tqdm

from pipelines.cli import run
from serving import signatures as wire
from serving import target_flags
from serving.answers import answers
from serving.client_library import AsyncClient, Client
from serving.photographs import find_photographs
from serving.printing import Record, print_json, printed_csv, printed_table
from serving.questions import IMAGES_PER_REQUEST, Result
from serving.target import ServingError

__all__ = ["AsyncClient", "Client", "Result", "ServingError"]

REST_SERVER = "http://127.0.0.1:8501"


def define_flags() -> None:
    """Flags of `python -m serving.client`."""
    target_flags.define(f"Seconds to wait for each request of at most {IMAGES_PER_REQUEST} files.")
    flags.adopt_module_key_flags(target_flags)
    flags.DEFINE_string("signature", wire.SIGNATURE_TEN_CROP, "What to ask for: one of the signatures above.")
    flags.DEFINE_integer(
        "top_k", wire.TOP_K, "Classes to show per file, best first; as many as the export names at most.", 1
    )
    flags.DEFINE_integer("concurrency", 2, "Requests under way at once.", 1, 256)
    flags.DEFINE_boolean("json", False, "Print one JSON object per file and line instead of a table.")
    flags.DEFINE_boolean("csv", False, "Print one line per class, separated by commas, instead of a table.")
    flags.DEFINE_boolean(
        "rest", False, f"Ask TensorFlow Serving's REST port, {REST_SERVER} by default; http:// in --server does too."
    )


def _printer() -> AbstractContextManager[Callable[[Record], None]]:
    options = flags.FLAGS
    if options.json and options.csv:
        raise ValueError("json and --csv: expected at most one of them")
    if options.csv and options.signature == wire.SIGNATURE_FEATURES:
        raise ValueError(f"csv: --signature={options.signature} gives vectors; expected --json")
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
        raise ValueError("no image file given; expected python -m serving.client --server=host:port FILE ...")
    # A bar is of use where nothing else tells how far it is.
    streaming = (options.json or options.csv) and sys.stdout.isatty()
    bar = tqdm(total=len(files), unit=" files", leave=False, delay=0.5, disable=True if streaming else None)
    answered, told = 0, set()
    with (
        bar,
        _client() as client,
        _printer() as show,
        closing(answers(client, files, options.signature, options.top_k, options.concurrency)) as found,
    ):
        for records, complaints in found:
            for complaint in [text for text in complaints if text not in told]:
                tqdm.write(f"error: {complaint}", file=sys.stderr)
            told.update(complaints)
            for record in records:
                show(record)
            bar.update(len(records))
            answered += sum(record["valid"] is True for record in records)
    return 0 if answered == len(files) else 1


main.takes_arguments = True

if __name__ == "__main__":
    run(main, define_flags)
