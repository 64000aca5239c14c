"""The layers that have weights: convolution and fully connected layer, in towers (see `keras_alexnet.layers`)."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_alexnet.distribute.towers import on_tower, read_by, tower

register = keras.saving.register_keras_serializable(package="keras_alexnet")


def joined(towers: Sequence[tf.Tensor]) -> tf.Tensor:
    """The towers' channels one behind the other."""
    return towers[0] if len(towers) == 1 else tf.concat(towers, -1)


class _TowerWeights(keras.layers.Layer):
    """One kernel and one bias per tower. `sizes` names the arguments that a subclass adds."""

    sizes: tuple[str, ...] = ()

    def __init__(self, size: int, towers: int, reads: str, kernel_initializer, bias_initializer, **kwargs):
        super().__init__(**kwargs)
        if size % towers:
            raise ValueError(f"{self.name}: {size} outputs cannot be shared by {towers} towers evenly")
        if reads not in ("own", "all"):
            raise ValueError(f"{self.name}: reads={reads!r}; expected 'own' or 'all'")
        self.size, self.towers, self.reads = size, towers, reads
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def create(self, kernel_shape: tuple[int, ...]) -> None:
        """Creates kernels of `[*kernel_shape, size / towers]` and biases, each on its tower's device."""
        self.kernels, self.biases = [], []
        outputs = self.size // self.towers
        for index in range(self.towers):
            with tower(index):
                # One initializer for two kernels would give both the same values.
                kernel_initializer = self.kernel_initializer.clone()
                # Cast in `connect`: a cast outside it would not be on the tower's device.
                kernel = self.add_weight(
                    name=f"kernel_{index}",
                    shape=(*kernel_shape, outputs),
                    initializer=kernel_initializer,
                    autocast=False,
                )
                bias = self.add_weight(
                    name=f"bias_{index}", shape=(outputs,), initializer=self.bias_initializer, autocast=False
                )
            self.kernels.append(kernel)
            self.biases.append(bias)

    @staticmethod
    def listed(towers: Any) -> list:
        """Tensors, or shapes, one a tower; a single tensor or its shape counts as one tower."""
        is_list = isinstance(towers, list | tuple) and not isinstance(towers[0], int | None)
        return list(towers) if is_list else [towers]

    def call(self, inputs):
        towers = self.listed(inputs)
        read = [[maps] for maps in towers] if self.reads == "own" else read_by(self.towers, towers)
        return [
            on_tower(index, self._connect_in_dtype, *weights, *read[index])
            for index, weights in enumerate(zip(self.kernels, self.biases, strict=True))
        ]

    def _connect_in_dtype(self, kernel, bias, *towers):
        return self.connect(tf.cast(kernel, self.compute_dtype), tf.cast(bias, self.compute_dtype), towers)

    def connect(self, kernel: tf.Tensor, bias: tf.Tensor, towers: Sequence[tf.Tensor]) -> tf.Tensor:
        """The outputs of one tower, which reads `towers`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        names = ("towers", "reads", *self.sizes)
        initializers = {
            name: keras.initializers.serialize(getattr(self, name))
            for name in ("kernel_initializer", "bias_initializer")
        }
        return super().get_config() | {name: getattr(self, name) for name in names} | initializers


@register
class TowerConv2D(_TowerWeights):
    """Convolution in towers: kernels `[kh, kw, in, filters / towers]`.

    With two towers and `reads="own"` this is a convolution in two groups. It is written as one convolution per tower,
    because Keras' own grouped convolution is four times slower on CPU and knows no placement.

    Args:
      filters: of all towers together.
      kernel_size: side of the square kernel.
      strides: in both directions.
      padding: zeros added at `(top, bottom, left, right)`.
      towers: how many kernels share the filters.
      reads: "own" or "all" (module docstring).

    Raises:
      ValueError: if towers do not divide filters, or `reads` is neither "own" nor "all".
    """

    sizes = ("filters", "kernel_size", "strides", "padding")

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        padding: Sequence[int] = (0, 0, 0, 0),
        towers: int = 2,
        reads: Literal["own", "all"] = "own",
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(filters, towers, reads, kernel_initializer, bias_initializer, **kwargs)
        self.filters, self.kernel_size, self.strides, self.padding = (
            filters,
            kernel_size,
            strides,
            tuple(padding),
        )

    def build(self, input_shape):
        shapes = self.listed(input_shape)
        channels = shapes[0][-1] * (1 if self.reads == "own" else len(shapes))
        self.create((self.kernel_size, self.kernel_size, channels))

    def connect(self, kernel, bias, towers):
        top, bottom, left, right = self.padding
        # Zeros are added by SAME where that means the same, and by tf.pad elsewhere: the gradient of a convolution with
        # explicit padding is five times slower on CPU.
        is_same = self.strides == 1 and self.kernel_size % 2 and set(self.padding) == {self.kernel_size // 2}
        maps = joined(towers)
        if any(self.padding) and not is_same:
            maps = tf.pad(maps, [[0, 0], [top, bottom], [left, right], [0, 0]])
        maps = tf.nn.conv2d(maps, kernel, self.strides, "SAME" if is_same else "VALID")
        return tf.nn.bias_add(maps, bias)


@register
class TowerDense(_TowerWeights):
    """Fully connected layer in towers: kernels `[in, units / towers]`; maps are flattened first.

    With `reads="all"` the rows are in tower, height, width, channel order. Arguments as for TowerConv2D.
    """

    sizes = ("units",)

    def __init__(
        self,
        units: int,
        towers: int = 2,
        reads: Literal["own", "all"] = "all",
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(units, towers, reads, kernel_initializer, bias_initializer, **kwargs)
        self.units = units

    def build(self, input_shape):
        sizes = [math.prod(shape[1:]) for shape in self.listed(input_shape)]
        self.create((sizes[0] if self.reads == "own" else sum(sizes),))

    def connect(self, kernel, bias, towers):
        rows = joined([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in towers])
        return tf.nn.bias_add(tf.matmul(rows, kernel), bias)
