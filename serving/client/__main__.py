"""Predicts the classes of image files at TensorFlow Serving or the embedded server.

  python -m serving.client --server=127.0.0.1:8500 photo.jpg ...
  python -m serving.client --csv --signature=center_crop --concurrency=4 photos 'more/**/*.png' > classes.csv
  curl -s https://example.org/photo.jpg | python -m serving.client --json -
  python -m serving.client --server=http://127.0.0.1:8501 photo.jpg
  python -m serving.client --signature=features --json photo.jpg

Arguments are JPEG or PNG files, directories, glob patterns, or - for one image on the standard input. Signatures:
serving_default (mean of ten crops), center_crop (one crop, ten times cheaper), features (the input of the classifier
layer, fc7 of AlexNet, instead of classes).
In a program, use `serving.Client` or `serving.AsyncClient`.

A file that cannot be used is named on stderr and has `valid` false; the others are predicted, and the exit code is 1.
The files of a failed request have an unknown `valid` (null in JSON, empty in CSV) and the reason as `error`; the table
says "no response". After repeated failures of the server nothing more is read or sent.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from absl import flags

from serving import signatures as wire

try:
    from pipelines import cli
    from pipelines.cli.progress import ProgressBar, progress_bar
except ImportError as error:
    # A folder of this name in the current directory comes before ours.
    sys.exit(f"error: serving needs its own package 'pipelines': {error}")

if TYPE_CHECKING:
    from serving.client.api import Client
    from serving.client.output import Record

REST_SERVER = "http://127.0.0.1:8501"
_MOST_NAMED = 5


def define_flags() -> None:
    """Flags of `python -m serving.client`."""
    flags.DEFINE_string("server", "127.0.0.1:8500", "host:port of the server's gRPC port, or http://host:port.")
    flags.DEFINE_string("model_name", "alexnet", "Name under which the server serves the model.")
    flags.DEFINE_string("signature", wire.SIGNATURE_TEN_CROP, "One of the signatures above.")
    flags.DEFINE_integer(
        "top_k", wire.TOP_K, "Classes per file, best first; at most as many as the export returns.", 1, 100_000
    )
    flags.DEFINE_float(
        "timeout_s", 60.0, "Seconds for each request of at most 16 files, retries included.", 0.001, 86_400
    )
    flags.DEFINE_integer("concurrency", 2, "Requests in flight at once.", 1, 256)
    flags.DEFINE_boolean("json", False, "Print one JSON object per file and line instead of a table.")
    flags.DEFINE_boolean("csv", False, "Print CSV, one line per class, instead of a table.")
    flags.DEFINE_boolean("rest", False, f"Use TensorFlow Serving's REST port, {REST_SERVER} by default.")
    flags.DEFINE_integer("version", None, "Version of the model; the newest if not given.", 0, 2**63 - 1)
    flags.DEFINE_string("version_label", None, "Label of the version, for example stable.")
    cli.define_path("ca_certificate", None, "PEM file with CA certificates: use TLS and verify the server with them.")
    cli.define_path("client_certificate", None, "PEM file: the certificate for servers that require one.")
    cli.define_path("client_key", None, "PEM file: the key of --client_certificate.")


def main(argv: Sequence[str]) -> int:
    """Predicts the files that `argv[1:]` name; returns 1 if there is one without a prediction, else 0."""
    from serving.client.records import predict_files

    options = flags.FLAGS
    if options.signature == wire.SIGNATURE_IMAGES:
        raise ValueError(
            f"signature={wire.SIGNATURE_IMAGES}: takes uint8 arrays (serving.Client), not files; expected "
            f"{wire.SIGNATURE_TEN_CROP}, {wire.SIGNATURE_CENTER} or {wire.SIGNATURE_FEATURES}"
        )
    files = _files(argv[1:])
    predicted, reported = 0, set()
    with (
        _progress_bar(len(files)) as bar,
        _client() as client,
        _printer() as show,
        closing(predict_files(client, files, options.signature, options.top_k, options.concurrency)) as parts,
    ):
        for records, errors in parts:
            for error in [text for text in errors if text not in reported]:
                print(f"error: {cli.with_flag(error)}", file=sys.stderr)
            reported.update(errors)
            for record in records:
                show(record)
            if bar:
                bar.update(bar.completed + len(records))
            predicted += sum(record["valid"] is True for record in records)
    return 0 if predicted == len(files) else 1


def _files(arguments: Sequence[str]) -> list[str]:
    from pipelines.cli.safe_text import printable
    from pipelines.images.find import find_image_files
    from serving.client.records import STDIN

    found = find_image_files(argument for argument in arguments if argument != STDIN)
    files = list(found.paths)
    if STDIN in arguments:
        before = find_image_files(arguments[: arguments.index(STDIN)])
        files.insert(len(before.paths), STDIN)
    if not files:
        raise ValueError("no image file given; expected python -m serving.client --server=host:port FILE ...")
    if found.ignored:
        names = [f"{printable(path)} ({reason})" for path, reason in found.ignored.items()]
        more = ", ..." * (len(names) > _MOST_NAMED)
        print(f"ignored {len(names)} files: {', '.join(names[:_MOST_NAMED])}{more}", file=sys.stderr)
    return files


def _client() -> "Client":
    from serving.client.api import Client
    from serving.client.endpoint import Endpoint

    options = flags.FLAGS
    given: dict[str, Any] = {field.name: options[field.name].value for field in fields(Endpoint)}
    if options.rest and not options["server"].present:
        given["server"] = REST_SERVER
    elif options.rest and "://" not in options.server:
        given["server"] = f"http://{options.server}"
    return Client(**given)


def _printer() -> AbstractContextManager[Callable[["Record"], None]]:
    from serving.client.output import csv_printer, print_json, table_printer

    options = flags.FLAGS
    if options.json and options.csv:
        raise ValueError("json=true: expected no --csv with it")
    if options.csv and options.signature == wire.SIGNATURE_FEATURES:
        raise ValueError(f"csv=true: --signature={options.signature} returns vectors; expected --json")
    return csv_printer() if options.csv else nullcontext(print_json) if options.json else table_printer()


def _progress_bar(total: int) -> AbstractContextManager["ProgressBar | None"]:
    """A bar, unless the records themselves show the progress on the terminal."""
    options = flags.FLAGS
    is_streaming = (options.json or options.csv) and sys.stdout.isatty()
    return nullcontext() if is_streaming else progress_bar("", total, unit="files")


def command() -> None:
    """Runs the command."""
    cli.run(main, define_flags, takes_arguments=True, needs_tensorflow=False)


if __name__ == "__main__":
    command()
