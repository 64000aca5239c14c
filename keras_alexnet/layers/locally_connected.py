"""Locally connected layer: a convolution without weight sharing. Keras 3 has none."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class LocallyConnected2D(keras.layers.Layer):
    """A convolution with stride 1 whose every position has its own kernel and its own biases.

    Input: `[N, H, W, C]` with known H, W and C. Output: `[N, H', W', filters]`.

    Weights: a kernel `[H', W', kernel_size ** 2 * C, filters]`, whose rows are in height, width, channel order, and a
    bias `[H', W', filters]`.

    Args:
      filters: number of filters, at least 1.
      kernel_size: side of the window, in pixels, odd.
      padding: "same" (zeros around the image, so that H' = H) or "valid" (H' = H - kernel_size + 1).
      kernel_initializer, bias_initializer, kernel_regularizer: as in `keras.layers.Conv2D`; the fan-in is that of a
        window.

    Raises:
      ValueError: if an argument is out of range, or the window is larger than the image.

    Examples:
        >>> LocallyConnected2D(32, 3)(keras.ops.zeros((1, 6, 6, 64))).shape
        TensorShape([1, 6, 6, 32])

    References:
      - `local` layers of cuda-convnet (Krizhevsky 2011), with unshared biases as there.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        padding: Literal["same", "valid"] = "same",
        kernel_initializer: Any = "he_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if filters < 1:
            raise ValueError(f"{self.name}: filters={filters}: expected at least 1")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"{self.name}: kernel_size={kernel_size}: expected an odd number")
        if padding not in ("same", "valid"):
            raise ValueError(f"{self.name}: padding={padding!r}: expected 'same' or 'valid'")
        self.filters, self.kernel_size, self.padding = filters, kernel_size, padding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        _, height, width, filters = self.compute_output_shape(input_shape)
        if height < 1 or width < 1:
            raise ValueError(
                f"{self.name}: kernel_size={self.kernel_size}: larger than the image. Received: {input_shape}"
            )
        self.kernel = self.add_weight(
            name="kernel",
            shape=(height, width, self.kernel_size**2 * input_shape[-1], filters),
            initializer=self._initial_kernels,
            regularizer=self.kernel_regularizer,
        )
        self.bias = self.add_weight(name="bias", shape=(height, width, filters), initializer=self.bias_initializer)

    def _initial_kernels(self, shape: Sequence[int], dtype: Any) -> Any:
        # Of the kernel's own shape an initializer would count the positions as inputs.
        height, width, inputs, filters = shape
        drawn = self.kernel_initializer((inputs, height * width * filters), dtype)
        return tf.transpose(tf.reshape(drawn, (inputs, height, width, filters)), (1, 2, 0, 3))

    def call(self, inputs: Any) -> Any:
        # Positions first: all products are one batched matrix product [N, k * k * C] x [k * k * C, filters].
        maps = tf.transpose(inputs, [1, 2, 0, 3])
        if self.padding == "same":
            zeros = [self.kernel_size // 2] * 2
            maps = tf.pad(maps, [zeros, zeros, [0, 0], [0, 0]])
        height, width = self.kernel.shape[:2]
        # On a CPU the gradients of maps[y:, x:] and of tf.image.extract_patches take ten times as long as tf.slice's.
        windows = [
            tf.slice(maps, [y, x, 0, 0], [height, width, -1, -1])
            for y in range(self.kernel_size)
            for x in range(self.kernel_size)
        ]
        products = tf.matmul(tf.concat(windows, -1), tf.convert_to_tensor(self.kernel))
        return tf.transpose(products, [2, 0, 1, 3]) + tf.convert_to_tensor(self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        lost = 0 if self.padding == "same" else self.kernel_size - 1
        return (input_shape[0], input_shape[1] - lost, input_shape[2] - lost, self.filters)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "padding": self.padding,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
