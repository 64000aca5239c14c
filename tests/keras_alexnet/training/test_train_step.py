"""A training step beyond AlexNet: losses that belong to layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import PaperSGD
from keras_alexnet.training import train_step
from keras_alexnet.training.train_step import TrainingSteps


def test_regularizers_of_layers_are_part_of_the_gradient_but_not_of_the_reported_loss():
    regularized = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1))
    model = keras.Sequential([keras.Input((4,)), regularized])
    model.compile(PaperSGD(1.0, weight_decay=0.0))
    model.optimizer.build(model.trainable_variables)
    kernel = regularized.get_weights()[0]
    steps = TrainingSteps(model, tf.distribute.get_strategy(), batch_size=2)
    # The kernel's only gradient is that of 0.1 * sum(kernel ** 2), because the inputs are zeros.
    steps.take(iter([(tf.zeros([2, 4]), tf.constant([0, 1]))]), [1.0])
    np.testing.assert_allclose(regularized.get_weights()[0], 0.8 * kernel, rtol=1e-5)
    np.testing.assert_allclose(steps.sums.numpy()[0], 2 * np.log(3), rtol=1e-5)


@pytest.mark.parametrize(("weight", "expected"), [(0.3, 2.5), (0.0, 1.0)])
def test_losses_of_auxiliary_outputs_are_added_with_their_weight(monkeypatch, weight, expected):
    """Losses of 1, 2 and 3: 1 + 0.3 * (2 + 3). With a weight of 0 the auxiliary heads have no gradients."""
    monkeypatch.setattr(train_step, "smoothed_cross_entropy", lambda labels, logits, smoothing: logits[:, 0])
    images = keras.Input((1,))
    heads = [keras.layers.Dense(2, use_bias=False, kernel_initializer="ones") for _ in range(3)]
    model = keras.Model(images, [head(images * scale) for scale, head in enumerate(heads, 1)])
    model.compile(PaperSGD(1.0, weight_decay=0.0))
    model.optimizer.build(model.trainable_variables)
    steps = TrainingSteps(model, tf.distribute.get_strategy(), batch_size=1, aux_loss_weights=(weight, weight))
    steps.take(iter([(tf.ones([1, 1]), tf.constant([0]))]), [1.0])
    np.testing.assert_allclose(steps.sums.numpy()[0], expected, rtol=1e-6)
    # The gradient of a head is its input times its factor.
    changes = [1 - head.get_weights()[0][0, 0] for head in heads]
    np.testing.assert_allclose(changes, [1, 2 * weight, 3 * weight], rtol=1e-6)
