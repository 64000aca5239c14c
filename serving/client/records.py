"""Predictions for a list of files, as the records of `serving.client.output`."""

import math
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from multiprocessing.pool import ThreadPool

import grpc

from pipelines.cli.safe_text import printable
from pipelines.images.find import check_image_bytes, read_image_file
from serving import signatures as wire
from serving.client.api import Client
from serving.client.endpoint import ServingError
from serving.client.output import Record
from serving.client.requests import IMAGES_PER_REQUEST, Prediction

STDIN = "-"

# Statuses that concern the server, not the images of the request.
_SERVER_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
_MOST_FAILURES = 3


def predict_files(
    client: Client, files: Sequence[str], signature: str, top_k: int, concurrency: int = 1
) -> Generator[tuple[list[Record], list[str]], None, None]:
    """Yields, for one part of the files after the other, a record per file, in order, and error messages.

    Records are {"file", "valid", "labels", "classes", "scores"}, or {"file", "valid", "features"} for
    SIGNATURE_FEATURES; `valid` is false for a file that cannot be used. Where a request failed, the records of its
    files have `valid` None and its reason as "error". Files are read as they are sent, in `concurrency` threads.
    """
    send, empty = _sender(client, signature, top_k)
    server = _FailingServer()

    def predict_part(part: Sequence[str]) -> tuple[list[Record], list[str]]:
        contents: dict[str, bytes] = {}
        errors: list[str] = []
        if gone := server.gone:
            no_response = empty | {"valid": None, "error": str(gone)}
            return [{"file": file, **no_response} for file in part], [str(gone)]
        for file in dict.fromkeys(part):
            try:
                contents[file] = _read(file)
            except ValueError as error:
                errors.append(printable(str(error)))
        try:
            records = dict(zip(contents, server.send(send, list(contents.values())), strict=True))
        except ServingError as error:
            errors.append(str(error))
            records = dict.fromkeys(contents, empty | {"valid": None, "error": str(error)})
        errors += [
            f"{printable(file)}: the image cannot be decoded; expected a complete JPEG or PNG file"
            for file, record in records.items()
            if record["valid"] is False
        ]
        return [{"file": file, **records.get(file, empty)} for file in part], errors

    size = min(IMAGES_PER_REQUEST, math.ceil(len(files) / concurrency))
    parts = [files[start : start + size] for start in range(0, len(files), size)]
    # Unlike those of an executor, these threads are not waited for when the command is interrupted.
    with ThreadPool(min(concurrency, len(parts))) as pool:
        yield from pool.imap(predict_part, parts)


class _FailingServer:
    """Stops sending after repeated server failures, so that a long list of files fails fast.

    That is after _MOST_FAILURES in a row, or after the first one if there was no response before.
    """

    def __init__(self) -> None:
        self._lock, self._failures, self._most = threading.Lock(), 0, 1
        self._last = ServingError("")

    @property
    def gone(self) -> ServingError | None:
        """The last failure, if nothing is sent any more."""
        with self._lock:
            return self._last if self._failures >= self._most else None

    def send(self, send: Callable[[list[bytes]], list[Record]], images: list[bytes]) -> list[Record]:
        """The result of `send`; its last ServingError again, without sending, if the server is gone."""
        if not images:
            return []
        if gone := self.gone:
            raise gone
        try:
            records = send(images)
        except ServingError as error:
            with self._lock:
                if error.code in _SERVER_CODES:
                    self._failures, self._last = self._failures + 1, error
            raise
        with self._lock:
            self._failures, self._most = 0, _MOST_FAILURES
        return records


def _sender(client: Client, signature: str, top_k: int) -> tuple[Callable[[list[bytes]], list[Record]], Record]:
    """A function from images to records, and the record of a file that is not sent."""

    def classes(images: list[bytes]) -> list[Record]:
        return [_record(prediction) for prediction in client.classify(images, signature, top_k)]

    def features(images: list[bytes]) -> list[Record]:
        rows = zip(*client.features(images), strict=True)
        return [{"valid": bool(valid), "features": row.tolist() if valid else []} for row, valid in rows]

    if signature == wire.SIGNATURE_FEATURES:
        return features, {"valid": False, "features": []}
    return classes, _record(Prediction(valid=False))


def _record(prediction: Prediction) -> Record:
    record = asdict(prediction)
    del record["version"]
    return record


def _read(file: str) -> bytes:
    if file != STDIN:
        return read_image_file(file)
    # Not sys.stdin: Python cannot end while a thread waits in it.
    with open(0, "rb", closefd=False) as stdin:
        return check_image_bytes(stdin.read(), file)
