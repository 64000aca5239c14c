"""python -m keras_alexnet.experiments {list,run,report}."""

import pytest

from keras_alexnet.experiments import runner
from keras_alexnet.experiments.commands import RunInterrupted
from keras_alexnet.experiments.definitions import EXPERIMENTS
from tests.helpers.commands import run_command

MODULE = "keras_alexnet.experiments.__main__"


def test_list_names_every_experiment_with_its_claim_and_its_results(tmp_path):
    finished = run_command(MODULE, "list", f"--results_dir={tmp_path}")
    assert finished.returncode == 0
    for experiment in EXPERIMENTS:
        assert f"{experiment.name}: {experiment.title}" in finished.stdout
        assert experiment.claim in finished.stdout
    assert "0 of 21 results" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "expected list, run NAME or report; found nothing"),
        (["run"], "expected list, run NAME or report; found run"),
        (["list", "lrn"], "expected list, run NAME or report; found list lrn"),
        (["run", "lern"], "experiment=lern: expected one of imagenette"),
        (["run", "lrn", "--seeds=one"], "--seeds=one: expected integers from 0"),
        (["run", "lrn", "--runs=with,without,none"], "--runs=none: expected some of without, with, wider"),
    ],
)
def test_what_cannot_be_run_is_one_line(arguments, reason, tmp_path):
    finished = run_command(MODULE, *arguments, f"--results_dir={tmp_path}", f"--work_dir={tmp_path / 'work'}")
    assert finished.returncode == 1
    assert reason in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_a_report_needs_a_directory_of_results(tmp_path):
    finished = run_command(MODULE, "report", f"--results_dir={tmp_path / 'missing'}")
    assert finished.returncode == 1
    assert f"results_dir={tmp_path / 'missing'}: expected a directory" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_size_are_refused_before_training(tmp_path):
    (tmp_path / "summary.json").write_text('{"size": 256}')
    results = tmp_path / "results"
    finished = run_command(MODULE, "run", "lrn", f"--dataset={tmp_path}", f"--results_dir={results}")
    assert finished.returncode == 1 and not results.exists()
    assert "--dataset=" in finished.stderr and "has images of 256 pixels; expected 32" in finished.stderr


def test_an_interrupted_run_says_how_to_continue(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise RunInterrupted

    monkeypatch.setattr(runner, "run_experiment", interrupted)
    finished = run_command(MODULE, "run", "lrn", f"--results_dir={tmp_path}")
    assert finished.returncode == 143
    assert "run the same command again to resume" in finished.stdout
