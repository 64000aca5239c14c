"""A training step in bare TensorFlow operations: the cost that our layers and optimizer are measured against."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_alexnet.variants import Convolution, Variant


def bare_step(variant: Variant, classes: int, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], tf.Tensor]:
    """One step of the paper's training (forward, backward, update) of `variant` on one batch, returning the loss.

    No Keras: variables, `tf.nn` operations and assignments. Values do not matter here, only the work does.

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
    velocities = [tf.Variable(tf.zeros_like(w)) for w in weights]

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            towers = [images]
            for layer in layers:
                towers = layer(towers)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, towers[0]))
        for w, v, gradient in zip(weights, velocities, tape.gradient(loss, weights), strict=True):
            v.assign(0.9 * v - 0.01 * (0.0005 * w + gradient))
            w.assign_add(v)
        return loss

    return step


def _layers(variant: Variant, classes: int, weight: Callable[..., tf.Variable]) -> list[Callable[[list], list]]:
    layers, channels, side, towers = [], 3, variant.crop_size, 1
    for convolution in variant.convolutions:
        layers.append(
            _convolution(variant, convolution, channels * (1 if convolution.reads == "own" else towers), weight)
        )
        towers, channels = variant.towers, convolution.filters // variant.towers
        side = (side + sum(convolution.padding[:2]) - convolution.kernel_size) // convolution.strides + 1
        if "pool" in convolution.then:
            side = (side - variant.pool_size) // variant.pool_strides + 1
    rows = side * side * channels * towers
    for dense in variant.dense:
        layers.append(_dense(rows, dense.units, variant.towers, weight, dropout=variant.dropout_rate))
        rows = dense.units
    return [*layers, _dense(rows, classes, 1, weight, dropout=None)]


def _convolution(variant: Variant, convolution: Convolution, channels: int, weight) -> Callable[[list], list]:
    size, outputs = convolution.kernel_size, convolution.filters // variant.towers
    kernels = [weight(size, size, channels, outputs) for _ in range(variant.towers)]
    biases = [weight(outputs) for _ in range(variant.towers)]
    top, bottom, left, right = convolution.padding
    lrn = variant.normalization
    steps = {
        "relu": tf.nn.relu,
        "tanh": tf.nn.tanh,
        "pool": lambda maps: tf.nn.max_pool2d(maps, variant.pool_size, variant.pool_strides, "VALID"),
        "lrn": lambda maps: tf.nn.local_response_normalization(maps, lrn.n // 2, lrn.k, lrn.alpha, lrn.beta),
    }

    def layer(towers: list) -> list:
        outputs = []
        for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            maps = towers[index] if convolution.reads == "own" else tf.concat(towers, -1)
            if convolution.strides > 1:
                maps = tf.nn.conv2d(
                    tf.pad(maps, [[0, 0], [top, bottom], [left, right], [0, 0]]), kernel, convolution.strides, "VALID"
                )
            else:
                maps = tf.nn.conv2d(maps, kernel, 1, "SAME" if top else "VALID")
            maps = tf.nn.bias_add(maps, bias)
            for step in convolution.then:
                maps = steps[step](maps)
            outputs.append(maps)
        return outputs

    return layer


def _dense(rows: int, units: int, towers: int, weight, dropout: float | None) -> Callable[[list], list]:
    kernels = [weight(rows, units // towers) for _ in range(towers)]
    biases = [weight(units // towers) for _ in range(towers)]

    def layer(inputs: list) -> list:
        flat = tf.concat([tf.reshape(part, [part.shape[0], -1]) for part in inputs], -1)
        outputs = [tf.nn.bias_add(flat @ kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)]
        if dropout is None:
            return outputs
        return [tf.nn.relu(x) * tf.cast(tf.random.uniform(x.shape) >= dropout, x.dtype) for x in outputs]

    return layer
