"""Batch normalization whose training step is one operation."""

from typing import Any

import keras
import tensorflow as tf

# oneDNN's kernels are fast where the number of channels is a multiple of this, and slower than Keras' layer otherwise
# (docs/decisions.md).
_FAST_CHANNELS = 8
_FUSED_DTYPES = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="keras_alexnet")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, trained with TensorFlow's fused operation.

    Keras 3 composes the layer and its gradient of about twenty operations, each of which reads all activations.
    Arguments, weights and results are those of Keras' layer, within rounding: the statistics of a batch are computed in
    float32, and the moving variance follows the variances without the factor N / (N - 1) of the fused operation.

    Keras' layer computes inference, and inputs that are not `[N, H, W, C]` with C a multiple of 8 and float32, bfloat16
    or float16, or for which `axis`, `mask`, `renorm` or `synchronized` are given.

    Args:
      **kwargs: those of `keras.layers.BatchNormalization`.

    Examples:
        >>> BatchNormalization()(keras.ops.ones((8, 32, 32, 16)), training=True).shape
        TensorShape([8, 32, 32, 16])

    References:
      - Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable and mask is None and self._can_fuse(inputs)):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        scale = tf.cast(self.gamma, tf.float32) if self.scale else tf.ones(channels)
        offset = tf.cast(self.beta, tf.float32) if self.center else tf.zeros(channels)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=self.epsilon)
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            moving.assign(tf.cast(moving, tf.float32) * self.momentum + value * (1 - self.momentum))
        return tf.cast(outputs, self.compute_dtype)

    def _can_fuse(self, inputs: Any) -> bool:
        if self.axis not in (-1, 3) or self.renorm or self.synchronized or len(inputs.shape) != 4:
            return False
        return inputs.shape[-1] % _FAST_CHANNELS == 0 and keras.backend.standardize_dtype(inputs.dtype) in _FUSED_DTYPES
