"""The network's layers. Between them travels a list with one tensor `[N, H, W, channels / towers]` per tower.

A layer that `reads="own"` connects each tower to itself; one that `reads="all"` connects each tower to every tower.
`layer.get_weights()` gives kernel and bias of tower 0, then of tower 1. Where a layer has no `get_config`, Keras makes
it of the constructor's arguments.
"""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.placement import tower


def per_tower(function: Callable[[Any], Any], towers: Sequence) -> list:
    """`function` of each tower's tensor, run where that tower lives."""
    outputs = []
    for index, values in enumerate(towers):
        with tower(index):
            outputs.append(function(values))
    return outputs


register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class MeanSubtraction(keras.layers.Layer):
    """Subtracts the training set's mean from images and scales the result: `(image - mean) * scale`.

    Args:
      mean: RGB means `[3]` or a mean image `[S, S, 3]`, in grey levels 0..255. The 2012 code subtracts the same mean
        image, the central window of the 256 x 256 one, from every crop (convdata_jpeg.py).
      scale: 1 in 2012. 1/64 gives natural images about unit variance, which He's initial values need.
    """

    def __init__(self, mean: Sequence | np.ndarray, scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.mean = np.asarray(mean, np.float32)
        self.scale = scale

    def call(self, images):
        # In float32 whatever the policy: bfloat16 cannot tell neighbouring grey levels apart above 128.
        centred = (tf.cast(images, tf.float32) - self.mean) * self.scale
        return tf.cast(centred, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        # As text a mean image would be 3 MB of digits; base64 keeps it at 0.8 MB, and exact.
        encoded = base64.b64encode(self.mean.astype("<f4").tobytes()).decode("ascii")
        return super().get_config() | {
            "mean": {"shape": self.mean.shape, "float32": encoded},
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MeanSubtraction":
        """The inverse of `get_config`."""
        mean = np.frombuffer(base64.b64decode(config["mean"]["float32"]), "<f4").reshape(config["mean"]["shape"])
        return cls(**config | {"mean": mean})


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
                kernel = self.add_weight(
                    name=f"kernel_{index}", shape=(*kernel_shape, outputs), initializer=kernel_initializer
                )
                bias = self.add_weight(name=f"bias_{index}", shape=(outputs,), initializer=self.bias_initializer)
            self.kernels.append(kernel)
            self.biases.append(bias)

    def read(self, inputs: list, index: int):
        """What tower `index` reads of the towers below, concatenated."""
        if self.reads == "own":
            return inputs[index]
        return inputs[0] if len(inputs) == 1 else tf.concat(inputs, -1)

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
        channels = input_shape[0][-1] * (1 if self.reads == "own" else len(input_shape))
        self.create((self.kernel_size, self.kernel_size, channels))

    def call(self, inputs):
        top, bottom, left, right = self.padding
        # Zeros are added by SAME where that means the same, and by tf.pad elsewhere: the gradient of a convolution with
        # explicit padding is five times slower on CPU.
        is_same = self.strides == 1 and self.kernel_size % 2 and set(self.padding) == {self.kernel_size // 2}
        outputs = []
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            with tower(index):
                maps = self.read(inputs, index)
                if any(self.padding) and not is_same:
                    maps = tf.pad(maps, [[0, 0], [top, bottom], [left, right], [0, 0]])
                maps = tf.nn.conv2d(maps, kernel, self.strides, "SAME" if is_same else "VALID")
                outputs.append(tf.nn.bias_add(maps, bias))
        return outputs


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
        sizes = [math.prod(shape[1:]) for shape in input_shape]
        self.create((sizes[0] if self.reads == "own" else sum(sizes),))

    def call(self, inputs):
        outputs = []
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            with tower(index):
                rows = self.read([tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in inputs], index)
                outputs.append(tf.nn.bias_add(tf.matmul(rows, kernel), bias))
        return outputs


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each activation by `(bias + alpha * sum of squares over 2 * depth_radius + 1 channels) ** beta`.

    The defaults are those printed in the paper (section 3.3). alpha multiplies the plain sum, as in the paper and in
    TensorFlow; Caffe, PyTorch and the 2012 code divide it by the window's size first.
    The window never leaves its tower, as on the two GPUs of 2012. Computed in float32 under any dtype policy.
    """

    def __init__(self, depth_radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **kwargs):
        super().__init__(**kwargs)
        self.depth_radius, self.bias, self.alpha, self.beta = depth_radius, bias, alpha, beta

    def call(self, inputs):
        def normalize(maps):
            constants = (self.depth_radius, self.bias, self.alpha, self.beta)
            normalized = tf.nn.local_response_normalization(tf.cast(maps, tf.float32), *constants)
            return tf.cast(normalized, self.compute_dtype)

        return per_tower(normalize, inputs)


@register
class OverlappingMaxPool(keras.layers.Layer):
    """Max pooling whose windows (3 x 3) are larger than their strides (2), without padding (paper, section 3.4)."""

    def __init__(self, pool_size: int = 3, strides: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.pool_size, self.strides = pool_size, strides

    def call(self, inputs):
        return per_tower(lambda maps: tf.nn.max_pool2d(maps, self.pool_size, self.strides, "VALID"), inputs)


@register
class TowerActivation(keras.layers.Layer):
    """An elementwise activation ("relu", "tanh", ...), tower by tower."""

    def __init__(self, activation: str, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, inputs):
        return per_tower(self.activation, inputs)


@register
class TowerDropout(keras.layers.Layer):
    """Dropout as printed in the paper (section 4.2): a 0/1 mask in training, outputs times `keep` otherwise.

    Keras' own (inverted) dropout divides by `keep` in training instead; see `rescale="training"`.

    Args:
      rate: share of the units that a mask silences; `keep` is 1 - rate.
      rescale: "inference" (as printed) or "training" (inverted dropout).
      seed: of the masks. Every step, replica and tower draws its own mask from it.

    Raises:
      ValueError: for a rate outside [0, 1), or another `rescale`.
    """

    def __init__(self, rate: float = 0.5, rescale: str = "inference", seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"{self.name}: rate={rate}; expected 0 <= rate < 1")
        if rescale not in ("inference", "training"):
            raise ValueError(f"{self.name}: rescale={rescale!r}; expected 'inference' or 'training'")
        self.rate, self.rescale, self.seed = rate, rescale, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training: bool = False):
        keep = 1.0 - self.rate
        if not training:
            return [values * keep for values in inputs] if self.rescale == "inference" else list(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        replica = tf.distribute.get_replica_context()
        if replica is not None:
            # The generator's state is mirrored: without this all replicas would draw the same mask.
            seed = tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
        outputs = []
        for index, values in enumerate(inputs):
            with tower(index):
                draws = tf.random.stateless_uniform(
                    tf.shape(values), tf.random.experimental.stateless_fold_in(seed, index)
                )
                mask = tf.cast(draws < keep, values.dtype)
                outputs.append(values * mask if self.rescale == "inference" else values * mask / keep)
        return outputs
