"""Weights of the classes: their values, their file, and the weighted training loss."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.pretrained import load_network
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.class_weights import balanced_weights, count_images, read_class_weights
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.preparation.prepare import prepare
from tests.helpers import weighted_classes as weighted
from tests.helpers.four_devices import on_four_devices
from tests.helpers.tiny_training import tiny

NAMES = ("ant", "bee, honey", "cat")
# Compiled in a moment.
SMALL = {"network": "figure1_convnet"}


@pytest.fixture(scope="module")
def uneven(photographs, tmp_path_factory):
    """The photographs, with fewer training images of two classes: 8 blue, 4 green, 2 red."""
    folder = shutil.copytree(photographs, tmp_path_factory.mktemp("uneven") / "folder")
    for name, kept in (("green", 4), ("red", 2)):
        for number in range(kept, 8):
            (folder / "train" / name / f"{number}.jpg").unlink()
    return folder


@pytest.fixture(scope="module")
def uneven_prepared(uneven, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uneven") / "prepared"
    prepare(open_source(f"folder:{uneven}"), directory)
    return directory


def test_balanced_weights_are_inversely_proportional_with_a_mean_of_one_over_the_images():
    counts = [30, 10, 0, 60]
    weights = balanced_weights(counts)
    assert weights[1] == pytest.approx(3 * weights[0]) and weights[0] == pytest.approx(2 * weights[3])
    assert np.dot(weights, counts) / sum(counts) == pytest.approx(1)
    assert weights[2] == 1.0, "no image uses it"


def test_images_are_counted_without_those_that_training_leaves_out(uneven):
    source = open_source(f"folder:{uneven}")
    assert count_images(source) == [8, 4, 2]
    assert count_images(source, ["train/red/0.jpg", "train/blue/3.jpg"]) == [7, 4, 1]


@pytest.mark.parametrize(
    "text",
    [
        'cat,2\n"bee, honey",0.5\nant, 1e0\n',
        "class\tweight\nant\t1\n\nbee, honey\t.5\n cat\t2\n",
        '\ufeffName,Weight\r\nant,1\r\n"bee, honey",0.5\r\ncat,2',
    ],
)
def test_a_file_names_each_class_once_in_any_order(tmp_path, text):
    (tmp_path / "weights").write_text(text, encoding="utf-8", newline="")
    assert read_class_weights(tmp_path / "weights", NAMES) == (1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    "text, says",
    [
        ("ant\t1\ncow\t1", "line 2: found class 'cow'; expected one of 'ant', 'bee, honey', 'cat'"),
        ("ant\t1\ncat\t2", "found no weight of 'bee, honey'; expected each class once"),
        ("ant\t1\nant\t2", "line 2: found 'ant' again; expected each class once"),
        ("ant\t1\ncat\tnan", "line 2: found the weight 'nan'; expected a number above 0"),
        ("ant\tinf", "line 1: found the weight 'inf'"),
        ("ant\t0", "line 1: found the weight '0'"),
        ("ant\t-1", "line 1: found the weight '-1'"),
        ("ant\tmuch", "line 1: found the weight 'much'"),
        ("ant,1\nbee, honey,1", "line 2: expected a class and its weight"),
        ("ant", "line 1: expected a class and its weight"),
        ("", "found no weight of 'ant', 'bee, honey', 'cat'"),
    ],
)
def test_a_file_with_other_contents_is_refused(tmp_path, text, says):
    path = tmp_path / "weights.tsv"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        read_class_weights(path, NAMES)
    assert str(error.value).startswith(f"class_weights={path}: {says}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for content, says in ((None, "a directory, not a regular file"), (b"\xff\xfe\x00", "not a text file")):
        path = tmp_path if content is None else tmp_path / "binary"
        if content:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^class_weights=.*: {says}.*; expected none, auto, or a file of lines"):
            read_class_weights(path, NAMES)


def test_each_images_loss_has_the_weight_of_its_class():
    steps = weighted.steps(tf.distribute.get_strategy())
    steps.take(iter([(weighted.X, weighted.LABELS)]), [1.0])
    loss, kernel = weighted.after_one_step()
    assert float(steps.sums[0]) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(steps.model.get_weights()[0], kernel, atol=1e-6)


@pytest.mark.slow
@pytest.mark.subprocess
def test_the_weighted_step_is_the_same_wherever_it_runs():
    loss, kernel = weighted.after_one_step()
    found = on_four_devices("class_weights")
    assert set(found) == {"single x1", "mirrored x2", "towers x4"}
    for sum_of_losses, weights in found.values():
        assert sum_of_losses == pytest.approx(loss, rel=1e-6)
        np.testing.assert_allclose(weights, kernel, atol=1e-6)


@pytest.mark.medium
def test_a_run_records_its_weights_and_resumes_exactly(uneven_prepared, tmp_path):
    options = SMALL | {"batch_size": 7, "epochs": 2, "class_weights": "auto", "label_smoothing": 0.1}
    train_and_evaluate(tiny(uneven_prepared, tmp_path / "whole", **options))
    for steps in (1, 4):
        train_and_evaluate(tiny(uneven_prepared, tmp_path / "parts", **options, steps=steps))
    whole, parts = (load_network(tmp_path / name) for name in ("whole", "parts"))
    for expected, found in zip(whole.model.get_weights(), parts.model.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    saved = RunDirectory(tmp_path / "parts").config
    assert saved.class_weights == "auto"
    assert saved.class_weight_values == pytest.approx((14 / 24, 14 / 12, 14 / 6))
    assert json.loads((tmp_path / "parts" / "model.json").read_text())["class_weight_values"][2] == 14 / 6
    assert whole.training["class_weights"] == "auto"
    with pytest.raises(ValueError, match=r"^class_weights=none: the run in .* was started with auto"):
        train_and_evaluate(tiny(uneven_prepared, tmp_path / "parts", **options | {"class_weights": "none"}))


@pytest.mark.medium
def test_a_resumed_run_refuses_a_file_that_has_changed(uneven_prepared, tmp_path):
    path = tmp_path / "weights.csv"
    path.write_text("blue,1\ngreen,2\nred,4\n")
    config = tiny(uneven_prepared, tmp_path / "run", **SMALL, steps=1, class_weights=str(path))
    train_and_evaluate(config)
    assert RunDirectory(tmp_path / "run").config.class_weight_values == (1, 2, 4)
    path.write_text("blue,1\ngreen,2\nred,5\n")
    with pytest.raises(ValueError, match=r"^class_weights=.*csv: the run in .* was started with other weights"):
        train_and_evaluate(dataclasses.replace(config, steps=2))


def test_noise_has_no_classes_to_weigh():
    config = dataclasses.replace(tiny("", "", synthetic=True, class_weights="auto"), dataset=None, model_dir=None)
    with pytest.raises(ValueError, match=r"^class_weights=auto: has no effect on synthetic images"):
        train_and_evaluate(config)
