"""The network of Keras' own layers, with grouped convolutions, as a user without this package would write it."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.variants.architecture import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Layer,
    Normalization,
    Pooling,
    Variant,
)


class GroupedNormalization(keras.layers.Layer):
    """`tf.nn.local_response_normalization` within groups of channels."""

    def __init__(self, layer: Normalization, groups: int):
        super().__init__()
        self._groups, self._constants = groups, (layer.n // 2, layer.k, layer.alpha, layer.beta)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[N, H, W, C]` to the same shape."""
        parts = tf.split(inputs, self._groups, -1)
        return tf.concat([tf.nn.local_response_normalization(part, *self._constants) for part in parts], -1)


def keras_network(variant: Variant, classes: int) -> keras.Model:
    """`variant` with its towers as groups of channels, giving logits; Keras' initialization.

    Raises:
      ValueError: Keras lacks a layer of the variant.
    """
    inputs = values = keras.Input((variant.crop_size, variant.crop_size, 3))
    for layer in (*variant.layers, *variant.head):
        values = _apply(layer, variant, values, classes if layer is variant.head[-1] else None)
    return keras.Model(inputs, values)


def _apply(layer: Layer, variant: Variant, values: keras.KerasTensor, units: int | None) -> keras.KerasTensor:
    if isinstance(layer, Convolution):
        groups = variant.towers if layer.connectivity == "grouped" else 1
        top, bottom, left, right = layer.padding
        if any(layer.padding):
            values = keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(values)
        return keras.layers.Conv2D(layer.filters, layer.kernel_size, layer.strides, groups=groups)(values)
    if isinstance(layer, Normalization):
        return GroupedNormalization(layer, variant.towers if layer.across == "tower" else 1)(values)
    if isinstance(layer, Activation):
        return keras.layers.Activation(layer.function)(values)
    if isinstance(layer, Pooling):
        return keras.layers.MaxPooling2D(layer.size, layer.strides, "same" if layer.overhang else "valid")(values)
    if isinstance(layer, Dropout):
        return keras.layers.Dropout(layer.rate)(values)
    if isinstance(layer, Dense):
        flat = keras.layers.Flatten()(values) if len(values.shape) > 2 else values
        return keras.layers.Dense(units or layer.units)(flat)
    raise ValueError(f"variant={variant.name}: Keras has no {type(layer).__name__}")


def keras_step(variant: Variant, classes: int, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    """A training step by `train_on_batch` with Keras' SGD."""
    model = keras_network(variant, classes)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.0005),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return lambda: model.train_on_batch(images, labels)
