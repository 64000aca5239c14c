"""The start of the embedded server and of its command."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import serving
from serving.server import ModelServer
from serving.server import __main__ as server_command
from tests.helpers.backends import WAIT_S


def test_a_busy_port_is_named(base):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port={port}: .*in use"):
            ModelServer("alexnet", base, port=port)


def test_two_servers_cannot_share_a_port(base, server):
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(ValueError, match=f"port={port}"):
        ModelServer("alexnet", base, port=port)


def test_a_host_that_is_not_this_machine_is_named(base):
    with pytest.raises(ValueError, match=r"host=192\.0\.2\.1"):
        ModelServer("alexnet", base, host="192.0.2.1")


@pytest.mark.parametrize(
    ("folders", "found"), [(None, "no such folder"), ([], "it is empty"), (["1", "notes"], "it holds 1, notes")]
)
def test_a_base_path_without_a_version_is_named(tmp_path, folders, found):
    base = tmp_path / "models"
    for name in folders if folders is not None else ():
        (base / name).mkdir(parents=True)
    if folders == []:
        base.mkdir()
    with pytest.raises(ValueError, match=rf"model_base_path={base}: {found}; .*keras_alexnet.export"):
        ModelServer("alexnet", base)


def test_a_first_version_that_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "saved_model.pb").write_bytes(b"half")
    with pytest.raises(ValueError, match=f"model_base_path={tmp_path}: cannot load {tmp_path / '3'}"):
        ModelServer("alexnet", tmp_path)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("saved_model.pb", b"", "no graph with the tag 'serve'"),
        ("assets.extra/tf_serving_warmup_requests", b"x" * 99, "corrupted record at 0"),
        ("a\x1b[2J\n", None, "a\\x1b[2J : a named pipe"),
    ],
)
def test_why_a_version_cannot_be_loaded_is_one_printable_line(base, name, content, reason):
    path = base / "1" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content) if content is not None else os.mkfifo(path)
    with pytest.raises(ValueError, match=f"cannot load .*{re.escape(reason)}") as caught:
        ModelServer("alexnet", base)
    assert str(caught.value).isprintable() and "{{" not in str(caught.value)


@pytest.mark.subprocess
def test_the_command_says_that_it_is_ready_in_one_line_and_leaves_on_sigterm_with_0(base):
    arguments = ["--model_name=alexnet", f"--model_base_path={base}", "--port=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.server", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(serving.__file__).parents[1],
    )
    try:
        ready = process.stdout.readline()
        assert ready.startswith("serving alexnet version 1 at 127.0.0.1:")
        assert "(signatures: center_crop, features, images, serving_default)" in ready
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")


def test_the_command_needs_a_base_path(command):
    with pytest.raises(ValueError, match="model_base_path"):
        command(server_command)
