import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.checkpoints import load_trained
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium

KILLS, EPOCHS = 20, 60
# Curves of the clock, not of the training.
TIMED = {"images_per_s", "waiting_for_data"}


def command(config) -> list[str]:
    flags = [f"--{name}={value}" for name, value in vars(config).items() if value is not None]
    return [sys.executable, "-m", "keras_alexnet.train", *flags]


def wait_for(process: subprocess.Popen, happened, seconds: float = 60) -> None:
    """Until `happened()`, or the process has ended, or time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not happened():
        time.sleep(0.0005)


def kill_at_some_instant(process: subprocess.Popen, output: Path, checkpoints: Path, draw: random.Random) -> str:
    """Kills the process with SIGKILL at a random instant of a random phase, which is returned."""
    phase = draw.choice(["start", "steps", "checkpoint", "evaluation"])
    if phase == "start":
        time.sleep(draw.uniform(0, 6))
    elif phase == "steps":
        wait_for(process, lambda: "Epoch" in output.read_text())
        time.sleep(draw.uniform(0, 3))
    elif phase == "checkpoint":
        wait_for(process, lambda: any(checkpoints.glob("*_temp")))
        time.sleep(draw.uniform(0, 0.01))
    else:
        wait_for(process, lambda: "- loss:" in output.read_text())
        time.sleep(draw.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    return phase


def curves(logs: Path) -> dict[tuple[str, str, int], bytes]:
    """(run, tag, step) -> its value, as a reader sees it that takes the last one written."""
    values = {}
    for path in sorted(logs.rglob("events*"), key=os.path.getmtime):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag not in TIMED:
                    values[path.parent.name, value.tag, event.step] = value.tensor.SerializeToString()
    return values


@pytest.mark.subprocess
@pytest.mark.slow
def test_a_run_killed_twenty_times_equals_one_that_was_not(photographs, tmp_path):
    whole, killed = (tiny(photographs, tmp_path / name, epochs=EPOCHS, checkpoint_steps=1) for name in ("a", "b"))
    run = subprocess.run(command(whole), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    draw, output, phases = random.Random(2012), tmp_path / "output", []
    for _ in range(KILLS):
        with open(output, "w") as file:
            process = subprocess.Popen(command(killed), stdout=file, stderr=file)
        try:
            phases.append(kill_at_some_instant(process, output, tmp_path / "b" / "checkpoints", draw))
        finally:
            process.kill()
        assert process.returncode == -signal.SIGKILL, f"{phases}: {output.read_text()}"
    assert set(phases) == {"start", "steps", "checkpoint", "evaluation"}
    run = subprocess.run(command(killed), capture_output=True, text=True)
    assert run.returncode == 0 and "found a run of" in run.stdout, run.stderr

    with open(tmp_path / "a" / "metrics.csv") as one, open(tmp_path / "b" / "metrics.csv") as other:
        assert list(csv.reader(one)) == list(csv.reader(other))
    (one, _, steps), (other, _, others) = load_trained(tmp_path / "a"), load_trained(tmp_path / "b")
    assert steps == others == 3 * EPOCHS
    for expected, got in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert curves(tmp_path / "a" / "logs") == curves(tmp_path / "b" / "logs")
    assert (tmp_path / "a" / "best" / "best.json").read_text() == (tmp_path / "b" / "best" / "best.json").read_text()
    assert not list((tmp_path / "b").rglob("*_temp"))
