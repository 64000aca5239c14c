"""Local response normalization as two functions compiled by XLA: forward and gradient."""

import functools
from collections.abc import Callable

import tensorflow as tf


@functools.cache
def compiled_lrn(depth_radius: int, bias: float, alpha: float, beta: float, dtype: str) -> Callable:
    """`tf.nn.local_response_normalization` as a sum of shifted slices, compiled.

    On a CPU it takes less than half of the time of TensorFlow's kernel forward, and less than a fifth with the gradient
    (`docs/decisions.md`). Values differ by less than 1e-6 of theirs.

    Args:
      depth_radius, bias, alpha, beta: as in `tf.nn.local_response_normalization`.
      dtype: type of the result. Computed in float32.

    Returns:
      A function of maps `[N, H, W, C]` with the gradient of its first order.
    """

    def window_sum(values: tf.Tensor) -> tf.Tensor:
        channels = values.shape[-1]
        padded = tf.pad(values, [[0, 0]] * 3 + [[depth_radius, depth_radius]])
        return sum(padded[..., first : first + channels] for first in range(2 * depth_radius + 1))

    def powers(maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The scales to the powers of -beta and of -1."""
        roots = tf.math.rsqrt(bias + alpha * window_sum(maps * maps))
        # Roots are faster than a power.
        return roots * tf.sqrt(roots) if beta == 0.75 else tf.pow(roots, 2 * beta), roots * roots

    @tf.function(jit_compile=True, autograph=False)
    def lrn_forward(maps: tf.Tensor) -> tf.Tensor:
        maps = tf.cast(maps, tf.float32)
        return tf.cast(maps * powers(maps)[0], dtype)

    @tf.function(jit_compile=True, autograph=False)
    def lrn_gradient(maps: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        # The scales are computed again: reading them from memory would take longer.
        values, upstream = tf.cast(maps, tf.float32), tf.cast(upstream, tf.float32)
        power, reciprocal = powers(values)
        shared = window_sum(upstream * values * power * reciprocal)
        return tf.cast(upstream * power - 2 * alpha * beta * values * shared, maps.dtype)

    @tf.custom_gradient
    def normalize(maps: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return lrn_forward(maps), functools.partial(lrn_gradient, maps)

    return normalize
