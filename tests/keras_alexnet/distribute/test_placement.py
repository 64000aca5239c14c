import math
import re
import subprocess
import sys

import pytest

from keras_alexnet import AlexNet, TowerMirroredStrategy
from keras_alexnet.distribute import strategies
from keras_alexnet.distribute.placement import placement_table, placement_text
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from tests.helpers.commands import run_command
from tests.helpers.four_devices import all_on_four_devices, on_four_devices
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.subprocess

TRAIN = ("--synthetic", "--width=0.0625", "--batch_size=6", "--steps=2")


@pytest.fixture(scope="module")
def found():
    """Name -> what functions of `four_devices` return."""
    calls = {
        "differences": ("differences",),
        "masks": ("masks",),
        "on towers": ("placement", "towers", "4"),
        "mirrored": ("placement", "mirrored", "2"),
        "towers command": ("train", "--batch_size=6", "--strategy=towers", "--devices=CPU:2,cpu:0"),
        "single command": ("train", "--batch_size=6", "--strategy=single", "--devices=CPU:1"),
        "too small a batch": ("train", "--batch_size=6"),
        "no towers": ("train", "--batch_size=6", "--strategy=towers", "--variant=torchvision"),
    }
    return dict(zip(calls, all_on_four_devices(*calls.values()), strict=True))


def test_five_steps_give_the_same_weights_wherever_they_run(found):
    differences = dict(found["differences"])
    assert differences.pop("moved") > 0.01
    assert set(differences) == {"mirrored x2", "towers x2", "towers x4"} and max(differences.values()) < 1e-5


def test_replicas_and_towers_draw_different_dropout_masks(found):
    shares = found["masks"]
    assert len(shares) == 6
    # Of 10,000 draws; the same mask would make 1.
    assert all(abs(share - 0.5) < 0.05 for share in shares.values()), shares


@pytest.mark.slow
@pytest.mark.parametrize("precision, tolerance", [("bfloat16", 0.05), ("float16", 0.01)])
def test_low_precision_learns_the_same_wherever_it_runs(precision, tolerance):
    found = on_four_devices("precision", precision)
    expected = found.pop("single x1")
    assert len(found) == 2 and expected[-1] > 0.01
    for losses in found.values():
        assert losses[:-1] == pytest.approx(expected[:-1], rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("strategy, devices", [("mirrored", "2"), ("towers", "4")])
def test_gradients_that_overflow_in_one_replica_only_change_no_weight(strategy, devices):
    found = on_four_devices("overflow", strategy, devices)
    assert math.isfinite(found["loss"]) and found["same"] and found["scale"] == 2.0**39


def test_weights_and_momentums_are_on_their_towers_device(found):
    rows = {(layer, tower): places for layer, tower, *places in found["on towers"]}
    assert rows["conv1", 0] == [["CPU:0", "CPU:2"]] * 3 and rows["conv1", 1] == [["CPU:1", "CPU:3"]] * 3
    assert rows["pool5", 1] == [["CPU:1", "CPU:3"], [], []]
    assert rows["fc8", 0] == [["CPU:0", "CPU:2"]] * 3 and ("fc8", 1) not in rows
    for layer, tower, *places in found["mirrored"]:
        assert all(devices in (["CPU:0", "CPU:1"], []) for devices in places), (layer, tower)


def test_the_placement_of_a_network_without_a_strategy_is_one_line():
    model = AlexNet(width=1 / 16, classes=2)
    text = placement_text(placement_table(model), make_strategy("single"))
    assert text.startswith("strategy single: every layer") and "\n" not in text


def test_the_train_command_tells_the_placement_once(found):
    output = found["towers command"]["stdout"]
    assert output.count("strategy towers") == 1
    assert "\nconv5             CPU:2 *  CPU:0 *\n" in output and "\nfc8               CPU:2 *\n" in output


@pytest.mark.slow
def test_all_virtual_devices_are_used_unless_one_is_named(found):
    command = [sys.executable, "-m", "keras_alexnet.train", *TRAIN, "--virtual_devices=2"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "\nstrategy mirrored: every layer and its variables on CPU:0 and CPU:1\n" in output
    assert "done after 2 steps" in output
    output = found["single command"]["stdout"]
    assert "\nstrategy single: every layer and its variables on CPU:1\n" in output
    assert "done after 2 steps" in output


def assert_one_line(run, says):
    assert run["returncode"] == 1 and run["stderr"].startswith("error: --") and says in run["stderr"]
    assert run["stderr"].count("\n") == 1


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--devices=GPU:77"], "--devices=GPU:77: there is no GPU:77; found CPU:0"),
        (
            ["--virtual_devices=1", "--strategy=mirrored"],
            "--strategy=mirrored: needs at least 2 devices; found 1 (CPU:0)",
        ),
    ],
)
def test_devices_that_are_not_enough_are_told_in_one_line(flags, says):
    assert_one_line(run_command("keras_alexnet.train", *TRAIN, *flags)._asdict(), says)


@pytest.mark.parametrize(
    "name, says",
    [
        ("too small a batch", "--batch_size=6: expected a multiple of the 4 replicas"),
        ("no towers", "--strategy=towers: expected a network with two towers; torchvision has none"),
    ],
)
def test_four_devices_that_do_not_fit_are_told_in_one_line(found, name, says):
    assert_one_line(found[name], says)


@pytest.mark.parametrize(
    "strategy, devices, says",
    [
        ("towers", "CPU:0,CPU:1,CPU:2", "strategy=towers: needs pairs of devices; found 3 (CPU:0, CPU:1, CPU:2)"),
        ("mirrored", "CPU:1", "strategy=mirrored: needs at least 2 devices; found 1 (CPU:1)"),
    ],
)
def test_the_number_of_devices_must_fit(strategy, devices, says, monkeypatch):
    monkeypatch.setattr(strategies, "device_names", lambda kind=None: [f"CPU:{index}" for index in range(4)])
    with pytest.raises(ValueError, match=re.escape(says)):
        make_strategy(strategy, devices=devices.split(","))


@pytest.mark.parametrize(
    "devices, says",
    [
        (["CPU:0", "cpu:0"], "devices=CPU:0,cpu:0: CPU:0 is named twice"),
        (["CPU:0", "CPU:9"], "devices=CPU:0,CPU:9: there is no CPU:9; found CPU:0"),
        (["GPU"], "there is no GPU; found"),
        ([""], "there is no ; found"),
    ],
)
def test_devices_that_are_not_there_or_named_twice_are_refused(devices, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        make_strategy("auto", devices=devices)


def test_virtual_devices_come_too_late_once_tensorflow_runs(photographs, tmp_path):
    with pytest.raises(ValueError, match="virtual_devices=3: TensorFlow has already started with 1 CPU device"):
        train_and_evaluate(tiny(photographs, tmp_path / "run", virtual_devices=3))


@pytest.mark.parametrize(
    "devices, says",
    [
        ([], "at least 2"),
        (["CPU:0"], "at least 2"),
        (["CPU:0"] * 2, "different devices"),
        (["CPU:0", "CPU:99"], r"^devices=\['CPU:0', 'CPU:99'\]: expected some of CPU:0"),
    ],
)
def test_towers_need_pairs_of_devices(devices, says):
    with pytest.raises(ValueError, match=says):
        TowerMirroredStrategy(devices)
