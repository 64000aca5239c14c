import math
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.benchmark import strategies
from keras_alexnet.benchmark.plain_ops import plain_step
from keras_alexnet.benchmark.timing import interleaved
from keras_alexnet.benchmark.training import training_steps

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("name", ["paper", "source2012", "caffe", "torchvision", "non_overlapping", "tanh"])
def test_the_plain_step_does_the_work_of_the_network(name):
    variant = VARIANTS[name].scaled(1 / 16)
    side = variant.crop_size
    images = tf.random.stateless_normal([2, side, side, 3], [0, 0]) * 50
    step = plain_step(variant, 10, images, tf.constant([0, 1]))
    assert float(step()) == pytest.approx(np.log(10), abs=0.1)
    variables = step.get_concrete_function().variables
    # Weights and momentums.
    assert sum(int(tf.size(v)) for v in variables) == 2 * AlexNet(variant, classes=10).count_params()


def test_contenders_take_turns_and_two_rounds_do_not_count():
    turns = []
    medians = interleaved({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=3)
    assert "".join(turns) == "ab" * 5 and set(medians) == {"a", "b"}


def test_every_contender_takes_a_step():
    for step in training_steps(VARIANTS["paper"].scaled(1 / 32), batch=2).values():
        assert np.isfinite(np.asarray(step()))


COMMAND = [sys.executable, "-m", "keras_alexnet.benchmark", "--part=strategies", "--width=0.03125", "--repeats=1"]


@pytest.mark.slow
@pytest.mark.subprocess
def test_strategies_are_compared_by_one_command():
    run = subprocess.run([*COMMAND, "--virtual_devices=2", "--batch=4"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == ""
    for title in ("mirrored x2", "towers x2"):
        assert re.search(rf"{title}: weights differ by at most \S+ \(tolerance 1e-05\): equal", run.stdout)
        # The table of step times.
        assert re.search(rf"│ {title} +│ +\d+ │", run.stdout)
    assert "strategy mirrored: every layer and its variables on CPU:0 and CPU:1" in run.stdout
    assert "\nconv1             CPU:0 *  CPU:1 *\n" in run.stdout


def test_strategies_that_differ_end_the_command_with_an_error(monkeypatch, capsys):
    monkeypatch.setattr(strategies, "strategies", lambda devices, towers: {"single": tf.distribute.get_strategy()})
    found = {"mirrored x2": 2e-5, "towers x2": math.nan, "towers x4": 1e-6}
    monkeypatch.setattr(strategies, "weight_differences", lambda *arguments: (0.1, found))
    variant = VARIANTS["paper"].scaled(1 / 32)
    assert not strategies.report_strategies(variant, "small", batch=2, repeats=1, devices=["CPU:0", "CPU:1"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "tolerance" in line]
    assert [line.endswith("NOT EQUAL") for line in lines] == [True, True, False]


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize(
    "flags, says",
    [
        (["--virtual_devices=1"], "--part=strategies needs at least 2 devices; found 1 (CPU:0)"),
        (["--virtual_devices=3", "--batch=4"], "--batch=4; expected a multiple of the 3 replicas of mirrored x3"),
        (["--devices=GPU:77"], "--devices=GPU:77: there is no GPU:77"),
        (["--part=train", "--virtual_devices=2"], "--virtual_devices is for --part=strategies; found --part=train"),
    ],
)
def test_strategies_that_cannot_be_compared_are_told_in_one_line(flags, says):
    run = subprocess.run([*COMMAND, *flags], capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.startswith("error: --") and says in run.stderr
    assert run.stderr.count("\n") == 1
