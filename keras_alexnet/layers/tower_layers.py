"""Convolution and fully connected layers in towers: the layers that have weights."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import keras
import tensorflow as tf

from keras_alexnet.distribute.compilation import compiles_small_functions
from keras_alexnet.distribute.towers import on_tower, read_by, tower
from keras_alexnet.layers.product import training_product

register = keras.saving.register_keras_serializable(package="keras_alexnet")

Connectivity = Literal["grouped", "full"]
# A name, a config or a `keras.initializers.Initializer`; Keras has no type information.
Initializer: TypeAlias = str | dict[str, Any] | Any

# The keyword and its values until version 0.1, which saved models still contain.
_READS: dict[str, Connectivity] = {"own": "grouped", "all": "full"}


def as_list(towers: Any) -> list:
    """The tensors, or the shapes, of all towers as a list; a single tensor or shape is one tower."""
    is_list = isinstance(towers, list | tuple) and not (towers and isinstance(towers[0], int | None))
    return list(towers) if is_list else [towers]


def concatenate(towers: Sequence[tf.Tensor]) -> tf.Tensor:
    """The channels of all towers in one tensor."""
    return towers[0] if len(towers) == 1 else tf.concat(towers, -1)


class TowerLayer(keras.layers.Layer):
    """Base class of the layers with one kernel and one bias per tower.

    Args:
      size: filters or units of all towers together, a multiple of `towers`.
      towers: number of towers, at least 1.
      connectivity: "grouped": each tower reads its own tower below; "full": each tower reads all towers below.
      kernel_initializer, bias_initializer: as in Keras' layers. Each tower draws its own kernel.
      reads: "own" or "all", the former name of connectivity "grouped" and "full"; for saved models.

    Raises:
      ValueError: if `towers` does not divide `size`, or `connectivity` is neither "grouped" nor "full".
    """

    def __init__(
        self,
        size: int,
        towers: int,
        connectivity: Connectivity,
        kernel_initializer: Initializer,
        bias_initializer: Initializer,
        reads: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if towers < 1 or size % towers:
            raise ValueError(f"{self.name}: towers={towers}: expected a divisor of the {size} outputs")
        if reads is not None:
            connectivity = _READS.get(reads, reads)  # type: ignore[arg-type]  # refused below
        if connectivity not in ("grouped", "full"):
            raise ValueError(f"{self.name}: connectivity={connectivity!r}: expected 'grouped' or 'full'")
        self.size, self.towers, self.connectivity = size, towers, connectivity
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernels: list[keras.Variable] = []
        self.biases: list[keras.Variable] = []

    def kernel_shape(self, input_shapes: list[tuple]) -> tuple[int, ...]:
        """Shape of a kernel without its last dimension, for one input shape per tower that it reads."""
        raise NotImplementedError

    def connect(self, kernel: tf.Tensor, bias: tf.Tensor, towers: Sequence[tf.Tensor], training: bool) -> tf.Tensor:
        """The outputs of one tower, which reads `towers`."""
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        shapes = as_list(input_shape)
        if self.connectivity == "grouped" and len(shapes) != self.towers:
            raise ValueError(
                f"{self.name}: connectivity='grouped': expected one input per tower, {self.towers}. "
                f"Received: {len(shapes)}"
            )
        read, outputs = shapes[:1] if self.connectivity == "grouped" else shapes, self.size // self.towers
        kernel_shape = (*self.kernel_shape(read), outputs)
        for index in range(self.towers):
            # Each on its tower's device. Autocast is off because a cast outside `on_tower` would be on another device.
            with tower(index):
                # One initializer for two kernels would give both the same values.
                initializer = self.kernel_initializer.clone()
                kernel = self.add_weight(
                    name=f"kernel_{index}", shape=kernel_shape, initializer=initializer, autocast=False
                )
                bias = self.add_weight(
                    name=f"bias_{index}", shape=(outputs,), initializer=self.bias_initializer, autocast=False
                )
            self.kernels.append(kernel)
            self.biases.append(bias)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        below = as_list(inputs)
        read = [[maps] for maps in below] if self.connectivity == "grouped" else read_by(self.towers, below)
        connect = functools.partial(self._connect_in_compute_dtype, training is True)
        outputs = [
            on_tower(index, connect, *weights, *read[index])
            for index, weights in enumerate(zip(self.kernels, self.biases, strict=True))
        ]
        return outputs if self.towers > 1 else outputs[0]

    def _connect_in_compute_dtype(
        self, training: bool, kernel: tf.Tensor, bias: tf.Tensor, *towers: tf.Tensor
    ) -> tf.Tensor:
        dtype = self.compute_dtype
        return self.connect(tf.cast(kernel, dtype), tf.cast(bias, dtype), towers, training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = (*self._output_shape(as_list(input_shape)[0]), self.size // self.towers)
        return [shape] * self.towers if self.towers > 1 else shape

    def _output_shape(self, input_shape: tuple) -> tuple:
        """Shape of a tower's output without its last dimension."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "towers": self.towers,
            "connectivity": self.connectivity,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


@register
class TowerConv2D(TowerLayer):
    """2D convolution in towers: one kernel `[kernel_size, kernel_size, in, filters / towers]` per tower.

    Two towers with grouped connectivity are a convolution in two groups (paper, section 3.2; conv2, conv4 and conv5).
    It is computed as one convolution per tower: `Conv2D(groups=2)` trains four times slower on a CPU and cannot be
    placed on two devices.

    Input: `[N, H, W, C]`, or a list of such tensors, one per tower below.
    Output: a list of `[N, H', W', filters / towers]`, one per tower; with one tower the tensor itself.

    Args:
      filters: number of filters of all towers together.
      kernel_size: side of the square kernel, in pixels.
      strides: in both directions, in pixels.
      padding: zeros added at `(top, bottom, left, right)`, in pixels.
      towers: number of towers, a divisor of `filters`.
      connectivity: "grouped" (each tower reads its own tower below) or "full" (each tower reads all of them).
      kernel_initializer, bias_initializer: as in `keras.layers.Conv2D`.

    Raises:
      ValueError: if `towers` does not divide `filters`, `connectivity` is unknown, or the number of inputs of a grouped
        layer is not `towers`.

    Examples:
        >>> layer = TowerConv2D(256, 5, padding=(2, 2, 2, 2), towers=2, connectivity="grouped")
        >>> [maps.shape for maps in layer([keras.ops.zeros((1, 27, 27, 48))] * 2)]
        [TensorShape([1, 27, 27, 128]), TensorShape([1, 27, 27, 128])]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        padding: Sequence[int] = (0, 0, 0, 0),
        towers: int = 2,
        connectivity: Connectivity = "grouped",
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **kwargs: Any,
    ):
        super().__init__(filters, towers, connectivity, kernel_initializer, bias_initializer, **kwargs)
        self.filters, self.kernel_size, self.strides, self.padding = filters, kernel_size, strides, tuple(padding)

    def kernel_shape(self, input_shapes: list[tuple]) -> tuple[int, ...]:
        return self.kernel_size, self.kernel_size, sum(shape[-1] for shape in input_shapes)

    def connect(self, kernel: tf.Tensor, bias: tf.Tensor, towers: Sequence[tf.Tensor], training: bool) -> tf.Tensor:
        top, bottom, left, right = self.padding
        # The gradient of a convolution with explicit padding is five times slower on a CPU. So zeros are added by SAME
        # where that means the same, and by tf.pad elsewhere.
        is_same = self.strides == 1 and self.kernel_size % 2 and set(self.padding) == {self.kernel_size // 2}
        maps = concatenate(towers)
        if any(self.padding) and not is_same:
            maps = tf.pad(maps, [[0, 0], [top, bottom], [left, right], [0, 0]])
        maps = tf.nn.conv2d(maps, kernel, self.strides, "SAME" if is_same else "VALID")
        return tf.nn.bias_add(maps, bias)

    def _output_shape(self, input_shape: tuple) -> tuple:
        top, bottom, left, right = self.padding
        sides = []
        for side, zeros in zip(input_shape[1:3], (top + bottom, left + right), strict=True):
            sides.append(None if side is None else (side + zeros - self.kernel_size) // self.strides + 1)
        return (input_shape[0], *sides)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }


@register
class TowerDense(TowerLayer):
    """Fully connected layer in towers: one kernel `[in, units / towers]` per tower. Maps are flattened first.

    With full connectivity the rows of the kernel are in tower, height, width, channel order.

    Input: `[N, ...]`, or a list of such tensors, one per tower below.
    Output: a list of `[N, units / towers]`, one per tower; with one tower the tensor itself.

    Args:
      units: number of units of all towers together.
      towers: number of towers, a divisor of `units`.
      connectivity: "full" (each tower reads all towers below, as in the paper) or "grouped".
      kernel_initializer, bias_initializer: as in `keras.layers.Dense`.

    Raises:
      ValueError: as `TowerConv2D`.

    Examples:
        >>> layer = TowerDense(4096, towers=2)
        >>> [units.shape for units in layer([keras.ops.zeros((1, 6, 6, 128))] * 2)]
        [TensorShape([1, 2048]), TensorShape([1, 2048])]
    """

    def __init__(
        self,
        units: int,
        towers: int = 2,
        connectivity: Connectivity = "full",
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        **kwargs: Any,
    ):
        super().__init__(units, towers, connectivity, kernel_initializer, bias_initializer, **kwargs)
        self.units = units

    def kernel_shape(self, input_shapes: list[tuple]) -> tuple[int, ...]:
        return (sum(math.prod(shape[1:]) for shape in input_shapes),)

    def connect(self, kernel: tf.Tensor, bias: tf.Tensor, towers: Sequence[tf.Tensor], training: bool) -> tf.Tensor:
        rows = concatenate([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in towers])
        # In training only, because an exported graph must not contain a gradient of ours.
        product = training_product if training and compiles_small_functions() else tf.matmul
        return tf.nn.bias_add(product(rows, kernel), bias)

    def _output_shape(self, input_shape: tuple) -> tuple:
        return (input_shape[0],)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units}
