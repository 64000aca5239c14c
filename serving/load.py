"""Measures a server: throughput, latency and errors under a load of photographs, over gRPC.

  python -m serving.load --server=127.0.0.1:8500 --concurrency=8 --duration_s=30 photos
  python -m serving.load --rate=20 --concurrency=64 --batch=4 --signature=center_crop --json photos/*.jpg

Without --rate each of --concurrency clients sends its next request when the last one is answered (closed loop). With
--rate requests are due at even intervals whatever the server does, and latency counts from when a request was due (open
loop): --concurrency is then the most requests under way, and waiting for a free place is latency too. A few requests
go ahead and are not counted. Nothing is sent twice: every failure counts, by its gRPC code. Ctrl-C ends the
measurement early and prints it. The exit code is 1 if a request failed or was not sent in time.
"""

import asyncio
import itertools
import json
import math
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from pipelines.cli import run
from serving import signatures as wire
from serving import target_flags
from serving.connection import AsyncConnection
from serving.photographs import find_photographs, read_photograph
from serving.questions import Question, question_about
from serving.target import ServingError, Target


def define_flags() -> None:
    """Flags of `python -m serving.load`."""
    target_flags.define("Seconds after which a request has failed, with DEADLINE_EXCEEDED.")
    flags.adopt_module_key_flags(target_flags)
    flags.DEFINE_string("signature", wire.SIGNATURE_TEN_CROP, "Signature to ask.")
    flags.DEFINE_integer("batch", 1, "Images per request.", 1, 1024)
    flags.DEFINE_integer("concurrency", 4, "Requests under way at once.", 1, 10_000)
    flags.DEFINE_float("rate", None, "Requests per second to send; as fast as they are answered if not given.", 0.001)
    flags.DEFINE_float("duration_s", 10.0, "Seconds to send requests for.", 0.001)
    flags.DEFINE_boolean("json", False, "Print one JSON object instead of a table.")


@dataclass
class Measured:
    """What came of the requests.

    Attributes:
        latencies_s: seconds, one for each answered request.
        errors: failed requests by the name of their gRPC code.
        not_sent: requests that were due and found no free place before the end.
        undecoded: images that the server could not decode; they cost it less than others.
        elapsed_s: seconds from the start to the last answer; at the end, at least what was planned.
    """

    latencies_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    not_sent: int = 0
    undecoded: int = 0
    elapsed_s: float = 0.0


async def measure(
    connection: AsyncConnection,
    questions: Sequence[Question],
    measured: Measured,
    concurrency: int,
    duration_s: float,
    rate: float | None = None,
) -> None:
    """Asks `questions` in turn for `duration_s` seconds and counts in `measured`, which is sound at any time.

    Args:
        connection: what carries the questions.
        questions: the requests, at least one.
        measured: where to count.
        concurrency: the most requests under way.
        duration_s: seconds to send for; requests under way at the end are waited for.
        rate: requests per second; None sends the next one when there is a place.
    """
    numbers, start = itertools.count(), time.monotonic()
    end = start + duration_s

    async def keep_asking() -> None:
        for number in numbers:
            due = start + number / rate if rate else time.monotonic()
            if due >= end:
                return
            if rate:
                await asyncio.sleep(due - time.monotonic())
                if time.monotonic() >= end:
                    measured.not_sent += 1
                    continue
            await ask(questions[number % len(questions)], due)
            progress.update()

    async def ask(question: Question, due: float) -> None:
        try:
            answer = await connection.predict(question)
        except ServingError as error:
            measured.errors[error.code.name] += 1
        else:
            measured.latencies_s.append(time.monotonic() - due)
            measured.undecoded += int((~question.valid(answer)).sum())
        measured.elapsed_s = time.monotonic() - start

    with tqdm(unit=" requests", disable=None, leave=False) as progress:
        await asyncio.gather(*(keep_asking() for _ in range(concurrency)))
    measured.elapsed_s = max(measured.elapsed_s, duration_s)


async def warm_up(connection: AsyncConnection, questions: Sequence[Question], concurrency: int) -> None:
    """One request alone, then `concurrency` at once, so that the server has met the load before it is measured.

    Raises:
        ServingError: the first was not answered; there is nothing to measure.
    """
    await connection.predict(questions[0])
    crowd = itertools.islice(itertools.cycle(questions), concurrency)
    for outcome in await asyncio.gather(*map(connection.predict, crowd), return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, ServingError):
            raise outcome


def questions_of(files: Sequence[str], signature: str, batch: int) -> list[Question]:
    """Requests of `batch` images each that hold every file; the last one is filled up from the first files.

    Raises:
        ValueError: a file that is no JPEG or PNG, or that cannot be decoded where that is done on this side.
    """
    contents = itertools.cycle([read_photograph(file) for file in files])
    questions = [
        question_about(list(itertools.islice(contents, batch)), signature) for _ in range(math.ceil(len(files) / batch))
    ]
    if any(question.decoded is not None and not question.decoded.all() for question in questions):
        raise ValueError(f"signature={signature}: not every file can be decoded; expected whole JPEG or PNG files")
    return questions


def report(measured: Measured, batch: int) -> dict[str, Any]:
    """Counts, rates per second and latencies in milliseconds (None if nothing was answered), for JSON."""
    answered, seconds = len(measured.latencies_s), measured.elapsed_s or math.inf
    latencies_ms = 1000 * np.array(measured.latencies_s)
    p50, p90, p99 = np.percentile(latencies_ms, (50, 90, 99)).tolist() if answered else (None,) * 3
    return {
        "answered": answered,
        "errors": dict(sorted(measured.errors.items())),
        "not_sent": measured.not_sent,
        "undecoded_images": measured.undecoded,
        "elapsed_s": measured.elapsed_s,
        "requests_per_s": answered / seconds,
        "images_per_s": answered * batch / seconds,
        "latency_ms": {
            "mean": latencies_ms.mean().item() if answered else None,
            "p50": p50,
            "p90": p90,
            "p99": p99,
            "max": latencies_ms.max().item() if answered else None,
        },
    }


def table_of(figures: dict[str, Any]) -> Table:
    """The figures of `report` for people."""
    table = Table("figure", show_header=False)
    table.add_column(justify="right")
    table.add_row("requests answered", f"{figures['answered']:,}")
    for code, count in figures["errors"].items():
        table.add_row(f"failed: {code}", f"{count:,}")
    if figures["not_sent"]:
        table.add_row("due, not sent in time", f"{figures['not_sent']:,}")
    if figures["undecoded_images"]:
        table.add_row("images not decoded", f"{figures['undecoded_images']:,}")
    table.add_row("seconds", f"{figures['elapsed_s']:.1f}")
    table.add_row("requests/s", f"{figures['requests_per_s']:.1f}")
    table.add_row("images/s", f"{figures['images_per_s']:.1f}")
    for name, value in figures["latency_ms"].items():
        table.add_row(f"latency {name}, ms", "-" if value is None else f"{value:.1f}")
    return table


async def _run(target: Target, questions: Sequence[Question], measured: Measured) -> None:
    options, connection = flags.FLAGS, AsyncConnection(target, retry=False)
    try:
        await warm_up(connection, questions, options.concurrency)
        await measure(connection, questions, measured, options.concurrency, options.duration_s, options.rate)
    finally:
        await connection.close()


def main(argv: Sequence[str]) -> int:
    """Measures with the photographs that `argv[1:]` names; 1 if a request failed or was not sent, else 0."""
    options, files = flags.FLAGS, find_photographs(argv[1:])
    if not files:
        raise ValueError("no image file given; expected python -m serving.load --server=host:port FILE ...")
    target, measured, code = Target(**target_flags.values()), Measured(), 0
    questions = questions_of(files, options.signature, options.batch)
    try:
        asyncio.run(_run(target, questions, measured))
    except KeyboardInterrupt:
        if not measured.elapsed_s:
            raise
        code = 128 + signal.SIGINT
    figures = report(measured, options.batch)
    if options.json:
        asked = {name: options[name].value for name in ("signature", "batch", "concurrency", "rate", "duration_s")}
        print(json.dumps(asked | figures))
    else:
        Console().print(table_of(figures))
    return code or int(bool(measured.errors or measured.not_sent))


main.takes_arguments = True

if __name__ == "__main__":
    run(main, define_flags)
