"""A training step beyond AlexNet: losses that belong to layers."""

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet import PaperSGD
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
