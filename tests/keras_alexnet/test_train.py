import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training.evaluation import Evaluator
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from pipelines.datasets.registry import open_source
from pipelines.input import evaluation_batches
from tests.helpers.commands import run_command
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium

COMMAND = [sys.executable, "-m", "keras_alexnet.train"]
# A network that is traced and compiled in a moment, for tests of what happens around it.
SMALL = {"network": "figure1_convnet"}


def rows(model_dir: Path) -> list[dict[str, str]]:
    with open(model_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def flag_lines(config) -> list[str]:
    return [f"--{name}={value}" for name, value in vars(config).items() if value is not None]


def test_a_training_learns_and_leaves_everything_behind(prepared, trained):
    table = rows(trained)
    assert [(row["epoch"], row["steps"]) for row in table] == [("1", "3"), ("2", "6"), ("3", "9"), ("4", "12")]
    losses = [float(row["val_loss"]) for row in table]
    assert losses[-1] < losses[0] < 1.5
    assert json.loads((trained / "model.json").read_text())["class_names"] == ["blue", "green", "red"]
    tags = set()
    for path in (trained / "logs").rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {(path.parent.name, value.tag) for value in event.summary.value}
    assert {("train", "loss"), ("train", "learning_rate"), ("validation", "top1_error")} <= tags


def test_the_trained_weights_come_back(trained, prepared):
    model, description, steps = load_trained(trained)
    assert steps == 12 and description.dataset == str(prepared)
    rates = Evaluator(model)(evaluation_batches(open_source(description.dataset), "validation", batch_size=4))
    last = rows(trained)[-1]
    assert rates.images == 9 and rates.top1_error == float(last["val_top1_error"])
    assert abs(rates.loss - float(last["val_loss"])) < 1e-4


def test_a_run_cut_in_two_equals_one_that_was_not(prepared, trained, tmp_path):
    config = tiny(prepared, tmp_path / "run")
    train_and_evaluate(tiny(prepared, tmp_path / "run", steps=4, early_stopping_epochs=50))
    assert [row["steps"] for row in rows(tmp_path / "run")] == ["3", "4"]
    assert RunDirectory(tmp_path / "run").config.early_stopping_epochs == 50
    train_and_evaluate(config)
    assert rows(tmp_path / "run") == rows(trained)
    assert RunDirectory(tmp_path / "run").config == RunDirectory(trained).config
    whole, parts = load_trained(trained)[0], load_trained(tmp_path / "run")[0]
    for expected, got in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_learning_rate_and_its_directory_may_have_any_name(prepared, tmp_path, capsys):
    names = {"schedule": "step", "epochs": 4}
    whole, parts = tmp_path / "whole", tmp_path / "run [1] *?"  # a pattern to TensorFlow
    train_and_evaluate(tiny(prepared, whole, **names))
    train_and_evaluate(tiny(prepared, parts, **names, steps=4))
    train_and_evaluate(tiny(prepared, parts, **names, learning_rate=0.5))
    assert "learning_rate=0.5: ignored; the run keeps its initial rate, 0.01" in capsys.readouterr().out
    assert rows(parts) == rows(whole) and load_trained(parts)[2] == 12


@pytest.mark.slow
def test_a_run_of_an_older_version_is_resumed(photographs, tmp_path):
    root = Path(__file__).parents[2]
    archive = subprocess.run(["git", "archive", "7d55002"], cwd=root, capture_output=True)
    if archive.returncode:
        pytest.skip("the history of the project is not here")
    (tmp_path / "old").mkdir()
    subprocess.run(["tar", "-x", "-C", tmp_path / "old"], input=archive.stdout, check=True)
    config = tiny(photographs, tmp_path / "run")
    known = ("dataset", "model_dir", "width", "init", "batch_size", "epochs", "schedule", "seed")
    flags = [f"--{name}={getattr(config, name)}" for name in known]
    subprocess.run([*COMMAND, *flags, "--steps=4"], cwd=tmp_path / "old", check=True)
    train_and_evaluate(config)
    train_and_evaluate(tiny(photographs, tmp_path / "whole"))
    # Normalization and update rule have been compiled since then, which rounds differently.
    for part, whole in zip(rows(tmp_path / "run"), rows(tmp_path / "whole"), strict=True):
        assert {name: float(text) for name, text in part.items()} == pytest.approx(
            {name: float(text) for name, text in whole.items()}, rel=1e-4
        )
    whole, parts = load_trained(tmp_path / "whole")[0], load_trained(tmp_path / "run")[0]
    for expected, got in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.slow
def test_the_images_in_no_full_batch_are_reported(prepared, tmp_path, capsys):
    train_and_evaluate(tiny(prepared, tmp_path / "run", batch_size=10, epochs=1))
    expected = "24 training images, 2 steps per epoch (4 do not fill a batch and are left out, others in each epoch)"
    assert expected in capsys.readouterr().out


def test_a_finished_run_is_left_as_it_is(trained, prepared):
    before = sorted((path, path.stat().st_mtime_ns) for path in (trained / "checkpoints").iterdir())
    assert train_and_evaluate(tiny(prepared, trained))["steps"] == 12
    assert sorted((path, path.stat().st_mtime_ns) for path in (trained / "checkpoints").iterdir()) == before


def test_a_broken_checkpoint_is_named_and_the_one_before_is_used(prepared, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "ckpt-12.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:1000])
    train_and_evaluate(tiny(prepared, tmp_path / "run"))
    assert "ckpt-12: cannot be read" in capsys.readouterr().out
    assert rows(tmp_path / "run") == rows(trained)


@pytest.mark.slow
@pytest.mark.subprocess
def test_flags_override_the_flagfile_and_sigterm_saves_what_the_same_command_resumes(prepared, tmp_path):
    file, errors = tmp_path / "tiny.flags", tmp_path / "errors"
    file.write_text("# a comment\n" + "\n".join(flag_lines(tiny(prepared, tmp_path / "run", epochs=1))))
    with errors.open("w") as stderr:
        command = [*COMMAND, f"--flagfile={file}", "--epochs=400"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        for line in process.stdout:
            if line.startswith("Epoch 3/"):
                process.send_signal(signal.SIGTERM)
                break
        output = process.stdout.read()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM and "the same command resumes the run" in output
    finally:
        process.kill()
    assert errors.read_text().splitlines()[1:] == [], "a newcomer should not have to tell chatter from errors"
    steps = load_trained(tmp_path / "run")[2]
    assert steps > 6
    assert train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=400, steps=steps))["steps"] == steps


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.parametrize("placement", [("mirrored", 2), ("towers", 4)])
def test_a_training_on_several_devices_can_be_evaluated_on_one(prepared, tmp_path, placement):
    strategy, devices = placement
    config = tiny(prepared, tmp_path / "run", epochs=1, strategy=strategy, virtual_devices=devices, schedule="staged")
    run = subprocess.run([*COMMAND, *flag_lines(config)], capture_output=True, text=True, check=True)
    assert "2 replica(s)" in run.stdout
    model = load_trained(tmp_path / "run")[0]
    rates = Evaluator(model)(evaluation_batches(open_source(config.dataset), "validation", batch_size=4))
    assert abs(rates.loss - float(rows(tmp_path / "run")[-1]["val_loss"])) < 1e-4


@pytest.mark.parametrize(
    "flag, says",
    [
        ("--variant=vgg", "vgg"),
        ("--nonsense=1", "nonsense"),
        ("--dataset=folder:/nowhere", "/nowhere"),
    ],
)
def test_a_wrong_flag_ends_with_one_line_that_names_it(tmp_path, flag, says):
    run = run_command("keras_alexnet.train", "--dataset=photos", f"--model_dir={tmp_path / 'run'}", flag)
    assert run.returncode == 1 and len(run.stderr.strip().splitlines()) == 1 and says in run.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"width": -1.0}, "width=-1.0"),
        ({"network": "vgg"}, "network=vgg: expected one of"),
        ({"batch_size": 25}, "batch_size=25"),
        ({"classes": 2}, "classes=2: expected at least the 3 classes"),
        ({"strategy": "mirrored"}, "strategy=mirrored: needs at least 2 GPUs; found none"),
    ],
)
def test_a_config_out_of_range_is_refused(prepared, tmp_path, changes, says):
    with pytest.raises(ValueError, match=says):
        train_and_evaluate(tiny(prepared, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_another_config_in_the_same_run_directory_is_refused(prepared, trained):
    with pytest.raises(ValueError, match=r"width=0\.125.*started with 0\.0625"):
        train_and_evaluate(tiny(prepared, trained, width=1 / 8))


@pytest.mark.slow
def test_a_run_without_a_checkpoint_can_be_started_again_with_another_config(prepared, tmp_path):
    with pytest.raises(ValueError, match="not finite at step"):
        train_and_evaluate(tiny(prepared, tmp_path / "run", learning_rate=1e30))
    assert train_and_evaluate(tiny(prepared, tmp_path / "run", batch_size=12, epochs=1))["steps"] == 2


def test_two_trainings_in_one_folder_are_refused(prepared, tmp_path):
    with RunDirectory(tmp_path / "run").locked(), pytest.raises(ValueError, match="another training"):
        train_and_evaluate(tiny(prepared, tmp_path / "run"))


def test_a_plateau_needs_a_validation_split(photographs, tmp_path):
    shutil.copytree(photographs / "train", tmp_path / "data" / "train")
    with pytest.raises(ValueError, match="schedule='plateau': needs a validation split"):
        train_and_evaluate(tiny(tmp_path / "data", tmp_path / "run", schedule="plateau"))


@pytest.mark.slow
def test_bad_photographs_are_skipped_up_to_a_ceiling(photographs, tmp_path, capsys):
    shutil.copytree(photographs / "train", tmp_path / "data" / "train")
    (tmp_path / "data" / "train" / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    with pytest.raises(ValueError, match=r"max_bad_fraction=0\.001: 1 of 25 images .*red/broken\.jpg"):
        train_and_evaluate(tiny(tmp_path / "data", tmp_path / "run", steps=1))
    assert not (tmp_path / "run" / "model.json").exists()
    # One step with all images that are left: it would fail with the broken one.
    config = tiny(tmp_path / "data", tmp_path / "run", **SMALL, batch_size=24, epochs=1, max_bad_fraction=0.05)
    row = train_and_evaluate(config)
    assert row["steps"] == 1 and "val_loss" not in row, "there is no validation split"
    assert "red/broken.jpg" in capsys.readouterr().err


@pytest.mark.slow
def test_one_class_and_one_image_can_be_trained_on(photographs, tmp_path):
    (tmp_path / "data" / "train" / "red").mkdir(parents=True)
    shutil.copy(photographs / "train" / "red" / "0.jpg", tmp_path / "data" / "train" / "red")
    assert train_and_evaluate(tiny(tmp_path / "data", tmp_path / "run", batch_size=1, epochs=1))["loss"] == 0


def test_a_loss_that_is_not_finite_stops_the_run(prepared, tmp_path):
    says = r"learning_rate=1e\+12: training has diverged: the (loss|weights of \w+) (is|are) not finite at step \d+"
    with pytest.raises(ValueError, match=says):
        train_and_evaluate(tiny(prepared, tmp_path / "run", learning_rate=1e12, epochs=20))


@pytest.mark.slow
def test_a_run_of_the_variant_torchvision_from_before_its_rounding_resumes_with_its_own(photographs, tmp_path):
    shutil.copytree(photographs / "train", tmp_path / "data" / "train")
    network = {"network": "torchvision", "width": 1 / 32}
    train_and_evaluate(tiny(tmp_path / "data", tmp_path / "run", steps=1, **network))
    model_json = tmp_path / "run" / "model.json"
    model_json.write_text(model_json.read_text().replace('"resize": "torchvision"', '"resize": "shorter_side"'))
    train_and_evaluate(tiny(tmp_path / "data", tmp_path / "run", steps=1, **network))  # not refused; nothing to do
    assert '"resize": "shorter_side"' in model_json.read_text()
