"""The layers of LeNet-5 that later networks do not have.

References: LeCun, Bottou, Bengio, Haffner, Gradient-Based Learning Applied to Document Recognition, Proceedings of the
IEEE 86 (1998), section II.B and appendix A.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
def scaled_tanh(values: Any) -> Any:
    """`1.7159 * tanh(2 / 3 * x)`, which maps 1 to 1 and -1 to -1 (appendix A)."""
    return 1.7159 * tf.math.tanh(values * 2 / 3)


@register
class TrainableSubsampling(keras.layers.Layer):
    """Sums 2 x 2 pixels, multiplies by a coefficient of the map and adds a bias of the map.

    Input: `[N, H, W, C]`, H and W even. Output: `[N, H / 2, W / 2, C]`. Weights: coefficients `[C]` and biases `[C]`.

    Args:
      initializer: of both.

    Examples:
        >>> TrainableSubsampling("ones")(keras.ops.ones((1, 2, 2, 1)))[0, 0, 0].numpy().tolist()
        [5.0]
    """

    def __init__(self, initializer: Any = "ones", **kwargs: Any):
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1:]
        self.coefficient = self.add_weight(name="coefficient", shape=channels, initializer=self.initializer.clone())
        self.bias = self.add_weight(name="bias", shape=channels, initializer=self.initializer.clone())

    def call(self, inputs: Any) -> Any:
        sums = 4 * tf.nn.avg_pool2d(inputs, 2, 2, "VALID")
        return sums * tf.convert_to_tensor(self.coefficient) + tf.convert_to_tensor(self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        images, height, width, channels = input_shape
        return (images, height // 2, width // 2, channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"initializer": keras.initializers.serialize(self.initializer)}


@register
class PartialConv2D(keras.layers.Layer):
    """A convolution whose filters read some of the maps, by a table. Stride 1, no padding.

    Input: `[N, H, W, C]`. Output: `[N, H - kernel_size + 1, W - kernel_size + 1, len(table)]`. Weights: the kernels
    that exist `[kernel_size, kernel_size, connections]`, filter by filter, and biases `[len(table)]`.

    Args:
      table: for each filter the indices of the maps that it reads.
      kernel_size: side of the kernel, in pixels.
      kernel_initializer, bias_initializer: as in `keras.layers.Conv2D`.

    Examples:
        >>> PartialConv2D([(0, 1), (1, 2)], 5)(keras.ops.ones((1, 14, 14, 3))).shape
        TensorShape([1, 10, 10, 2])
    """

    def __init__(
        self,
        table: Sequence[Sequence[int]],
        kernel_size: int,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.table, self.kernel_size = tuple(tuple(maps) for maps in table), kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Any) -> None:
        channels, size = input_shape[-1], self.kernel_size
        connections = [(read, index) for index, maps in enumerate(self.table) for read in maps]
        if max(read for read, _ in connections) >= channels:
            raise ValueError(f"{self.name}: table={self.table}: expected maps below {channels}")
        # Multiplied by this, the kernels that exist are in their places and the others are 0.
        self._places = np.zeros((len(connections), channels * len(self.table)), np.float32)
        for row, (read, index) in enumerate(connections):
            self._places[row, read * len(self.table) + index] = 1
        self._shape = (size, size, channels, len(self.table))
        shape = (size, size, len(connections))
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer)
        self.bias = self.add_weight(name="bias", shape=(len(self.table),), initializer=self.bias_initializer)

    def call(self, inputs: Any) -> Any:
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [-1, len(self._places)])
        kernel = tf.reshape(tf.matmul(kernel, tf.cast(self._places, kernel.dtype)), self._shape)
        return tf.nn.bias_add(tf.nn.conv2d(inputs, kernel, 1, "VALID"), tf.convert_to_tensor(self.bias))

    def compute_output_shape(self, input_shape: Any) -> Any:
        images, height, width, _ = input_shape
        lost = self.kernel_size - 1
        return (images, height - lost, width - lost, len(self.table))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "table": self.table,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


@register
class RadialBasisOutput(keras.layers.Layer):
    """The negative squared distance from each class's code; a softmax of it prefers the nearest code.

    In float32 under any dtype policy. Input: `[N, D]`. Output: `[N, classes]`. The codes are a weight that training
    does not change.

    Args:
      codes: one code of D values 1 and -1 for each class, as a string of "1" and "0".

    Raises:
      ValueError: if the codes are not strings of "1" and "0" of one length.

    Examples:
        >>> RadialBasisOutput(["11", "00"])(keras.ops.array([[1.0, 0.0]])).numpy().tolist()
        [[-1.0, -5.0]]
    """

    def __init__(self, codes: Sequence[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.codes = tuple(codes)
        if len({len(code) for code in self.codes}) != 1 or not set("".join(self.codes)) <= {"0", "1"}:
            raise ValueError(f"{self.name}: codes={codes!r}: expected strings of 0 and 1 of the same length")

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] != len(self.codes[0]):
            raise ValueError(f"{self.name}: codes: expected {input_shape[-1]} values, got {len(self.codes[0])}")
        values = np.array([[2.0 * (digit == "1") - 1 for digit in code] for code in self.codes], np.float32)
        self.centers = self.add_weight(
            name="centers",
            shape=values.shape,
            initializer=lambda shape, dtype: tf.constant(values, dtype),
            trainable=False,
            autocast=False,
        )

    def call(self, inputs: Any) -> Any:
        differences = tf.cast(inputs, tf.float32)[:, tf.newaxis] - tf.convert_to_tensor(self.centers)
        return -tf.reduce_sum(tf.square(differences), -1)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor((inputs.shape[0], len(self.codes)), "float32")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], len(self.codes))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"codes": self.codes}
