"""Networks under equal conditions."""

import csv

import keras
import pytest

from keras_alexnet.experiments import comparison, runner
from keras_alexnet.experiments.comparison import Row
from tests.helpers.commands import run_command

ROW = Row("resnet_20", 2, 0.2, 0.18, 0.1, 269_722, 40_000_000, 1.5, 3.25, 1.25, 0.5, 0.1, None, 0.0875)


def test_all_networks_have_the_same_flags_but_their_learning_rate_and_crops():
    experiment = comparison.comparison(["resnet_20", "paper"], "cifar10", 20)
    resnet, paper = experiment.runs
    assert experiment.flags == ("--batch_size=128", "--schedule=step", "--step_epochs=10,15", "--epochs=20")
    assert resnet.flags == ("--network=resnet_20", "--learning_rate=0.1", "--augmentation=pad4")
    assert paper.flags == ("--network=paper", "--learning_rate=0.01", "--augmentation=crop")
    assert experiment.image_size == 256


def test_learning_rates_of_single_networks_can_be_chosen():
    (run,) = comparison.comparison(["resnet_20"], "cifar10", 1, {"resnet_20": 0.05}).runs
    assert "--learning_rate=0.05" in run.flags


@pytest.mark.parametrize("epochs, steps", [(300, "150,225"), (4, "2,3"), (1, "1")])
def test_the_rate_is_divided_at_a_half_and_at_three_quarters(epochs, steps):
    assert f"--step_epochs={steps}" in comparison.comparison(["resnet_20"], "cifar10", epochs).flags


@pytest.mark.parametrize(
    "names, rates, says",
    [
        (["resnet_21"], {}, "network=resnet_21: expected one of"),
        ([], {}, "networks=: expected different names"),
        (["paper", "paper"], {}, "networks=paper,paper: expected different names"),
        (["paper"], {"resnet_20": 1.0}, "learning_rates=resnet_20: expected some of paper"),
    ],
)
def test_what_cannot_be_compared_is_named(names, rates, says):
    with pytest.raises(ValueError, match=says):
        comparison.comparison(names, "cifar10", 1, rates)


def test_names_become_file_names():
    assert comparison.run_name("keras.applications.ResNet50") == "keras_applications_ResNet50"


def test_the_csv_file_has_every_column(tmp_path):
    (row,) = csv.DictReader(comparison.csv_text([ROW]).splitlines())
    assert tuple(row) == comparison.COLUMNS
    assert row["network"] == "resnet_20" and row["survey_error"] == "" and row["authors_error"] == "0.0875"


@pytest.mark.parametrize("arguments", [["--learning_rates=paper"], ["--seeds=a"], ["--networks=none"]])
def test_wrong_flags_are_one_line(tmp_path, arguments):
    flags = ["--networks=paper", "--dataset=cifar10", f"--work_dir={tmp_path}", f"--output_dir={tmp_path}"]
    finished = run_command("keras_alexnet.compare", *flags, *arguments)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1 and "expected" in finished.stderr


def test_a_figure_has_a_panel_for_each_cost():
    pytest.importorskip("matplotlib")
    from keras_alexnet import plots

    errors, values = {"a": 0.2, "b": 0.1}, {"a": 10, "b": 200}
    figure = plots.comparison_figure(errors, {"parameters": values, "size (MB)": values, "time": values})
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[:3] == ["parameters", "size (MB)", "time"]
    with pytest.raises(ValueError, match="at least one network"):
        plots.comparison_figure({}, {})


def small(classes, image_size=16, classifier_activation="softmax"):
    """A network of the user's."""
    images = keras.Input((image_size, image_size, 3))
    outputs = keras.layers.Dense(classes, classifier_activation)(keras.layers.Flatten()(images))
    return keras.Model(images, outputs)


@pytest.mark.slow
@pytest.mark.subprocess
def test_networks_are_trained_exported_and_measured(photographs, tmp_path, monkeypatch):
    """The whole command, with two networks and one epoch; the second time nothing is trained."""
    monkeypatch.setenv("PYTHONPATH", ".")
    names = ["tests.keras_alexnet.experiments.test_comparison:small", "squeezenet_cifar"]
    flags = [
        f"--networks={','.join(names)}",
        f"--dataset=folder:{photographs}",
        "--epochs=1",
        "--train_flag=--batch_size=4",
        f"--work_dir={tmp_path / 'runs'}",
        f"--output_dir={tmp_path / 'out'}",
    ]
    first = run_command("keras_alexnet.compare", *flags)
    assert first.returncode == 0, first.stderr
    with open(tmp_path / "out" / "networks.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == names
    assert all(float(row["cpu_ms_center"]) > 0 and float(row["export_mb"]) > 0 for row in rows)
    monkeypatch.setattr(runner, "run_command", None)
    assert run_command("keras_alexnet.compare", *flags).returncode == 0
