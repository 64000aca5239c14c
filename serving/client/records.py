"""What `python -m serving.client` asks, and the records that it makes of the answers."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from multiprocessing.pool import ThreadPool

import grpc

from serving import signatures as wire
from serving.client_library import Client
from serving.photographs import checked_photograph, read_photograph
from serving.printing import Record
from serving.questions import IMAGES_PER_REQUEST, Result
from serving.target import ServingError

STDIN = "-"

# Statuses that say something of the server, not of the images that were sent.
_OF_THE_SERVER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
_MOST_FAILURES = 3


def answers(
    client: Client, files: Sequence[str], signature: str, top_k: int, concurrency: int = 1
) -> Iterator[tuple[list[Record], list[str]]]:
    """For one part of the files after the other: a record per file, in order, and what is wrong with some of them.

    Records are {"file", "valid", "labels", "classes", "scores"}, or {"file", "valid", "features"} for
    SIGNATURE_FEATURES; `valid` is false for a file that cannot be used. Where a request failed for good, the records of
    its files have `valid` None and its reason as "error". Files are read as they are sent, in `concurrency` threads.
    """
    ask, nothing = _question(client, signature, top_k)
    patience = _Patience()

    def answer(part: Sequence[str]) -> tuple[list[Record], list[str]]:
        contents, complaints = {}, []
        for file in dict.fromkeys(part):
            try:
                contents[file] = _read(file)
            except ValueError as error:
                complaints.append(str(error))
        try:
            answered = dict(zip(contents, patience.kept(ask, list(contents.values())), strict=True))
        except ServingError as error:
            complaints.append(str(error))
            answered = dict.fromkeys(contents, nothing | {"valid": None, "error": str(error)})
        complaints += [
            f"{file}: the image cannot be decoded; expected a whole JPEG or PNG file"
            for file, record in answered.items()
            if record["valid"] is False
        ]
        return [{"file": file, **answered.get(file, nothing)} for file in part], complaints

    size = min(IMAGES_PER_REQUEST, math.ceil(len(files) / concurrency))
    parts = [files[start : start + size] for start in range(0, len(files), size)]
    # Its threads, unlike those of an executor, are not waited for when the command is interrupted.
    with ThreadPool(min(concurrency, len(parts))) as pool:
        yield from pool.imap(answer, parts)


class _Patience:
    """Asks until it is plain that the server is gone, so that a long list of files does not wait for each of them.

    That is when it refused everything or did not answer _MOST_FAILURES times in a row, or the first time.
    """

    def __init__(self):
        self._lock, self._failures, self._most = threading.Lock(), 0, 1
        self._last: ServingError | None = None

    def kept(self, ask: Callable[[list[bytes]], list[Record]], images: list[bytes]) -> list[Record]:
        """What `ask` gives; its last ServingError again, without asking, if the server is gone."""
        if not images:
            return []
        with self._lock:
            if self._failures >= self._most:
                raise self._last
        try:
            records = ask(images)
        except ServingError as error:
            with self._lock:
                if error.code in _OF_THE_SERVER:
                    self._failures, self._last = self._failures + 1, error
            raise
        with self._lock:
            self._failures, self._most = 0, _MOST_FAILURES
        return records


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
    if file != STDIN:
        return read_photograph(file)
    # Not sys.stdin: Python cannot end while a thread waits in it.
    with open(0, "rb", closefd=False) as stdin:
        return checked_photograph(stdin.read(), file)
