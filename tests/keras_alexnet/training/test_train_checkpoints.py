import csv
import itertools
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import tensorflow as tf

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.training.evaluation import ErrorRates, Evaluator
from keras_alexnet.training.loop import TrainingInterrupted
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium


def rows(model_dir: Path) -> list[dict[str, str]]:
    with open(model_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def small_files_only():
    """No file may grow beyond 300 kB, as if the disk were full for everything large, until the function is called."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))

    def end() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield end
    end()
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.slow
def test_a_full_disk_in_the_middle_of_a_run_costs_nothing(prepared, trained, tmp_path, capsys, monkeypatch, request):
    train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=1))
    before = (tmp_path / "run" / "checkpoints" / "checkpoint").read_text()
    end_of_trouble = request.getfixturevalue("small_files_only")

    from keras_alexnet.training.loop import TrainingLoop

    validate, epochs = TrainingLoop._validation_row, []

    def validated(loop, caught):
        epochs.append(loop.progress.epoch)
        if loop.progress.epoch == 3:
            assert (tmp_path / "run" / "checkpoints" / "checkpoint").read_text() == before
            end_of_trouble()
        return validate(loop, caught)

    monkeypatch.setattr(TrainingLoop, "_validation_row", validated)
    train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=4))
    assert "cannot write a checkpoint to" in capsys.readouterr().out and epochs == [1, 2, 3]
    assert rows(tmp_path / "run") == rows(trained)
    assert load_trained(tmp_path / "run")[2] == 12
    assert not list((tmp_path / "run").rglob("*temp*"))


@pytest.mark.slow
def test_work_that_cannot_be_saved_at_the_end_is_an_error(prepared, tmp_path, request):
    train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=1))
    end_of_trouble = request.getfixturevalue("small_files_only")
    with pytest.raises(OSError, match=r"cannot write a checkpoint to .*checkpoints: File too large; .* lost"):
        train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=2))
    end_of_trouble()
    assert load_trained(tmp_path / "run")[2] == 3
    assert train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=2))["steps"] == 6


@pytest.mark.slow
def test_the_best_checkpoint_stays_beside_the_newest(prepared, tmp_path, monkeypatch):
    errors = iter([0.6, 0.5, 0.2, 0.3, 0.2, 0.4])
    monkeypatch.setattr(
        Evaluator, "__call__", lambda *arguments: ErrorRates(9, next(errors), 0.0, loss=1.0, skipped=0, bad=())
    )
    train_and_evaluate(tiny(prepared, tmp_path / "run", keep=1, epochs=6))
    best = rows(tmp_path / "run")[2]
    said = json.loads((tmp_path / "run" / "best" / "best.json").read_text())
    assert said["checkpoint"] == f"ckpt-{best['steps']}" and said["val_top1_error"] == float(best["val_top1_error"])
    newest = tf.train.latest_checkpoint(tmp_path / "run" / "best")
    assert tf.train.load_variable(newest, "steps/.ATTRIBUTES/VARIABLE_VALUE") == int(best["steps"])
    assert [path.stem for path in (tmp_path / "run" / "checkpoints").glob("*.index")] == ["ckpt-18"]
    assert load_trained(tmp_path / "run")[2] == 18


@pytest.mark.parametrize("text", ["", "nonsense\x00", None])
def test_a_damaged_index_of_checkpoints_is_made_again(prepared, trained, tmp_path, text, capsys):
    shutil.copytree(trained, tmp_path / "run")
    index = tmp_path / "run" / "checkpoints" / "checkpoint"
    index.unlink() if text is None else index.write_text(text)
    (tmp_path / "run" / "checkpoints" / "ckpt-15_temp").mkdir()
    assert train_and_evaluate(tiny(prepared, tmp_path / "run"))["steps"] == 12
    assert "found a run of 12 steps: nothing left to do" in capsys.readouterr().out
    assert load_trained(tmp_path / "run")[2] == 12
    assert not list((tmp_path / "run").rglob("*temp*"))


@pytest.mark.slow
def test_a_checkpoint_of_another_network_is_named_and_the_one_before_is_used(prepared, trained, tmp_path, capsys):
    train_and_evaluate(tiny(prepared, tmp_path / "other", width=1 / 8, epochs=1))
    shutil.copytree(trained, tmp_path / "run")
    for path in (tmp_path / "other" / "checkpoints").glob("ckpt-3.*"):
        shutil.copy(path, tmp_path / "run" / "checkpoints" / path.name.replace("ckpt-3", "ckpt-12"))
    train_and_evaluate(tiny(prepared, tmp_path / "run"))
    assert "ckpt-12: cannot be read" in capsys.readouterr().out
    assert rows(tmp_path / "run") == rows(trained)


@pytest.mark.medium
@pytest.mark.parametrize("epoch", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_signal_during_validation_stops_there_and_loses_nothing(prepared, trained, tmp_path, monkeypatch, epoch):
    count, calls = Evaluator.__call__, itertools.count(1)

    def interrupted(evaluator, batches, on_batch):
        def on_first(images):
            os.kill(os.getpid(), signal.SIGTERM)
            on_batch(images)

        return count(evaluator, batches, on_first if next(calls) == epoch else on_batch)

    monkeypatch.setattr(Evaluator, "__call__", interrupted)
    with pytest.raises(TrainingInterrupted, match="SIGTERM"):
        train_and_evaluate(tiny(prepared, tmp_path))
    assert load_trained(tmp_path)[2] == 3 * epoch
    assert (len(rows(tmp_path)) if epoch > 1 else 0) == epoch - 1
    monkeypatch.undo()
    train_and_evaluate(tiny(prepared, tmp_path))
    assert rows(tmp_path) == rows(trained)
