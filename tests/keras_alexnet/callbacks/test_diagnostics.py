import math

import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import AlexNet
from keras_alexnet.callbacks.diagnostics import first_layer_not_finite, stuck_report
from keras_alexnet.callbacks.tensorboard import kernel_images, layer_norms
from keras_alexnet.checkpoints import load_trained
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from keras_alexnet.training.train_step import TrainingSteps
from tests.helpers.tiny_training import tiny

pytestmark = pytest.mark.medium


@pytest.fixture
def model():
    model = AlexNet(width=1 / 16, classes=3, classifier_activation=None, init="he")
    model.compile(PaperSGD())
    model.optimizer.build(model.trainable_variables)
    return model


def batch(value: float = 100.0) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.random.stateless_normal([2, 224, 224, 3], [1, 2]) + value, tf.constant([0, 2])


def test_the_first_layer_that_overflows_is_named(model):
    assert first_layer_not_finite(model, batch()[0]) is None
    kernel = model.get_layer("conv4").kernels[1]
    kernel.assign(tf.fill(kernel.shape, 3e38))
    assert first_layer_not_finite(model, batch()[0]) == "conv4"
    model.get_layer("conv3").biases[0].assign([math.nan] * 12)
    assert first_layer_not_finite(model, batch()[0]).startswith("conv3, whose weights are not finite")
    assert first_layer_not_finite(model, batch(math.inf)[0]) == "images"


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_changes_from_a_step_on_whose_loss_is_not_finite(model, count):
    steps = TrainingSteps(model, tf.distribute.get_strategy(), 2, steps_per_execution=count)
    iterator = iter(tf.data.Dataset.from_tensors(batch()).repeat(6))
    for _ in range(2 // count):
        steps.take(iterator, [0.01] * count)
    model.get_layer("fc8").biases[0].assign([0, math.inf, 0])
    before = [np.array(weight) for weight in (*model.get_weights(), *map(np.asarray, model.optimizer.momentums))]
    sums = steps.sums.numpy()
    assert sums[3] == 2 and sums[0] > 0
    for _ in range(4 // count):
        steps.take(iterator, [0.01] * count)
    after = [*model.get_weights(), *map(np.asarray, model.optimizer.momentums)]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    np.testing.assert_array_equal(steps.sums.numpy(), sums)


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_saved(prepared, tmp_path, monkeypatch):
    # A ReLU can hide what is not finite from the loss.
    def broken(steps, batches, learning_rates):
        steps.model.get_layer("conv2").biases[0].assign_add([math.nan] * 8)
        steps.sums.assign_add([1, 0, 0, len(learning_rates)])
        return 0.0

    train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=1))
    monkeypatch.setattr(TrainingSteps, "take", broken)
    with pytest.raises(ValueError, match=r"learning_rate=.*the weights of conv2 are not finite at step 6"):
        train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=2))
    assert load_trained(tmp_path / "run")[2] == 3


def row(loss: float, **more: float) -> dict[str, float]:
    return {"loss": loss} | more


def test_a_loss_that_stays_at_guessing_is_reported_once():
    stuck, moving = row(6.9, val_loss=6.91), row(6.9, val_loss=6.5)
    said = [stuck_report([row(7.5)] + [stuck] * epochs, 200, 1000, 0.01) for epochs in range(6)]
    assert [bool(text) for text in said] == [False, False, False, True, False, False]
    assert "ln(1000) = 6.9078" in said[3] and "600 steps" in said[3] and "init=he" in said[3]
    assert stuck_report([stuck], 10_009, 1000, 0.01)
    assert not stuck_report([moving], 10_009, 1000, 0.01)
    assert not stuck_report([row(0.0)] * 3, 200, 1, 0.01)


def test_norms_are_those_of_the_weights_and_of_the_last_update(model):
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    TrainingSteps(model, tf.distribute.get_strategy(), 2).take(iter([batch()]), [0.01])
    norms = layer_norms(model)
    for name, weights in before.items():
        now = model.get_layer(name).get_weights()
        expected = math.sqrt(sum(np.sum(np.square(weight, dtype=np.float64)) for weight in now))
        assert norms[f"weight_norm/{name}"] == pytest.approx(expected, rel=1e-6)
        moved = math.sqrt(sum(np.sum((a.astype(np.float64) - b) ** 2) for a, b in zip(now, weights, strict=True)))
        assert norms[f"update_norm/{name}"] == pytest.approx(moved, rel=1e-2)


def test_kernels_are_shown_side_by_side(model):
    image = kernel_images(model).numpy()
    kernels = [kernel.numpy() for kernel in model.get_layer("conv1").kernels]
    assert image.shape == (1, 11 + 3 + 11, 16 * 12 - 1, 3) and image.min() >= 0 and image.max() <= 1
    # Tower below tower; zero is grey, and a kernel's largest value black or white.
    for top, kernel in zip((0, 14), kernels, strict=True):
        shown = image[0, top : top + 11, 12:23].astype(np.float64)
        assert np.allclose(shown, 0.5 + kernel[..., 1] / np.abs(kernel[..., 1]).max() / 2)


@pytest.mark.slow
def test_tensorboard_gets_norms_kernels_inputs_and_rates(prepared, tmp_path):
    train_and_evaluate(tiny(prepared, tmp_path / "run", epochs=2, freeze="conv2"))
    seen = {}
    for path in (tmp_path / "run" / "logs").rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                seen.setdefault(value.tag, []).append(event.step)
    for tag in ("learning_rate", "images_per_s", "waiting_for_data", "weight_norm/fc8", "update_norm/fc8"):
        assert seen[tag] == [3, 6], tag
    assert seen["conv1_kernels"] == seen["confusion"] == [3, 6] and seen["training_images"] == [3]
    assert "weight_norm/conv2" in seen and "update_norm/conv2" not in seen
    assert load_trained(tmp_path / "run")[2] == 6
