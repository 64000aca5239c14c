import numpy as np
import pytest

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.benchmark.memory import serving_loads, training_bytes
from keras_alexnet.benchmark.report import Report
from keras_alexnet.benchmark.timing import Times

pytestmark = pytest.mark.medium

SMALL = VARIANTS["paper"].scaled(1 / 32)


def test_a_training_step_must_hold_gradients_and_outputs():
    model = AlexNet("paper", width=1 / 8, classes=10, classifier_activation=None)
    # Of an eighth of the width: ReLU and LRN of 55 x 55 x 96, pool1, ReLU and LRN of 27 x 27 x 256, pool2, three ReLUs
    # of 13 x 13, pool5, dropout and ReLU of fc6 and fc7.
    filters = 2 * 55 * 55 * 96 + 27 * 27 * (96 + 2 * 256) + 13 * 13 * (256 + 384 + 384 + 256) + 6 * 6 * 256 + 4 * 4096
    numbers = 224 * 224 * 3 + filters / 8 + 10
    assert training_bytes(model, 3) == pytest.approx(4 * model.count_params() + 3 * 4 * numbers)


@pytest.mark.slow
def test_what_is_measured_about_serving_predicts(tmp_path):
    loads = serving_loads(SMALL, 1, str(tmp_path))
    names = ["served graph", "served graph, with decoding", "replaced by the next version"]
    assert list(loads) == [*names, "predict_images, 2 files", "predict_images, 8 files"]
    for name in names:
        assert np.asarray(loads[name].run()).shape == (1, 1000)
    assert loads["predict_images, 2 files"].run() == loads["predict_images, 2 files"].images == 2
    # Not more for four times as many.
    assert loads["predict_images, 2 files"].live == loads["predict_images, 8 files"].live
    assert loads["replaced by the next version"].live > loads["served graph"].live


def test_ratios_are_of_the_time_per_image(capsys):
    times = {"one": Times([1.0], [1.0], 7_000_000), "four": Times([2.0], [8.0], 7_000_000)}
    Report().add("memory", times, {"one": 1, "four": 4}, live={"one": 5_000_000, "four": 6_000_000})
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "four" in line)
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[-4:] == ["7", "6", "2.00", "0.50"]
