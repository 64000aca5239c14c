"""The callbacks of the train command in `model.fit`."""

import csv
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import PaperSGD, PlateauSchedule
from keras_alexnet.callbacks import Resume
from keras_alexnet.callbacks.csv_log import CSVLog
from keras_alexnet.callbacks.diagnostics import Diagnostics, TrainingDivergedError
from keras_alexnet.callbacks.tensorboard import TensorBoardLog
from keras_alexnet.checkpoints import CheckpointError


def small_model(learning_rate: float = 0.01) -> keras.Model:
    keras.utils.set_random_seed(5)
    # Checkpoints name the layers.
    layers = [
        keras.layers.Conv2D(4, 3, name="conv1"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dropout(0.5, seed=1, name="dropout"),
        keras.layers.Dense(3, activation="softmax", name="fc8"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    model.compile(PaperSGD(learning_rate), "sparse_categorical_crossentropy")
    return model


def batches() -> tf.data.Dataset:
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(12, 8, 8, 3)).astype("float32"), random.integers(0, 3, 12)
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)


def fit(directory, epochs: int) -> keras.Model:
    model, schedule = small_model(), PlateauSchedule("loss", patience=1)
    resume = Resume(directory, schedule=schedule)
    callbacks = [CSVLog(directory / "metrics.csv"), TensorBoardLog(directory / "logs"), schedule, resume]
    model.fit(batches(), epochs=epochs, initial_epoch=resume.initial_epoch, callbacks=callbacks, verbose=0)
    return model


def rows(directory) -> list[dict[str, str]]:
    with open(directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


# The second name would be a pattern to TensorFlow.
@pytest.mark.parametrize("name", ["run", "run [1] *?"])
@pytest.mark.medium
def test_a_resumed_fit_equals_one_that_was_not_interrupted(tmp_path, name):
    for directory in (tmp_path / "whole", tmp_path / name):
        directory.mkdir()
    whole = fit(tmp_path / "whole", 6)
    fit(tmp_path / name, 2)
    resumed = fit(tmp_path / name, 6)
    for expected, found in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert float(resumed.optimizer.learning_rate) == float(whole.optimizer.learning_rate)
    table, expected_table = rows(tmp_path / name), rows(tmp_path / "whole")
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4", "5", "6"]
    assert [row["learning_rate"] for row in table] == [row["learning_rate"] for row in expected_table]
    seen = set()
    for path in (tmp_path / name / "logs" / "train").glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            seen |= {(value.tag, event.step) for value in event.summary.value}
    assert {("weight_norm/conv1", 3), ("update_norm/fc8", 18), ("conv1_kernels", 18)} <= seen


def test_epochs_that_are_trained_again_replace_their_rows(tmp_path):
    for initial, epochs in ((0, 3), (1, 2)):
        log = CSVLog(tmp_path / "metrics.csv")
        small_model().fit(batches(), epochs=epochs, initial_epoch=initial, callbacks=[log], verbose=0)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises((CheckpointError, OSError)):
        fit(tmp_path, 1)


def test_a_loss_that_is_not_finite_stops_fit():
    with pytest.raises(TrainingDivergedError, match=r"^learning_rate=1e.30: .* the loss is not finite at step"):
        small_model(1e30).fit(batches(), epochs=3, callbacks=[Diagnostics(classes=3)], verbose=0)


@pytest.mark.medium
def test_a_loss_at_chance_level_is_reported_by_fit(capsys):
    model = small_model(0.0)
    model.layers[-1].set_weights([np.zeros_like(weight) for weight in model.layers[-1].get_weights()])
    model.fit(batches(), epochs=168, callbacks=[Diagnostics(classes=3)], verbose=0)
    assert capsys.readouterr().out.count(f"ln(3) = {math.log(3):.4f}") == 1


@pytest.mark.parametrize("flush", ["flush", "close"])
def test_logs_that_cannot_be_written_do_not_end_the_training(tmp_path, monkeypatch, capsys, flush):
    def fails(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "events: No space left on device")

    log = TensorBoardLog(tmp_path)
    for writer in log._writers.values():
        monkeypatch.setattr(writer, flush, fails)
    small_model().fit(batches(), epochs=2, callbacks=[log], verbose=0)
    assert capsys.readouterr().out.count("No space left on device; training continues\n") == 2 * (flush == "flush")
