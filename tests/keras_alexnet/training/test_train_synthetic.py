import re
import subprocess
import sys

import pytest

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from tests.helpers.commands import run_command

pytestmark = pytest.mark.medium

COMMAND = [sys.executable, "-m", "keras_alexnet.train"]
SMALL = ["--synthetic", "--width=0.0625", "--batch_size=4"]


@pytest.mark.slow
@pytest.mark.subprocess
def test_throughput_is_measured_without_data_or_a_folder(tmp_path):
    flags = [*SMALL, "--steps=6", "--steps_per_execution=2", "--deterministic"]
    run = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and run.stderr == ""
    assert "1000 classes" in run.stdout and float(re.search(r"images/s: ([\d.]+)", run.stdout)[1]) > 0
    assert "done after 6 steps on noise" in run.stdout and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.subprocess
def test_noise_can_be_trained_on_in_a_folder_with_replicas(tmp_path):
    flags = [*SMALL, "--classes=7", f"--model_dir={tmp_path / 'run'}", "--strategy=mirrored", "--virtual_devices=2"]
    for steps in (2, 3):
        subprocess.run([*COMMAND, *flags, f"--steps={steps}"], capture_output=True, check=True)
    model, description, steps = load_trained(tmp_path / "run")
    assert steps == 3 and len(description.class_names) == model.output_shape[-1] == 7


@pytest.mark.parametrize("name, value", [("dataset", "photos"), ("data_dir", "x"), ("crop_chunk", 32)])
def test_what_contradicts_noise_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}: has no effect on synthetic images"):
        train_and_evaluate(TrainingConfig(synthetic=True, **{name: value}))


@pytest.mark.parametrize("given, missing", [("--dataset=photos", "--model_dir"), ("--model_dir=x", "--dataset")])
def test_without_synthetic_both_a_dataset_and_a_folder_are_needed(tmp_path, monkeypatch, given, missing):
    monkeypatch.chdir(tmp_path)
    run = run_command("keras_alexnet.train", given)
    assert run.returncode == 1 and run.stderr == f"error: {missing} is missing\n"
