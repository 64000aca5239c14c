"""Builds the networks that are plain stacks of layers."""

import functools
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.network import Network
from keras_alexnet.networks.stack import Stack, Weights


def network(name: str, stack: Stack) -> Network:
    """The registry's entry of a stack."""
    return Network(
        name=name,
        build=functools.partial(build, name, stack),
        image_size=stack.image_size,
        resize_size=stack.resize_size,
        resize_policy="shorter_side",
        weight_decay=stack.weight_decay,
        bias_lr_multiplier=stack.bias_lr_multiplier,
        features_layer=stack.features_layer,
        options=stack.options,
        published_crops=stack.published_crops,
    )


def build(
    name: str,
    stack: Stack,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    width: float = 1.0,
    init: str = "paper",
    activation: str = "relu",
    pool_size: int = 3,
) -> Any:
    """Builds the Keras model; layers without weights are called after the layer with weights below them.

    Raises:
      ValueError: `pool_size` is neither 3, where windows of max pooling overlap, nor 2.
    """
    import keras

    if pool_size not in (2, 3):
        raise ValueError(f"pool_size={pool_size}: expected 3, or 2 for windows that do not overlap")
    images, values = inputs.image_input(name, image_size, stack.least, stack.preprocessing, init)
    below = ""
    for layer in stack.layers:
        if isinstance(layer, str):
            values = _without_weights(layer, values, f"{below}_{layer}", stack, activation, pool_size)
        else:
            below = layer.name
            values = _with_weights(layer, values, classes, width, init)
    return keras.Model(images, blocks.output(values, classifier_activation), name=name)


def _with_weights(layer: Weights, values: Any, classes: int, width: float, init: str) -> Any:
    import keras

    from keras_alexnet.layers import LocallyConnected2D

    size = blocks.scaled(layer.size, width) if layer.size else classes
    kernel, bias = ("he", 0.0) if init == "he" and layer.bias is not None else (layer.kernel, layer.bias)
    if layer.kernel_size is not None and not layer.local:
        return blocks.convolution(
            values,
            size,
            layer.kernel_size,
            layer.strides,
            layer.padding,
            name=layer.name,
            kernel=kernel,
            bias=bias,
            weight_decay=layer.decay,
        )
    arguments: dict[str, Any] = {
        "kernel_initializer": blocks.initializer(kernel),
        "bias_initializer": keras.initializers.Constant(bias or 0.0),
        "kernel_regularizer": blocks.decay(layer.decay),
        "name": layer.name,
    }
    if layer.kernel_size is not None:
        return LocallyConnected2D(size, layer.kernel_size, "same", **arguments)(values)
    return keras.layers.Dense(size, **arguments)(values)


def _without_weights(kind: str, values: Any, name: str, stack: Stack, activation: str, pool_size: int) -> Any:
    import keras

    from keras_alexnet.layers import LocalResponseNormalization

    match kind:
        case "act":
            return keras.layers.Activation(activation, name=name)(values)
        case "bn":
            return blocks.batch_norm(values, name)
        case "lrn":
            return LocalResponseNormalization(*stack.lrn, name=name)(values)
        case "max":
            return blocks.max_pool(values, name, pool_size)
        case "max2":
            return keras.layers.MaxPooling2D(2, name=name)(values)
        case "average":
            # SAME averages over the pixels that exist, as cuda-convnet does.
            return keras.layers.AveragePooling2D(3, 2, "same" if values.shape[1] % 2 == 0 else "valid", name=name)(
                values
            )
        case "dropout":
            return blocks.dropout(values, 0.5, name)
        case "global":
            return keras.layers.GlobalAveragePooling2D(name=name)(values)
        case _:
            return keras.layers.Flatten(name=name)(values)
