"""From the layers of a Variant, which are data, to Keras layers."""

import math
from typing import Any

import keras

from keras_alexnet.layers import (
    LocalResponseNormalization,
    MapResponseNormalization,
    OverlappingMaxPool,
    TowerActivation,
    TowerConv2D,
    TowerDense,
    TowerDropout,
)
from keras_alexnet.layers.tower_layers import as_list
from keras_alexnet.variants.architecture import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    Layer,
    MapNormalization,
    Normalization,
    Pooling,
    Variant,
)


def apply_layer(layer: Layer, variant: Variant, towers: Any) -> Any:
    """Creates a Keras layer and applies it.

    Args:
      layer: one of the layers of `variant`.
      variant: the network.
      towers: the outputs of the layer below, a list with one tensor per tower, or a tensor.

    Returns:
      The outputs, a list with one tensor per tower, or a tensor if there is one tower.
    """
    return _keras_layer(layer, variant, as_list(towers))(towers)


def _keras_layer(layer: Layer, variant: Variant, towers: list) -> keras.layers.Layer:
    match layer:
        case Convolution():
            read = towers[:1] if layer.connectivity == "grouped" else towers
            fan_in = layer.kernel_size**2 * sum(maps.shape[-1] for maps in read)
            return TowerConv2D(
                layer.filters,
                layer.kernel_size,
                layer.strides,
                layer.padding,
                towers=variant.towers,
                connectivity=layer.connectivity,
                **_initializers(layer, variant, fan_in),
                name=layer.name,
            )
        case Dense():
            fan_in = sum(math.prod(maps.shape[1:]) for maps in towers)
            # The classifier is not split: it is on the first device, with the softmax, as the last layer was in 2012.
            count = variant.towers if layer.split else 1
            initializers = _initializers(layer, variant, fan_in)
            return TowerDense(layer.units, towers=count, connectivity="full", **initializers, name=layer.name)
        case Normalization():
            return LocalResponseNormalization(
                layer.n // 2, layer.k, layer.alpha, layer.beta, layer.across, name=layer.name
            )
        case MapNormalization():
            return MapResponseNormalization(layer.n, layer.k, layer.alpha, layer.beta, name=layer.name)
        case Activation():
            return TowerActivation(layer.function, name=layer.name)
        case Pooling():
            return OverlappingMaxPool(layer.size, layer.strides, layer.overhang, name=layer.name)
        case Dropout():
            return TowerDropout(layer.rate, layer.rescale, name=layer.name)


def _initializers(
    layer: Convolution | Dense, variant: Variant, fan_in: int
) -> dict[str, keras.initializers.Initializer]:
    if variant.init == "gaussian":
        kernel = keras.initializers.RandomNormal(stddev=layer.stddev)
        bias = keras.initializers.Constant(layer.bias)
    elif variant.init == "he":
        kernel = keras.initializers.RandomNormal(stddev=math.sqrt(2 / fan_in))
        bias = keras.initializers.Zeros()
    else:
        limit = 1 / math.sqrt(fan_in)
        kernel, bias = (keras.initializers.RandomUniform(-limit, limit) for _ in range(2))
    return {"kernel_initializer": kernel, "bias_initializer": bias}
