"""The command that compares networks."""

import dataclasses
import os
import shutil
import signal

import pytest

from keras_alexnet.experiments import costs, runner
from keras_alexnet.experiments.comparison import parse_entry
from keras_alexnet.experiments.results import Result, read_results, write_result
from tests.helpers.commands import run_command
from tests.helpers.small_network import NAME


def test_a_directory_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("")
    flags = ["--networks=paper", "--dataset=cifar10", f"--results_dir={tmp_path / 'file' / 'results'}"]
    finished = run_command("keras_alexnet.compare", *flags)
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1
    assert "expected a directory that can be written" in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--learning_rates=paper"],
        ["--learning_rates=0.1"],
        ["--seeds=a"],
        ["--networks=none"],
        ["--networks=resnet_20+survival=2"],
    ],
)
def test_wrong_flags_are_one_line(tmp_path, arguments):
    flags = ["--networks=paper", "--dataset=cifar10", f"--work_dir={tmp_path}", f"--output_dir={tmp_path}"]
    finished = run_command("keras_alexnet.compare", *flags, *arguments)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1 and "expected" in finished.stderr


@pytest.fixture
def prepared(tmp_path, photographs):
    """A prepared dataset of 16 pixels, and the other flags of the command."""
    run_command(
        "pipelines.prepare", f"--dataset=folder:{photographs}", "--size=16", f"--output_dir={tmp_path / 'data'}"
    )
    return [
        f"--dataset={tmp_path / 'data'}",
        "--epochs=1",
        "--train_flag=--batch_size=4",
        f"--work_dir={tmp_path / 'runs'}",
        f"--results_dir={tmp_path / 'out'}",
    ]


def run_name(text):
    return parse_entry(text).run_name


def fake_training(monkeypatch, fails=()):
    """Networks are neither trained nor measured; returns the runs that would be."""
    done = []

    def run_experiment(experiment, *paths, data_dir, runs, seeds, flags):
        if runs[0] in fails:
            raise ValueError("keras_alexnet.train ended with exit code 1; see above")
        done.append((runs[0], seeds[0]))

    monkeypatch.setattr(runner, "run_experiment", run_experiment)
    monkeypatch.setattr(costs, "measure_costs", lambda entry, *_: done.append((entry.text, "measured")))
    return done


@pytest.mark.medium
def test_a_network_is_measured_before_the_next_is_trained_and_a_failure_does_not_stop_the_others(prepared, monkeypatch):
    changed = f"{NAME}+cutout=4"
    done = fake_training(monkeypatch, fails=[run_name(changed)])
    finished = run_command("keras_alexnet.compare", f"--networks={NAME},{changed}", "--seeds=0,1", *prepared)
    assert done == [(run_name(NAME), 0), (NAME, "measured"), (run_name(NAME), 1), (NAME, "measured")]
    assert finished.returncode == 1
    assert finished.stderr.splitlines() == [
        f"failed: {changed}, seed {seed}: keras_alexnet.train ended with exit code 1; see above" for seed in (0, 1)
    ]


def test_a_network_that_is_too_large_for_the_images_is_refused_before_any_is_trained(prepared, monkeypatch):
    done = fake_training(monkeypatch)
    finished = run_command("keras_alexnet.compare", f"--networks={NAME},resnet_20", *prepared)
    assert finished.returncode == 1 and not done
    assert "--networks=resnet_20: takes images of 32 pixels; expected 16, as in" in finished.stderr


def test_a_network_that_takes_whole_images_is_not_trained_on_larger_ones(prepared, monkeypatch):
    done = fake_training(monkeypatch)
    flags = ["--networks=resnet_20+image_size=8+width=0.25", *prepared]
    finished = run_command("keras_alexnet.compare", *flags)
    assert finished.returncode == 1 and not done
    assert "takes images of 8 pixels; expected 16, as in" in finished.stderr
    # What it costs does not depend on the images.
    assert run_command("keras_alexnet.compare", *flags, "--epochs=0").returncode == 0 and done


def test_images_without_a_validation_split_are_refused_before_any_network_is_trained(
    prepared, photographs, tmp_path, monkeypatch
):
    done = fake_training(monkeypatch)
    shutil.copytree(photographs / "train", tmp_path / "photographs" / "train")
    flags = [f"--networks={NAME}", *prepared, f"--dataset=folder:{tmp_path / 'photographs'}"]
    finished = run_command("keras_alexnet.compare", *flags)
    assert finished.returncode == 1 and not done
    assert "has no validation split; expected one, such as" in finished.stderr


@pytest.mark.parametrize("name", ["comparison_data.csv", "comparison_data_costs.csv"])
def test_damaged_tables_are_named_before_any_network_is_trained(prepared, tmp_path, monkeypatch, name):
    done = fake_training(monkeypatch)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("a,b\n1,2\n")
    finished = run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared)
    assert finished.returncode == 1 and not done
    assert f"{name}: found columns a, b; expected" in finished.stderr


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--batch_size=0", "batch_size=0: expected"),
        ("--batch_size=many", "batch_size=many"),
        ("--batchsize=4", "--batchsize=4: expected --name=value with a flag of keras_alexnet.train"),
        ("batch_size=4", "batch_size=4: expected --name=value"),
        ("--networks=paper", "--networks=paper: expected"),
        ("--flagfile=none.flags", "none.flags: no such file"),
        ("--schedule=none", "schedule=none: expected"),
    ],
)
def test_wrong_flags_of_training_are_refused_before_any_network_is_trained(prepared, monkeypatch, flag, says):
    done = fake_training(monkeypatch)
    finished = run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared, f"--train_flag={flag}")
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1 and not done
    assert says in finished.stderr
    # Networks that are only measured are not trained with them.
    assert run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared, "--epochs=0").returncode == 0


def test_another_dataset_of_the_same_name_is_refused(prepared, tmp_path, monkeypatch):
    done = fake_training(monkeypatch)
    numbers = (0, 1, 500, 0.2, 0.18, 1, 0.2, 1.5, 0.2, None, 0.5, 0.9)
    earlier = Result("comparison_data", "paper", *numbers, "", "abc1234", "a processor", "2026-11-28")
    write_result(tmp_path / "out", earlier, None)
    finished = run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared)
    assert finished.returncode == 1 and not done
    assert "has results on 500 validation images" in finished.stderr and "another dataset" in finished.stderr
    (tmp_path / "metrics.csv").write_text("epoch,loss,top1_error,val_top1_error\n1,1.5,0.2,0.2\n")
    write_result(tmp_path / "out", dataclasses.replace(earlier, images=9), tmp_path / "metrics.csv")
    assert run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared).returncode == 0 and done


def test_sigterm_while_a_network_is_measured_ends_the_command_in_order(prepared, monkeypatch):
    fake_training(monkeypatch)
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(costs, "measure_costs", lambda *_: signal.raise_signal(signal.SIGTERM))
    finished = run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared)
    assert (finished.returncode, finished.stderr) == (143, "")
    assert "interrupted; run the same command again to resume" in finished.stdout
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.slow
def test_networks_are_measured_without_training(prepared, tmp_path, monkeypatch, unchecked):
    monkeypatch.setattr(runner, "run_experiment", None)
    finished = run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared, "--epochs=0")
    assert finished.returncode == 0, finished.stderr
    assert "recipe only" in finished.stdout
    (row,) = costs.read_costs(tmp_path / "out", "comparison_data").values()
    assert (row.network, row.classes, row.image_size, row.parameters) == (NAME, 3, 16, 3 * (16 * 16 * 3 + 1))
    assert row.multiply_adds == 3 * 16 * 16 * 3
    assert min(row.ms_center, row.ms_ten_crop, row.cpu_ms_center, row.export_mb) > 0
    # Measured once.
    monkeypatch.setattr(costs, "_measure", None)
    assert run_command("keras_alexnet.compare", f"--networks={NAME}", *prepared, "--epochs=0").returncode == 0


@pytest.mark.slow
@pytest.mark.subprocess
def test_networks_are_trained_exported_and_measured(prepared, tmp_path, monkeypatch):
    """The whole command, with two networks and one epoch; the second time nothing is trained."""
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    names = [NAME, f"{NAME}+cutout=4"]
    first = run_command("keras_alexnet.compare", f"--networks={','.join(names)}", *prepared)
    assert first.returncode == 0, first.stderr
    assert [row.run for row in read_results(tmp_path / "out", "comparison_data")] == [run_name(name) for name in names]
    assert [row.network for row in costs.read_costs(tmp_path / "out", "comparison_data").values()] == names
    monkeypatch.setattr(runner, "run_command", None)
    assert run_command("keras_alexnet.compare", f"--networks={','.join(names)}", *prepared).returncode == 0
