"""A run that ends when the validation error no longer falls."""

import dataclasses
import shutil

import pytest

from keras_alexnet.callbacks.csv_log import CSVLog
from keras_alexnet.callbacks.resume import Progress
from keras_alexnet.training import loop
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from tests.helpers.tiny_training import tiny


def progress(*errors: float, step: int = 0) -> Progress:
    return Progress(epoch=len(errors), step=step, history=[{"val_top1_error": error} for error in errors])


@pytest.mark.parametrize(
    "errors, epochs, stops",
    [
        ((0.5, 0.4, 0.4), 1, True),  # an equal error is no improvement
        ((0.5, 0.4, 0.45), 2, False),
        ((0.5, 0.4, 0.45, 0.41), 2, True),
        ((0.5, 0.4, 0.45, 0.39), 2, False),
        ((0.5, 0.6, 0.6, 0.6), 0, False),
        ((), 1, False),
    ],
)
def test_it_stops_after_so_many_epochs_without_a_lower_error(errors, epochs, stops):
    assert progress(*errors).stops_early(epochs) is stops


def test_an_epoch_that_has_begun_is_finished():
    assert not progress(0.5, 0.6, step=1).stops_early(1)


def test_the_report_names_the_best_epoch():
    assert progress(0.5, 0.25, 0.3, 0.25).early_stop_report() == (
        "stopped early after epoch 4: the validation top-1 error has not fallen for 2 epochs; it was lowest in "
        "epoch 2, 25.00%: the checkpoint in best/"
    )


@pytest.fixture
def validation_errors(monkeypatch):
    """Sets the validation errors of the epochs, by their number."""
    errors = {1: 0.5, 2: 0.25, 3: 0.3, 4: 0.25, 5: 0.2}

    def row(training, stop):
        return {"val_loss": 1.0, "val_top1_error": errors[training.progress.epoch + 1], "val_top5_error": 0.0}

    monkeypatch.setattr(loop.TrainingLoop, "_validation_row", row)
    return errors


def epochs_in(model_dir) -> int:
    log = CSVLog(model_dir / "metrics.csv")
    log.on_train_begin()
    return len(log.rows)


@pytest.mark.slow
def test_a_resumed_run_keeps_the_count(prepared, tmp_path, validation_errors, capsys):
    config = tiny(prepared, tmp_path, network="figure1_convnet", batch_size=24, epochs=5, early_stopping_epochs=2)
    # Interrupted after epoch 3, of which the first of two is without a lower error.
    train_and_evaluate(dataclasses.replace(config, steps=3))
    assert epochs_in(tmp_path) == 3 and "stopped early" not in capsys.readouterr().out
    row = train_and_evaluate(config)
    assert row["epoch"] == 4 and epochs_in(tmp_path) == 4
    assert "stopped early after epoch 4: " in capsys.readouterr().out
    # The same command has nothing left to do; with more epochs it continues.
    assert train_and_evaluate(config)["epoch"] == 4
    printed = capsys.readouterr().out
    assert "nothing left to do" in printed and "stopped early after epoch 4: " in printed
    assert train_and_evaluate(dataclasses.replace(config, early_stopping_epochs=3))["epoch"] == 5
    assert "stopped early" not in capsys.readouterr().out


def test_it_needs_a_validation_split(photographs, tmp_path):
    shutil.copytree(photographs / "train", tmp_path / "data" / "train")
    config = tiny(tmp_path / "data", tmp_path / "run", early_stopping_epochs=3)
    with pytest.raises(ValueError, match=r"^early_stopping_epochs=3: needs a validation split, but .* has only train"):
        train_and_evaluate(config)
    assert not (tmp_path / "run" / "model.json").exists()
