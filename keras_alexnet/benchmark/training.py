"""Contenders for one training step: plain TensorFlow operations, our steps, and Keras' `train_on_batch`."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.benchmark.plain_ops import plain_step
from keras_alexnet.benchmark.strategies import CLASSES, Training, timed_steps
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.variants import Variant


def training_steps(variant: Variant, batch: int) -> dict[str, Callable[[], object]]:
    """Contender -> one training step on a fixed batch of noise."""
    random = np.random.default_rng(0)
    images = tf.constant(random.uniform(0, 255, (batch, variant.crop_size, variant.crop_size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, CLASSES, batch), tf.int32)
    return {
        "plain operations": plain_step(variant, CLASSES, images - 120, labels),
        "our step": _our_step(variant, images, labels),
        "guarded": timed_steps({"": Training(variant, CLASSES, tf.distribute.get_strategy(), batch)})[""],
        "fit": _fit_step(variant, images, labels),
    }


def _our_step(variant: Variant, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], tf.Tensor]:
    model, optimizer = AlexNet(variant, classes=CLASSES, classifier_activation=None), PaperSGD()
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def _fit_step(variant: Variant, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], object]:
    model = AlexNet(variant, classes=CLASSES, classifier_activation=None)
    model.compile(PaperSGD(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda: model.train_on_batch(images, labels)
