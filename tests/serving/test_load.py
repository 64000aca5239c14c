"""`python -m serving.load`: what it sends, what it counts, and how it ends."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving import load as load_module
from serving.client import ServingError
from serving.load import Measured, measure, questions_of, report
from serving.questions import Question, question_about
from tests.helpers.fake_service import FakeService, serving_at

FIGURES = {
    "answered",
    "errors",
    "not_sent",
    "undecoded_images",
    "elapsed_s",
    "requests_per_s",
    "images_per_s",
    "latency_ms",
}


class Answering:
    """Stands for a connection: answers after `seconds`, refuses every third request if told to."""

    def __init__(self, seconds: float = 0.0, refuses: bool = False):
        self._seconds, self._refuses = seconds, refuses
        self.asked: list[Question] = []
        self.now = self.most_at_once = 0

    async def predict(self, question: Question) -> dict[str, np.ndarray]:
        self.asked.append(question)
        number = len(self.asked)
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        await asyncio.sleep(self._seconds)
        self.now -= 1
        if self._refuses and number % 3 == 0:
            raise ServingError("no", grpc.StatusCode.UNAVAILABLE)
        return {"valid": np.array([image == b"good" for image in question.batch])}


def asked_about(*images: bytes) -> Question:
    return question_about(images, "serving_default")


def measured_with(connection: Answering, questions: list[Question], **arguments) -> Measured:
    measured = Measured()
    asyncio.run(measure(connection, questions, measured, **arguments))
    return measured


@pytest.fixture
def files(tmp_path: Path, photograph) -> list[str]:
    for name, colour in (("a.jpg", (200, 40, 40)), ("b.jpg", (40, 200, 40)), ("c.jpg", (40, 40, 200))):
        (tmp_path / name).write_bytes(photograph(colour))
    return [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "c.jpg")]


def test_a_closed_loop_keeps_its_clients_busy_and_counts_each_request():
    connection = Answering(seconds=0.01)
    questions = [asked_about(b"good"), asked_about(b"good", b"bad")]
    measured = measured_with(connection, questions, concurrency=3, duration_s=0.3)
    assert len(measured.latencies_s) == len(connection.asked) >= 3
    assert connection.most_at_once == 3
    assert connection.asked == [questions[number % 2] for number in range(len(connection.asked))]
    assert measured.undecoded == len(connection.asked) // 2
    assert min(measured.latencies_s) >= 0.01
    assert measured.elapsed_s >= max(measured.latencies_s)
    assert (measured.errors, measured.not_sent) == ({}, 0)


def test_failures_are_counted_by_their_codes_and_have_no_latency():
    connection = Answering(seconds=0.005, refuses=True)
    measured = measured_with(connection, [asked_about(b"good")], concurrency=2, duration_s=0.2)
    assert measured.errors == {"UNAVAILABLE": len(connection.asked) // 3}
    assert len(measured.latencies_s) == len(connection.asked) - len(connection.asked) // 3


def test_a_rate_sends_what_is_due_and_no_more():
    connection = Answering()
    measured = measured_with(connection, [asked_about(b"good")], concurrency=50, duration_s=0.5, rate=40.0)
    assert len(connection.asked) + measured.not_sent == 20
    assert measured.elapsed_s >= 0.5


def test_latency_counts_from_when_a_request_was_due():
    # One place, 0.1 s an answer, a request due every 0.02 s: request n is sent at 0.1 n and was due at 0.02 n.
    connection = Answering(seconds=0.1)
    measured = measured_with(connection, [asked_about(b"good")], concurrency=1, duration_s=0.5, rate=50.0)
    assert 1 <= len(connection.asked) <= 5
    assert len(connection.asked) + measured.not_sent == 25
    for number, latency in enumerate(measured.latencies_s):
        assert latency >= 0.1 + 0.08 * number - 0.001


def test_every_file_is_asked_about_and_the_last_request_filled_up(files):
    a, b, c = (Path(file).read_bytes() for file in files)
    batches = [question.batch.tolist() for question in questions_of(files, "center_crop", 2)]
    assert batches == [[a, b], [c, a]]
    (question,) = questions_of(files, "images", 5)
    assert question.batch.shape == (5, 256, 256, 3)


def test_files_that_would_be_no_load_are_refused(files, tmp_path, photograph):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(photograph((9, 9, 9))[:-200])
    with pytest.raises(ValueError, match="signature=images: not every file can be decoded"):
        questions_of([*files, str(bad)], "images", 1)
    bad.write_bytes(b"junk")
    with pytest.raises(ValueError, match=f"{bad}: begins with"):
        questions_of([*files, str(bad)], "serving_default", 1)


def test_the_report_has_rates_and_percentiles():
    latencies = [number / 1000 for number in range(1, 102)]
    measured = Measured(latencies, Counter(UNAVAILABLE=2, INTERNAL=1), not_sent=4, undecoded=5, elapsed_s=2.0)
    figures = report(measured, batch=8)
    assert set(figures) == FIGURES
    assert (figures["answered"], figures["not_sent"], figures["undecoded_images"]) == (101, 4, 5)
    assert list(figures["errors"].items()) == [("INTERNAL", 1), ("UNAVAILABLE", 2)]
    assert (figures["requests_per_s"], figures["images_per_s"]) == (50.5, 404.0)
    expected = {"mean": 51.0, "p50": 51.0, "p90": 91.0, "p99": 100.0, "max": 101.0}
    assert figures["latency_ms"] == pytest.approx(expected)


def test_the_report_of_nothing_has_no_latencies():
    figures = report(Measured(), batch=1)
    assert (figures["answered"], figures["requests_per_s"]) == (0, 0)
    assert set(figures["latency_ms"].values()) == {None}


@pytest.mark.parametrize("signature", ["serving_default", "images", "features"])
def test_the_command_measures_a_server(command, server, files, capsys, signature):
    arguments = (f"--server={server.address}", "--duration_s=0.5", "--batch=2", f"--signature={signature}", "--json")
    assert command(load_module, *arguments, *files) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"signature", "batch", "concurrency", "rate", "duration_s"} | FIGURES
    assert (figures["signature"], figures["batch"], figures["rate"]) == (signature, 2, None)
    assert figures["answered"] > 0
    assert (figures["errors"], figures["not_sent"], figures["undecoded_images"]) == ({}, 0, 0)
    assert figures["images_per_s"] == pytest.approx(2 * figures["answered"] / figures["elapsed_s"])


def test_the_table_shows_throughput_latency_and_errors(command, files, capsys):
    service = FakeService()
    service.code, service.refuses = grpc.StatusCode.RESOURCE_EXHAUSTED, lambda number: number == 3
    with serving_at(service) as address:
        code = command(load_module, f"--server={address}", "--duration_s=0.3", "--concurrency=1", *files)
    assert code == 1
    output = capsys.readouterr().out
    for expected in ("requests answered", "requests/s", "images/s", "p50", "p90", "p99", "failed: RESOURCE_EXHAUSTED"):
        assert expected in output
    assert "not decoded" not in output


def test_warm_up_requests_are_not_counted_and_failures_are_not_sent_again(command, files, capsys):
    service = FakeService()
    service.refuses = lambda number: number > 1
    with serving_at(service) as address:
        arguments = (f"--server={address}", "--duration_s=0.3", "--concurrency=3", "--rate=20", "--json")
        assert command(load_module, *arguments, *files) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["answered"] == 0
    # One alone and three at once before, and then those that were due.
    assert figures["errors"] == {"UNAVAILABLE": len(service.requests) - 4}
    assert len(service.requests) - 4 + figures["not_sent"] == 6


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--server=127.0.0.1:1"], "--server=127.0.0.1:1: no server answers"),
        (["--model_name=resnet"], "--model_name=resnet: "),
        (["--signature=nope"], "--signature=nope: "),
        (["--version=9"], "--version=9: "),
        (["--server=http://127.0.0.1:8501"], "expected host:port of the gRPC port"),
    ],
)
def test_a_server_that_does_not_answer_at_all_is_an_error(command, server, files, arguments, message):
    with pytest.raises(ValueError, match=message):
        command(load_module, f"--server={server.address}", *arguments, files[0])


def test_no_file_is_an_error_that_shows_the_usage(command):
    with pytest.raises(ValueError, match=r"no image file given; expected python -m serving.load"):
        command(load_module)


def test_an_interrupted_measurement_is_printed(files):
    service = FakeService()
    with serving_at(service) as address:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.load", f"--server={address}", "--duration_s=600", "--json", *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(load_module.__file__).parents[1],
        )
        try:
            for _ in range(1000):
                if len(service.requests) > 50 or process.poll() is not None:
                    break
                time.sleep(0.05)
            # Also with requests under way that are not answered.
            service.hold = threading.Event()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=25)
        finally:
            service.hold.set()
            process.kill()
            process.wait()
    assert (process.returncode, errors) == (128 + signal.SIGINT, "")
    assert json.loads(output)["answered"] > 20
