import csv
import math
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.benchmark import strategies
from keras_alexnet.benchmark.plain_ops import plain_step
from keras_alexnet.benchmark.report import Report
from keras_alexnet.benchmark.strategies import training_flop
from keras_alexnet.benchmark.timing import Contender, Times, interleaved
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
    times = interleaved({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=3)
    assert "".join(turns) == "ab" * 5 and set(times) == {"a", "b"}
    assert len(times["a"].clock) == len(times["a"].processor) == 3


def test_the_start_of_a_contender_is_not_timed_and_its_memory_is_its_own(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def start() -> None:
        now[0] += 10

    def allocate(_: object) -> object:
        now[0] += 1
        return float(np.ones(16_000_000).sum())

    times = interleaved({"large": Contender(allocate, start), "small": lambda: 0}, repeats=1)
    assert times["large"].clock == [1.0]
    if times["large"].memory is not None:  # Linux
        assert times["large"].memory > 64e6 > times["small"].memory


def test_a_report_is_a_table_a_csv_file_and_a_figure(tmp_path, capsys):
    report = Report(str(tmp_path / "new"), peak=100.0)
    times = {"first": Times([2.0, 2.0, 4.0], [4.0, 4.0, 4.0]), "second": Times([1.0] * 3, [1.0] * 3, 5_000_000)}
    report.add("a network", times, images=8, flop=1e9)
    written = report.write("a processor\nversions")
    printed = capsys.readouterr().out
    assert "a network" in printed and "second" in printed
    assert written[0] == tmp_path / "new" / "benchmark.csv"
    about, versions, *lines = written[0].read_text("utf-8").splitlines()
    assert (about, versions) == ("# a processor", "# versions")
    second = list(csv.DictReader(lines))[1]
    expected = {"images/s": "8.0", "GFLOP/CPU s": "8", "of peak": "8%", "MB": "5", "ratio": "2.00", "CPU ratio": "4.00"}
    assert {key: second[key] for key in expected} == expected
    if len(written) == 2:  # matplotlib is installed
        assert written[1].read_bytes().startswith(b"\x89PNG")


def test_a_weight_that_is_not_a_number_is_a_difference():
    zeros, wrong = np.zeros(2), np.array([0, math.nan])
    assert math.isnan(strategies._largest_difference([zeros, wrong], [zeros, zeros]))


def test_a_training_step_has_the_operations_of_the_papers_network():
    # 724.4 million multiply-adds forward; backward twice as many, without conv1's gradient to the image.
    assert training_flop(VARIANTS["paper"]) == pytest.approx(2 * (3 * 724.4e6 - 105.4e6), rel=0.01)


@pytest.mark.slow  # test_the_plain_step_does_the_work_of_the_network takes a step of each variant
def test_every_contender_takes_a_step():
    for step in training_steps(VARIANTS["paper"].scaled(1 / 32), batch=2, peers=True).values():
        assert np.isfinite(np.asarray(step()))


@pytest.mark.parametrize("name", ["paper", "caffe", "torchvision"])
def test_peers_have_the_parameters_of_the_network(name):
    from keras_alexnet.benchmark.keras_network import keras_network

    variant = VARIANTS[name].scaled(1 / 16)
    expected = AlexNet(variant, classes=10).count_params()
    assert keras_network(variant, 10).count_params() == expected
    pytest.importorskip("torch")
    from keras_alexnet.benchmark.torch_network import torch_network

    assert sum(values.numel() for values in torch_network(variant, 10).parameters()) == expected


COMMAND = [sys.executable, "-m", "keras_alexnet.benchmark", "--part=strategies", "--width=0.03125", "--repeats=1"]


@pytest.mark.slow
@pytest.mark.subprocess
def test_strategies_are_compared_by_one_command():
    run = subprocess.run([*COMMAND, "--virtual_devices=2", "--batch=4"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == ""
    for title in ("mirrored x2", "towers x2"):
        assert re.search(rf"{title}: weights differ by at most \S+ \(tolerance 1e-05\): equal", run.stdout)
        # The table of step times.
        assert re.search(rf"│ {title} +│ +[\d.]+ │", run.stdout)
    assert "strategy mirrored: every layer and its variables on CPU:0 and CPU:1" in run.stdout
    assert "\nconv1             CPU:0 *  CPU:1 *\n" in run.stdout


@pytest.mark.slow
def test_strategies_that_differ_end_the_command_with_an_error(monkeypatch, capsys):
    chosen = {"single": tf.distribute.get_strategy(), "mirrored x1": tf.distribute.MirroredStrategy(["CPU:0"])}
    monkeypatch.setattr(strategies, "strategies", lambda devices, towers: chosen)
    found = {"mirrored x2": 2e-5, "towers x2": math.nan, "towers x4": 1e-6}
    monkeypatch.setattr(strategies, "weight_differences", lambda *arguments: (0.1, found))
    monkeypatch.setattr(strategies, "training_input_rate", lambda batch: 1e-3)
    variant = VARIANTS["paper"].scaled(1 / 32)
    assert not strategies.report_strategies(
        variant, "small", batch=2, repeats=1, devices=["CPU:0", "CPU:1"], report=Report()
    )
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "tolerance" in line]
    assert [line.endswith("NOT EQUAL") for line in lines] == [True, True, False]
    assert "scaling, 0.0" in printed and "64, 100 Gbit/s" in printed
    assert "0 images/s of input per machine" in " ".join(printed.split())
    assert "input" in printed.split("8, NVLink 3")[1].splitlines()[0]


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize(
    "flags, says",
    [
        (["--virtual_devices=1"], "--part=strategies: needs at least 2 devices; found 1 (CPU:0)"),
        (["--virtual_devices=3", "--batch=4"], "--batch=4: expected a multiple of the 3 replicas of mirrored x3"),
        (["--devices=GPU:77"], "--devices=GPU:77: there is no GPU:77"),
        (
            ["--part=serving", "--server=127.0.0.1:1", "--peers"],
            "--peers is for --part=train, inference, input or all; found --part=serving",
        ),
        (
            ["--part=train", "--virtual_devices=2"],
            "--virtual_devices is for --part=strategies or all; found --part=train",
        ),
    ],
)
def test_strategies_that_cannot_be_compared_are_told_in_one_line(flags, says):
    run = subprocess.run([*COMMAND, *flags], capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.startswith("error: --") and says in run.stderr
    assert run.stderr.count("\n") == 1
