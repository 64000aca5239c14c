"""Commands in processes of their own: signals are handed on, failures named."""

import pytest

from keras_alexnet.experiments.commands import RunInterrupted, run_command

pytestmark = pytest.mark.subprocess


def test_a_signal_is_handed_on_once_and_the_command_ends_its_work(tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "stopped = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "for _ in range(600):\n"
        "    if stopped:\n"
        "        time.sleep(0.7)\n"
        "        pathlib.Path(sys.argv[1]).write_text(str(stopped))\n"
        "        sys.exit(128 + 15)\n"
        "    time.sleep(0.05)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RunInterrupted):
        run_command("worker", str(tmp_path / "saved"))
    assert (tmp_path / "saved").read_text() == "[15]"


def test_a_command_that_fails_is_named():
    with pytest.raises(ValueError, match="no_such_module ended with exit code 1; see above"):
        run_command("no_such_module")


def test_a_command_that_ends_by_the_signal_is_interrupted_too(tmp_path, monkeypatch):
    (tmp_path / "without_handler.py").write_text(
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RunInterrupted):
        run_command("without_handler")


def test_a_command_that_was_done_when_the_signal_came_is_interrupted_too(tmp_path, monkeypatch):
    (tmp_path / "done.py").write_text("import os, signal\nos.kill(os.getppid(), signal.SIGTERM)\nos._exit(0)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RunInterrupted):
        run_command("done")
