"""Contenders for one training step: plain TensorFlow operations, our steps, Keras' `train_on_batch`, and peers."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.benchmark.keras_network import keras_step
from keras_alexnet.benchmark.plain_ops import plain_step
from keras_alexnet.benchmark.strategies import CLASSES, Training, timed_steps
from keras_alexnet.benchmark.with_torch import has_torch
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.provenance import has_bfloat16, processor_instructions
from keras_alexnet.variants import Variant


def training_steps(variant: Variant, batch: int, peers: bool = False) -> dict[str, Callable[[], object]]:
    """Contender -> one training step on a fixed batch of noise.

    Args:
      batch: images per step.
      peers: whether Keras' own layers and, if it is installed, PyTorch take part; and bfloat16 where the processor has
        instructions for it.
    """
    random = np.random.default_rng(0)
    noise = random.uniform(0, 255, (batch, variant.crop_size, variant.crop_size, 3)).astype(np.float32)
    classes = random.integers(0, CLASSES, batch).astype(np.int32)
    images, labels = tf.constant(noise), tf.constant(classes)
    steps: dict[str, Callable[[], object]] = {
        "plain operations": plain_step(variant, CLASSES, images - 120, labels),
        "our step": our_step(variant, images, labels),
        "train command's step": timed_steps({"": Training(variant, CLASSES, tf.distribute.get_strategy(), batch)})[""],
        "fit": _fit_step(variant, images, labels),
    }
    if not peers:
        return steps
    bfloat16 = has_bfloat16(processor_instructions())
    if bfloat16:
        steps["fit, mixed_bfloat16"] = _fit_step(variant, images, labels, "mixed_bfloat16")
    steps["Keras, Conv2D(groups=2)"] = keras_step(variant, CLASSES, noise - 120, classes)
    if has_torch():
        from keras_alexnet.benchmark.torch_network import torch_steps

        steps |= torch_steps(variant, CLASSES, noise - 120, classes, bfloat16)
    return steps


def our_step(variant: Variant, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], tf.Tensor]:
    """A training step of our network and optimizer on a fixed batch, without the checks of the train command."""
    model, optimizer = AlexNet(variant, classes=CLASSES, classifier_activation=None), PaperSGD()
    optimizer.build(model.trainable_variables)

    return tf.function(lambda: gradient_step(model, optimizer, images, labels))


def gradient_step(model: keras.Model, optimizer: PaperSGD, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Forward, gradients and update of a model that gives logits; returns the loss."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    return loss


def _fit_step(variant: Variant, images: tf.Tensor, labels: tf.Tensor, policy: str = "float32") -> Callable[[], object]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    model = AlexNet(variant, classes=CLASSES, classifier_activation=None)
    keras.config.set_dtype_policy(before)
    model.compile(PaperSGD(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda: model.train_on_batch(images, labels)
