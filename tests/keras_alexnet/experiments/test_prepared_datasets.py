"""The dataset of an experiment: prepared as it says, or already prepared."""

import pytest

from keras_alexnet.experiments import runner
from keras_alexnet.experiments.experiment import Experiment, Run

EXPERIMENT = Experiment(
    name="trial",
    title="A trial",
    claim="None.",
    dataset="cifar10",
    image_size=32,
    runs=(Run("a", subset="a"),),
    subsets={"a": ("cat", "dog")},
)


@pytest.fixture
def commands(monkeypatch):
    """The commands that are started, which do nothing."""
    started = []

    def run_command(module, *arguments):
        started.append((module, dict(argument.removeprefix("--").split("=", 1) for argument in arguments)))

    monkeypatch.setattr(runner, "run_command", run_command)
    return started


@pytest.mark.parametrize("size", [32, 256])
def test_images_of_another_size_than_the_experiment_says_are_refused(size, tmp_path):
    assert runner.check_prepared_size(EXPERIMENT, "cifar10") is None
    (tmp_path / "summary.json").write_text(f'{{"size": {size}}}')
    if size == EXPERIMENT.image_size:
        runner.check_prepared_size(EXPERIMENT, str(tmp_path))
    else:
        with pytest.raises(ValueError, match=r"dataset=.*: has images of 256 pixels; expected 32, as trial says"):
            runner.check_prepared_size(EXPERIMENT, str(tmp_path))


def test_a_subset_of_a_prepared_dataset_has_its_size(commands, tmp_path):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "summary.json").write_text('{"size": 40, "resize": "warp"}')
    runner.prepared_dataset(EXPERIMENT, str(prepared), tmp_path / "work", None, "a")
    ((_, flags),) = commands
    assert (flags["size"], flags["resize"], flags["dataset"]) == ("40", "warp", str(prepared))


def test_a_prepared_dataset_is_used_as_it_is(commands, tmp_path):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "summary.json").write_text("{}")
    assert runner.prepared_dataset(EXPERIMENT, str(prepared), tmp_path / "work", None) == prepared
    assert not commands


def test_a_dataset_is_prepared_at_the_size_of_the_experiment(commands, tmp_path):
    prepared = runner.prepared_dataset(EXPERIMENT, "cifar10", tmp_path / "work", "elsewhere")
    flags = {"dataset": "cifar10", "size": "32", "output_dir": str(prepared), "data_dir": "elsewhere"}
    assert commands == [("pipelines.prepare", flags)]
