"""What the builders of this package share: initialization, convolutions, pooling, and the output.

Nothing here imports TensorFlow or Keras before a network is built: the names of the networks are choices of flags.
"""

import math
from typing import Any

# Momentum and epsilon of batch normalization: PyTorch's defaults (0.1 there is 0.9 here).
BATCH_NORM = (0.9, 1e-5)


def scaled(size: int, width: float) -> int:
    """`width` times as many filters or units, at least 1.

    Raises:
      ValueError: if width is not a positive number.
    """
    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"width={width}: expected a positive number; 1 is the published network")
    return max(1, round(size * width))


def initializer(kind: str | float) -> Any:
    """The initializer of a kernel: a standard deviation (Gaussian), or one of

    - "he", "he_fan_out": Gaussian, standard deviation sqrt(2 / fan-in or fan-out) (He et al. 2015);
    - "lecun": Gaussian, standard deviation sqrt(1 / fan-in) (Chainer's default);
    - "xavier": Caffe's filler, uniform in +-sqrt(3 / fan-in);
    - "glorot": uniform in +-sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio 2010).
    """
    import keras

    if not isinstance(kind, str):
        return keras.initializers.RandomNormal(stddev=kind)
    scaling = keras.initializers.VarianceScaling
    if kind in ("xavier", "glorot"):
        return scaling(1.0, "fan_in" if kind == "xavier" else "fan_avg", "uniform")
    if kind == "lecun":
        return scaling(1.0, "fan_in", "untruncated_normal")
    return scaling(2.0, "fan_out" if kind == "he_fan_out" else "fan_in", "untruncated_normal")


def convolution(
    maps: Any,
    filters: int,
    kernel_size: int | tuple[int, int],
    strides: int = 1,
    padding: str | int = "same",
    *,
    name: str,
    kernel: str | float = "he",
    bias: float | None = 0.0,
    weight_decay: float = 0.0,
) -> Any:
    """A convolution.

    Args:
      maps: the input.
      filters, kernel_size, strides: as in `keras.layers.Conv2D`.
      padding: "same", "valid", or a number of zeros on each side. (With strides, "same" puts more zeros at the right
        and the bottom; Caffe and PyTorch put the same number on each side.)
      name: of the layer.
      kernel: see `initializer`.
      bias: initial value of the biases; None for no biases.
      weight_decay: of this layer alone, as a regularizer of the kernel.
    """
    import keras

    if isinstance(padding, int):
        maps = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(maps) if padding else maps
        padding = "valid"
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding,
        use_bias=bias is not None,
        kernel_initializer=initializer(kernel),
        bias_initializer=keras.initializers.Constant(bias or 0.0),
        kernel_regularizer=decay(weight_decay),
        name=name,
    )(maps)


def decay(weight_decay: float) -> Any:
    """The regularizer whose gradient is `weight_decay` times the weight; None for 0."""
    import keras

    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


def normalized_convolution(
    maps: Any,
    filters: int,
    kernel_size: int | tuple[int, int],
    strides: int = 1,
    padding: str | int = "same",
    *,
    name: str,
    kernel: str | float = "he",
    constants: tuple[float, float] = BATCH_NORM,
) -> Any:
    """A convolution without biases, batch normalization, and ReLU."""
    maps = convolution(maps, filters, kernel_size, strides, padding, name=name, kernel=kernel, bias=None)
    return relu(batch_norm(maps, f"{name}_bn", constants), f"{name}_relu")


def relu(maps: Any, name: str) -> Any:
    """ReLU."""
    import keras

    return keras.layers.Activation("relu", name=name)(maps)


def batch_norm(maps: Any, name: str, constants: tuple[float, float] = BATCH_NORM) -> Any:
    """Batch normalization with (momentum, epsilon)."""
    from keras_alexnet.layers import BatchNormalization

    return BatchNormalization(momentum=constants[0], epsilon=constants[1], name=name)(maps)


def max_pool(maps: Any, name: str, size: int = 3, strides: int = 2) -> Any:
    """Max pooling as in Caffe and cuda-convnet: the number of windows is rounded up."""
    from keras_alexnet.layers import OverlappingMaxPool

    return OverlappingMaxPool(size, strides, overhang=True, name=name)(maps)


def dropout(values: Any, rate: float, name: str) -> Any:
    """Inverted dropout, with a mask of its own on each replica."""
    from keras_alexnet.layers import TowerDropout

    return TowerDropout(rate, rescale="training", name=name)(values) if rate else values


def classifier(features: Any, classes: int, kernel: str | float = "xavier", bias: float = 0.0, name: str = "fc") -> Any:
    """The fully connected layer that gives the logits."""
    import keras

    starts = {"kernel_initializer": initializer(kernel), "bias_initializer": keras.initializers.Constant(bias)}
    return keras.layers.Dense(classes, name=name, **starts)(features)


def output(logits: Any, activation: str | None, name: str = "predictions") -> Any:
    """The output in float32, under any dtype policy: the loss needs it."""
    import keras

    return keras.layers.Activation(activation, dtype="float32", name=name)(logits)
