"""An experiment is run through the commands, resumed, and leaves one row per run."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_alexnet.experiments import measurement, runner
from keras_alexnet.experiments.commands import RunInterrupted
from keras_alexnet.experiments.definitions import EXPERIMENTS
from keras_alexnet.experiments.experiment import Experiment, Run
from keras_alexnet.experiments.results import curve_path, read_curve, read_results

EXPERIMENT = Experiment(
    name="trial",
    title="A trial",
    claim="b is worse than a.",
    dataset="cifar10",
    image_size=32,
    runs=(Run("a", ("--epochs=2",)), Run("b", ("--epochs=3",))),
    seeds=(0, 1),
)
METRICS = """epoch,learning_rate,loss,top1_error,val_top1_error
1,0.01,2.0,0.6,0.5
2,0.01,1.5,0.2,0.3
3,0.01,1.2,0.1,0.4
"""
ERRORS = "crops,images,top1_error\ncenter,100,0.4\nten,100,0.35\n"


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """The commands that an experiment starts; they write what the real ones would."""
    started = []

    def run_command(module, *arguments):
        flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        started.append((module, flags))
        if module == "pipelines.prepare":
            Path(flags["output_dir"]).mkdir(parents=True)
            (Path(flags["output_dir"]) / "summary.json").write_text("{}")
        elif module == "keras_alexnet.train":
            (tmp_path / flags["model_dir"] / "metrics.csv").write_text(METRICS)
        else:
            with open(flags["results_file"], "w") as file:
                file.write(ERRORS)

    monkeypatch.setattr(runner, "run_command", run_command)
    monkeypatch.setattr(measurement, "run_command", run_command)
    # Seconds that rounding in the file does not change, however slow the machine is.
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: 0.0))
    return started


def run(tmp_path, **options):
    work, results = tmp_path / "work", tmp_path / "results"
    return runner.run_experiment(EXPERIMENT, "cifar10", work, results, report=lambda line: None, **options)


def test_every_run_and_seed_gets_one_row(commands, tmp_path):
    added = run(tmp_path)
    assert [(row.run, row.seed) for row in added] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    rows = read_results(tmp_path / "results", "trial")
    assert rows == added
    row = rows[0]
    assert (row.epochs, row.images) == (3, 100)
    assert (row.center_top1_error, row.ten_crop_top1_error) == (0.4, 0.35)
    # The last epoch counts; the best one is only mentioned.
    assert (row.best_epoch, row.best_center_top1_error) == (2, 0.3)
    assert (row.train_loss, row.train_top1_error) == (1.2, 0.1)
    curve = read_curve(curve_path(tmp_path / "results", "trial", "b", 1))
    assert [row["loss"] for row in curve] == [2.0, 1.5, 1.2]
    assert [module for module, _ in commands].count("pipelines.prepare") == 1


def test_no_path_of_the_machine_is_in_the_results(commands, tmp_path):
    run(tmp_path)
    for path in (tmp_path / "results").rglob("*.csv"):
        assert str(tmp_path) not in path.read_text()


def test_finished_runs_are_not_repeated(commands, tmp_path):
    run(tmp_path, runs=["a"], seeds=[0])
    commands.clear()
    assert [(row.run, row.seed) for row in run(tmp_path, seeds=[0])] == [("b", 0)]
    assert [flags["model_dir"] for module, flags in commands if module == "keras_alexnet.train"] == [
        str(tmp_path / "work" / "trial-b-0")
    ]


def test_the_same_command_in_another_experiment_is_executed_once(commands, tmp_path, monkeypatch):
    other = dataclasses.replace(EXPERIMENT, name="other", runs=(Run("first", ("--epochs=2",)),))
    monkeypatch.setattr(runner, "EXPERIMENTS", (other, EXPERIMENT))
    work, results = tmp_path / "work", tmp_path / "results"
    (first,) = runner.run_experiment(other, "cifar10", work, results, seeds=[0])
    before = [module for module, _ in commands].count("keras_alexnet.train")
    added = run(tmp_path, runs=["a", "b"], seeds=[0])
    assert [module for module, _ in commands].count("keras_alexnet.train") == before + 1
    assert added[0] == dataclasses.replace(first, experiment="trial", run="a")
    assert read_curve(curve_path(results, "trial", "a", 0)) == read_curve(curve_path(results, "other", "first", 0))
    # Another dataset's row has the same text, since paths are not in it.
    elsewhere = dataclasses.replace(EXPERIMENT, name="elsewhere", dataset="other_data")
    assert runner._same_run(elsewhere, results, first.command, "cifar10") is None
    assert runner._same_run(EXPERIMENT, results, first.command, "cats") is None
    # Without its curve a row would be no result of the other experiment.
    for name, run_name in (("other", "first"), ("trial", "a")):
        curve_path(results, name, run_name, 0).unlink()
    assert runner._same_run(EXPERIMENT, results, first.command, "cifar10") is None


def test_runs_that_experiments_share_have_the_same_command():
    found = {e.name: e for e in EXPERIMENTS}
    for one, other in (
        ("layers/all", "regularization/both"),
        ("units/relu", "layers/all"),
        ("averaging/one", "layers/all"),
        ("pooling/overlapping", "lrn/without"),
        ("color/without", "lrn/without"),
    ):
        commands = [runner.shown_command(found[n], found[n].run(r), 0) for n, r in (one.split("/"), other.split("/"))]
        assert commands[0] == commands[1]


def test_the_networks_of_all_seeds_are_averaged_once_all_are_there(commands, tmp_path, monkeypatch):
    averaging = dataclasses.replace(
        EXPERIMENT, name="averaging", runs=(Run("one", ("--epochs=2",)), Run("both", average_of="one"))
    )
    monkeypatch.setattr(runner, "EXPERIMENTS", (EXPERIMENT, averaging))
    work, results, lines = tmp_path / "work", tmp_path / "results", []

    def run_averaging(**options):
        return runner.run_experiment(averaging, "cifar10", work, results, report=lines.append, **options)

    assert [row.key for row in run_averaging(seeds=[1])] == [("averaging", "one", 1)]
    assert lines[-1] == "averaging both: waits for one, seed 0"
    # The row of seed 0 is copied from another experiment, in whose directory the network is.
    run(tmp_path, runs=["a"], seeds=[0])
    for directory in ("trial-a-0", "averaging-one-1"):
        (work / directory / "model.json").write_text("{}")
    added = run_averaging()
    assert [row.key for row in added] == [("averaging", "one", 0), ("averaging", "both", 0)]
    module, flags = commands[-1]
    assert module == "keras_alexnet.evaluate"
    assert flags["model"] == str(work / "averaging-one-1")  # the last of two
    average = added[-1]
    assert average.command == "python -m keras_alexnet.evaluate --model=RUN_0 --model=RUN_1"
    assert (average.epochs, average.ten_crop_top1_error, average.train_top1_error) == (3, 0.35, 0.1)
    assert average in read_results(results, "averaging")
    assert not curve_path(results, *average.key).exists()
    assert run_averaging() == [] and lines[-1] == "averaging both: has a result"


def test_a_network_that_is_gone_cannot_be_averaged(commands, tmp_path, monkeypatch):
    averaging = dataclasses.replace(EXPERIMENT, runs=(Run("one"), Run("both", average_of="one")))
    monkeypatch.setattr(runner, "EXPERIMENTS", (averaging,))
    with pytest.raises(ValueError, match=r"work_dir=.*: the network of one, seed 0, is not in it"):
        runner.run_experiment(averaging, "cifar10", tmp_path / "w", tmp_path / "r", report=lambda line: None)


def test_a_row_of_another_command_is_not_taken_for_a_result(commands, tmp_path):
    run(tmp_path, runs=["a"], seeds=[0])
    with pytest.raises(ValueError, match=r"results_dir=.*a, seed 0, is of another command .*epochs=2.*epochs=9"):
        run(tmp_path, runs=["a"], seeds=[0], flags=["--epochs=9"])


def test_a_row_of_another_dataset_is_not_taken_for_a_result(commands, tmp_path):
    (row,) = run(tmp_path, runs=["a"], seeds=[0])
    assert row.dataset == "cifar10"
    work, results = tmp_path / "work", tmp_path / "results"
    with pytest.raises(ValueError, match=r"a, seed 0, is of another dataset, cifar10 .* to run this one on cats"):
        runner.run_experiment(EXPERIMENT, "folder:/data/cats", work, results, runs=["a"], seeds=[0])


def test_of_a_flag_that_is_given_twice_the_last_one_counts(commands, tmp_path):
    run(tmp_path, runs=["a"], seeds=[0], flags=["--epochs=5", "--epochs=2"])
    assert run(tmp_path, runs=["a"], seeds=[0]) == []


def test_a_flagfile_stands_for_its_flags(commands, tmp_path):
    (tmp_path / "two.flags").write_text("# comment\n--epochs=2\n")
    run(tmp_path, runs=["a"], seeds=[0], flags=[f"--flagfile={tmp_path / 'two.flags'}", "--epochs=2"])
    assert run(tmp_path, runs=["a"], seeds=[0]) == []
    # Of a file that is gone, the name counts.
    gone = [f"--flagfile={tmp_path / 'two.flags'}"]
    run(tmp_path, runs=["b"], seeds=[0], flags=gone)
    (tmp_path / "two.flags").unlink()
    assert run(tmp_path, runs=["b"], seeds=[0], flags=gone) == []
    with pytest.raises(ValueError, match="is of another command"):
        run(tmp_path, runs=["b"], seeds=[0], flags=["--flagfile=gone2.flags"])


def test_the_time_of_an_interrupted_run_is_the_sum_of_its_attempts(commands, tmp_path, monkeypatch):
    real, attempts = runner.run_command, []

    def interrupted_once(module, *arguments):
        if module == "keras_alexnet.train" and not attempts:
            attempts.append(module)
            raise RunInterrupted
        real(module, *arguments)

    clock = iter(range(0, 100_000, 3600))
    monkeypatch.setattr(runner.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(runner, "run_command", interrupted_once)
    with pytest.raises(RunInterrupted):
        run(tmp_path, runs=["a"], seeds=[0])
    assert read_results(tmp_path / "results", "trial") == []
    (row,) = run(tmp_path, runs=["a"], seeds=[0])
    assert row.hours == pytest.approx(2)


HALVES = Experiment(
    name="halves",
    title="Halves",
    claim="Pre-training helps.",
    dataset="cifar10",
    image_size=32,
    runs=(Run("scratch", subset="b"), Run("first", subset="a"), Run("tuned", subset="b", init_from="first")),
    subsets={"a": ("cat", "dog"), "b": ("ant",)},
)


def test_a_run_on_a_subset_starts_from_an_earlier_one(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_train", lambda run_dir, arguments, report: trained(run_dir, arguments))
    arguments_of = {}

    def trained(run_dir, arguments):
        arguments_of[run_dir.name] = arguments
        run_dir.mkdir(parents=True)
        (run_dir / "metrics.csv").write_text(METRICS)
        (run_dir / "seconds.csv").write_text("1,1\n")
        (run_dir / "model.json").write_text("{}")

    work, results = tmp_path / "work", tmp_path / "results"
    options = {"report": lambda line: None}
    with pytest.raises(ValueError, match=r"^runs=tuned: starts from the network of first, seed 0; .* runs=first first"):
        runner.run_experiment(HALVES, "cifar10", work, results, runs=["tuned"], **options)
    rows = runner.run_experiment(HALVES, "cifar10", work, results, **options)
    data = work / "data-cifar10-32-halves-b"
    assert arguments_of["halves-tuned-0"] == [
        *("--seed=0", f"--dataset={data}", f"--init_from={work / 'halves-first-0'}")
    ]
    assert data.with_name(f"{data.name}.txt").read_text() == "ant\n"
    prepared = [flags for module, flags in commands if module == "pipelines.prepare"]
    assert {flags["output_dir"]: flags["classes_file"] for flags in prepared} == {
        str(work / f"data-cifar10-32-halves-{subset}"): str(work / f"data-cifar10-32-halves-{subset}.txt")
        for subset in ("a", "b")
    }
    assert rows[-1].command == (
        "python -m keras_alexnet.train --seed=0 --dataset=DATASET_b --init_from=RUN_first --model_dir=RUN"
    )


def test_nine_crops_are_in_the_row_of_networks_that_have_them(commands, tmp_path, monkeypatch):
    run(tmp_path, runs=["a"], seeds=[0])
    monkeypatch.setitem(globals(), "ERRORS", f"{ERRORS}nine,100,0.36\n")
    run(tmp_path, runs=["b"], seeds=[0])
    without, with_nine = read_results(tmp_path / "results", "trial")
    assert without.nine_crop_top1_error is None and with_nine.nine_crop_top1_error == 0.36


def test_unknown_runs_are_named():
    with pytest.raises(ValueError, match="runs=c: expected some of a, b"):
        EXPERIMENT.run("c")
