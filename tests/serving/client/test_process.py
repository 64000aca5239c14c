"""`python -m serving.client` as a process: its streams, signals and exit codes."""

import csv
import fcntl
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import IO

import pytest

import serving
from tests.helpers.fake_service import FakeService, serving_at

pytestmark = pytest.mark.subprocess


@pytest.fixture
def files(tmp_path: Path, photograph) -> dict[str, str]:
    """Name -> path of a photograph and of an empty file."""
    for name, content in (("red.jpg", photograph((200, 40, 40))), ("empty.jpg", b"")):
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in ("red.jpg", "empty.jpg")}


def start(
    *arguments: str, stdin: int | IO = subprocess.DEVNULL, stderr: int = subprocess.PIPE, **environment: str
) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "serving.client", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=Path(serving.__file__).parents[1],
        env=os.environ | environment,
    )


def test_the_command_ends_with_one_line_and_1_when_no_server_answers(files):
    process = start("--server=127.0.0.1:1", files["red.jpg"])
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output == ""
    assert errors.startswith("error: --server=127.0.0.1:1: not available")
    assert errors.count("\n") == 1


def test_a_dash_is_one_image_on_the_standard_input(server, files):
    with open(files["red.jpg"], "rb") as stdin:
        process = start(f"--server={server.address}", "--json", "--top_k=1", "-", stdin=stdin)
    output, _ = process.communicate(timeout=120)
    record = json.loads(output)
    assert (process.returncode, record["file"], record["labels"]) == (0, "-", ["red"])


def test_the_command_can_be_interrupted_while_it_waits_for_the_standard_input():
    process = start("--server=127.0.0.1:1", "-", stdin=subprocess.PIPE)
    try:
        process.stdin.write("begun")
        process.stdin.flush()
        unread = bytearray(4)
        for _ in range(1000):
            fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
            if not any(unread) or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
    assert (process.returncode, process.communicate()) == (128 + signal.SIGINT, ("", "interrupted\n"))


def test_names_that_the_terminal_cannot_show_are_escaped(server, photograph, tmp_path):
    folder = os.fsencode(tmp_path)
    for name in (b"\xe7\x8b\x97.jpg", b"\xff.jpg"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(photograph((40, 200, 40)))
    process = start(f"--server={server.address}", str(tmp_path), PYTHONIOENCODING="ascii", COLUMNS="200")
    found, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert "\\u72d7.jpg" in found
    assert "gr\\xfcn" in found


def test_the_command_ends_quietly_when_nobody_reads_on(server, files):
    process = start(f"--server={server.address}", "--json", "--concurrency=1", *[files["red.jpg"]] * 40)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(120) == 128 + signal.SIGPIPE


def test_the_command_can_be_interrupted_while_the_server_holds_it(files):
    service = FakeService()
    service.hold = threading.Event()
    with serving_at(service) as address:
        process = start(f"--server={address}", *[files["red.jpg"]] * 40)
        try:
            for _ in range(1000):
                if service.requests or process.poll() is not None:
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=25)  # the server holds for longer
        finally:
            service.hold.set()
            process.kill()
            process.wait()
    assert (process.returncode, output, errors) == (128 + signal.SIGINT, "", "interrupted\n")


def test_the_command_can_be_interrupted_while_a_rest_server_holds_it(files):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        process = start(f"--server=http://127.0.0.1:{silent.getsockname()[1]}", files["red.jpg"])
        try:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=25)  # the command would wait for 60
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, output, errors) == (128 + signal.SIGINT, "", "interrupted\n")


def test_a_bar_on_the_terminal_shows_how_far_it_is(files):
    service = FakeService()
    service.refuses = lambda number: bool(time.sleep(0.3))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with serving_at(service) as address:
        arguments = [f"--server={address}", "--csv", "--concurrency=1", *[files["red.jpg"]] * 80]
        process = start(*arguments, stderr=theirs)
        os.close(theirs)
        output, _ = process.communicate(timeout=120)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "48/80" in shown
    assert len(list(csv.reader(io.StringIO(output)))) == 81
