"""A training step in plain TensorFlow operations, which our layers and optimizer are measured against."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_alexnet.variants.architecture import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    MapNormalization,
    Normalization,
    Pooling,
    Variant,
)

Towers = list[tf.Tensor]
# Function of the towers below that returns the towers above.
Layer = Callable[[Towers], Towers]
# Function of a shape that creates a variable.
Weight = Callable[..., tf.Variable]


def plain_step(variant: Variant, classes: int, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], tf.Tensor]:
    """One training step of `variant` (forward, backward, update) on a fixed batch; returns the loss.

    Variables, `tf.nn` operations and assignments without Keras. The initialization is arbitrary.

    Args:
      images: float32 `[N, S, S, 3]`, mean subtracted.
      labels: int32 `[N]`.
    """
    random = np.random.default_rng(0)
    weights: list[tf.Variable] = []

    def weight(*shape: int) -> tf.Variable:
        weights.append(tf.Variable(random.normal(0, 0.01, shape).astype(np.float32)))
        return weights[-1]

    layers = _layers(variant, classes, weight)
    momentums = [tf.Variable(tf.zeros_like(w)) for w in weights]

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            towers = [images]
            for layer in layers:
                towers = layer(towers)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, towers[0]))
        for w, v, gradient in zip(weights, momentums, tape.gradient(loss, weights), strict=True):
            v.assign(0.9 * v - 0.01 * (0.0005 * w + gradient))
            w.assign_add(v)
        return loss

    return step


def _layers(variant: Variant, classes: int, weight: Weight) -> list[Layer]:
    """One function of a list of towers per layer of the variant. Shapes come from running it on one blank image."""
    layers: list[Layer] = []
    blank = [tf.zeros([1, variant.crop_size, variant.crop_size, 3])]
    for layer in (*variant.layers, *variant.head):
        if isinstance(layer, Dense) and layer is variant.head[-1]:
            layer = dataclasses.replace(layer, units=classes)
        layers.append(_KINDS[type(layer)](layer, variant, blank, weight))
        blank = layers[-1](blank)
    return layers


def _convolution(layer: Convolution, variant: Variant, below: Towers, weight: Weight) -> Layer:
    channels = sum(maps.shape[-1] for maps in (below[:1] if layer.connectivity == "grouped" else below))
    size, outputs = layer.kernel_size, layer.filters // variant.towers
    kernels = [weight(size, size, channels, outputs) for _ in range(variant.towers)]
    biases = [weight(outputs) for _ in range(variant.towers)]
    top, bottom, left, right = layer.padding

    def forward(towers: list) -> list:
        outputs = []
        for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            maps = towers[index] if layer.connectivity == "grouped" else tf.concat(towers, -1)
            if layer.strides > 1:
                maps = tf.pad(maps, [[0, 0], [top, bottom], [left, right], [0, 0]])
                maps = tf.nn.conv2d(maps, kernel, layer.strides, "VALID")
            else:
                maps = tf.nn.conv2d(maps, kernel, 1, "SAME" if top else "VALID")
            outputs.append(tf.nn.bias_add(maps, bias))
        return outputs

    return forward


def _dense(layer: Dense, variant: Variant, below: Towers, weight: Weight) -> Layer:
    towers = variant.towers if layer.split else 1
    rows = sum(math.prod(part.shape[1:]) for part in below)
    kernels = [weight(rows, layer.units // towers) for _ in range(towers)]
    biases = [weight(layer.units // towers) for _ in range(towers)]

    def forward(inputs: list) -> list:
        flat = tf.concat([tf.reshape(part, [part.shape[0], -1]) for part in inputs], -1)
        return [tf.nn.bias_add(flat @ kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]

    return forward


def _normalization(layer: Normalization, variant: Variant, below: Towers, weight: Weight) -> Layer:
    def normalize(maps: tf.Tensor) -> tf.Tensor:
        return tf.nn.local_response_normalization(maps, layer.n // 2, layer.k, layer.alpha, layer.beta)

    if layer.across == "tower":
        return lambda towers: [normalize(maps) for maps in towers]
    return lambda towers: tf.split(normalize(tf.concat(towers, -1)), len(towers), -1)


def _map_normalization(layer: MapNormalization, variant: Variant, below: Towers, weight: Weight) -> Layer:
    edge = layer.n // 2

    def normalize(maps: tf.Tensor) -> tf.Tensor:
        squares = tf.pad(maps * maps, [[0, 0], [edge, edge], [edge, edge], [0, 0]])
        return (
            maps * (layer.k + layer.alpha * layer.n**2 * tf.nn.avg_pool2d(squares, layer.n, 1, "VALID")) ** -layer.beta
        )

    return lambda towers: [normalize(maps) for maps in towers]


def _activation(layer: Activation, variant: Variant, below: Towers, weight: Weight) -> Layer:
    function = getattr(tf.nn, layer.function)
    return lambda towers: [function(maps) for maps in towers]


def _pooling(layer: Pooling, variant: Variant, below: Towers, weight: Weight) -> Layer:
    padding = "SAME" if layer.overhang else "VALID"
    return lambda towers: [tf.nn.max_pool2d(maps, layer.size, layer.strides, padding) for maps in towers]


def _dropout(layer: Dropout, variant: Variant, below: Towers, weight: Weight) -> Layer:
    def drop(values: tf.Tensor) -> tf.Tensor:
        kept = values * tf.cast(tf.random.uniform(tf.shape(values)) >= layer.rate, values.dtype)
        return kept if layer.rescale == "inference" else kept / (1 - layer.rate)

    return lambda towers: [drop(values) for values in towers]


_KINDS: dict[type, Callable[..., Layer]] = {
    Activation: _activation,
    Convolution: _convolution,
    Dense: _dense,
    Dropout: _dropout,
    MapNormalization: _map_normalization,
    Normalization: _normalization,
    Pooling: _pooling,
}
