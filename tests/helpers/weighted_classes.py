"""A training step of a linear network with weighted classes and smoothed labels, and its arithmetic in NumPy."""

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.training.train_step import TrainingSteps

WEIGHTS, SMOOTHING = (0.5, 3.0, 1.25), 0.2
X = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25], [-0.5, 1.0]], np.float32)
LABELS = np.array([0, 1, 1, 2], np.int32)
KERNEL = np.array([[0.3, -0.2, 0.1], [0.5, 0.4, -0.6]], np.float32)


def steps(strategy: tf.distribute.Strategy) -> TrainingSteps:
    """The network's steps, by gradient descent."""
    with strategy.scope():
        images = keras.Input((2,))
        model = keras.Model(images, keras.layers.Dense(3, use_bias=False)(images))
        model.set_weights([KERNEL])
        model.compile(keras.optimizers.SGD(1.0))
        model.optimizer.build(model.trainable_variables)
    return TrainingSteps(model, strategy, len(X), label_smoothing=SMOOTHING, class_weights=WEIGHTS)


def after_one_step() -> tuple[float, np.ndarray]:
    """Sum of the weighted losses before the step, and the kernel after it with a learning rate of 1, in float64."""
    logits = X.astype(np.float64) @ KERNEL
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (1 - SMOOTHING) * np.eye(3)[LABELS] + SMOOTHING / 3
    weights = np.array(WEIGHTS)[LABELS]
    losses = weights * -(targets * np.log(probabilities)).sum(1)
    gradient = X.T @ (weights[:, np.newaxis] * (probabilities - targets)) / len(X)
    return losses.sum(), KERNEL - gradient
