"""Learning rates that change at each step, and label smoothing, in the training loop."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.run_directory import RunDirectory
from keras_alexnet.training import input as training_input
from keras_alexnet.training.train_and_evaluate import train_and_evaluate
from keras_alexnet.training.train_step import TrainingSteps, smoothed_cross_entropy
from tests.helpers.tiny_training import tiny

COSINE = {"schedule": "cosine", "warmup_epochs": 1.0, "label_smoothing": 0.1, "learning_rate": 0.02}


def weights(model_dir) -> list[np.ndarray]:
    return load_trained(model_dir)[0].get_weights()


def linear_steps(strategy, **options) -> TrainingSteps:
    """Steps of a network without hidden layers."""
    with strategy.scope():
        images = keras.Input((2,))
        model = keras.Model(images, keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros")(images))
        model.compile(keras.optimizers.SGD(1.0))
        model.optimizer.build(model.trainable_variables)
    return TrainingSteps(model, strategy, 2, **options)


def batches():
    # Tiny images: the logits stay near 0, so that each step moves the weights by its learning rate times the same.
    examples = (np.full((8, 2), 1e-4, np.float32), np.zeros(8, np.int32))
    return tf.data.Dataset.from_tensor_slices(examples).batch(2)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_each_step_has_its_own_learning_rate(count, mirrored):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if mirrored else tf.distribute.get_strategy()
    steps = linear_steps(strategy, steps_per_execution=4)
    iterator, rates = iter(batches()), [1.0, 2.0, 4.0]
    for first in range(0, 3, count):
        steps.take(iterator, rates[first : first + count])
    assert float(keras.ops.convert_to_numpy(steps.model.optimizer.learning_rate)) == 4.0
    np.testing.assert_allclose(steps.model.get_weights()[0][:, 0], 7 * 0.5e-4, rtol=1e-3)


def test_smoothed_targets_are_spread_over_all_classes():
    logits = np.random.default_rng(0).normal(0, 3, (5, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 3], np.int32)
    targets = 0.8 * np.eye(4)[labels] + 0.2 / 4
    expected = -(targets * np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))).sum(1)
    np.testing.assert_allclose(smoothed_cross_entropy(labels, logits, 0.2), expected, rtol=1e-5)
    plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    np.testing.assert_array_equal(smoothed_cross_entropy(labels, logits, 0.0), plain)


@pytest.mark.slow
def test_a_run_resumed_within_its_warmup_ends_alike(prepared, tmp_path):
    options = COSINE | {"epochs": 3, "width": 1 / 32}
    train_and_evaluate(tiny(prepared, tmp_path / "whole", **options, steps_per_execution=3))
    for steps in (2, 9):
        train_and_evaluate(tiny(prepared, tmp_path / "parts", **options, steps=steps))
    for expected, found in zip(weights(tmp_path / "whole"), weights(tmp_path / "parts"), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with open(tmp_path / "parts" / "metrics.csv", newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    # At the end of the warm-up, after two of six steps, and after five of six.
    np.testing.assert_allclose(rates, [0.02, 0.01 * (1 + np.cos(np.pi / 3)), 0.01 * (1 + np.cos(np.pi * 5 / 6))], 1e-5)
    for name, value in (("warmup_epochs", 0.5), ("label_smoothing", 0.2), ("weight_decay", 0.3)):
        with pytest.raises(ValueError, match=f"{name}={value}: the run in .* was started with"):
            train_and_evaluate(tiny(prepared, tmp_path / "parts", **options | {name: value}))


class SeenError(Exception):
    pass


@pytest.mark.parametrize(
    "network, given, expected", [("figure1_convnet", None, "none"), ("figure1_convnet", "paper", "paper")]
)
@pytest.mark.medium
def test_colours_are_augmented_as_the_config_or_the_network_says(
    prepared, tmp_path, monkeypatch, network, given, expected
):
    def crop_batches(*arguments, **options):
        raise SeenError(options["color_augmentation"])

    monkeypatch.setattr(training_input, "crop_batches", crop_batches)
    with pytest.raises(SeenError, match=f"^{expected}$"):
        train_and_evaluate(tiny(prepared, tmp_path, network=network, color_augmentation=given))
    assert RunDirectory(tmp_path).config.color_augmentation == given
