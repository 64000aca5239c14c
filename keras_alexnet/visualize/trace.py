"""What the layers of any Keras model compute, nested and subclassed models included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.layers.nested import all_layers
from keras_alexnet.layers.tower_layers import TowerLayer
from keras_alexnet.plots import Block
from keras_alexnet.saved_model.classifier_layer import Call, observed
from keras_alexnet.ten_crop import Preprocessing, preprocess

_ACTIVATIONS = ("TowerActivation", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU")
# Words for layers between two layers with kernels, by the name of their class.
_BETWEEN = {
    "LocalResponseNormalization": "LRN",
    "MapResponseNormalization": "map normalization",
    "OverlappingMaxPool": "max pooling",
    "MaxPooling2D": "max pooling",
    "AveragePooling2D": "average pooling",
    "GlobalAveragePooling2D": "global average pooling",
    "GlobalMaxPooling2D": "global max pooling",
}


def trace(model: keras.Model, crops: np.ndarray | tf.Tensor, preprocessing: Preprocessing = "none") -> list[Call]:
    """Runs a model and returns the calls of its innermost layers in their order.

    Args:
      model: classifier of `[N, S, S, 3]`.
      crops: RGB 0..255, `[N, S, S, 3]`.
      preprocessing: what the model expects to be done to them.
    """
    layers = [layer for layer in all_layers(model) if not all_layers(layer)]
    with observed(layers) as calls:
        model(preprocess(tf.convert_to_tensor(crops), preprocessing), training=False)
    return calls


def kernels_of(layer: keras.layers.Layer) -> list[Any]:
    """The weights of a layer with two dimensions or more; of a layer in towers, one per tower."""
    if isinstance(layer, TowerLayer):
        return list(layer.kernels)
    return [weight for weight in layer.weights if len(weight.shape) > 1]


def first_convolution(model: keras.Model, preprocessing: Preprocessing = "none") -> list[np.ndarray]:
    """Kernels `[height, width, channels, filters]` of the first convolution of images, one array per tower.

    Channels are in the order R, G, B, whatever order the preprocessing has.

    Raises:
      ValueError: there is no convolution, or it sees neither RGB nor grey.
    """
    size = model.input_shape[1]
    primaries = np.zeros((4, size, size, 3), np.float32)
    for channel in range(3):
        primaries[channel, ..., channel] = 255
    for call in trace(model, primaries, preprocessing):
        kernels = [kernel.numpy() for kernel in kernels_of(call.layer) if len(kernel.shape) == 4]
        if not kernels:
            continue
        if kernels[0].shape[2] not in (1, 3):
            raise ValueError(
                f"model: its first convolution, {call.layer.name}, reads {kernels[0].shape[2]} channels; expected RGB"
            )
        if kernels[0].shape[2] == 3:
            order = _channel_order(np.asarray(keras.tree.flatten(call.inputs)[0], np.float32))
            kernels = [kernel[:, :, order] for kernel in kernels]
        return kernels if isinstance(call.layer, TowerLayer) else kernels[:1]
    raise ValueError(f"model: found no convolution in {model.name}; expected one")


def _channel_order(inputs: np.ndarray) -> list[int]:
    """Which channel of a convolution's input is R, G and B, from its inputs for a red, green, blue and black image."""
    changes = np.abs(inputs[:3] - inputs[3]).mean((1, 2))
    order = changes.argmax(1).tolist()
    return order if sorted(order) == [0, 1, 2] else [0, 1, 2]


def blocks(model: keras.Model, preprocessing: Preprocessing = "none") -> list[Block]:
    """The image and the layers with kernels, for `plots.architecture_figure`."""
    size = model.input_shape[1]
    found, after = [Block("image", tuple(model.input_shape[1:]))], list[list[str]]([[]])
    for call in trace(model, np.zeros((1, size, size, 3), np.float32), preprocessing):
        kernels = kernels_of(call.layer)
        outputs = keras.tree.flatten(call.outputs)
        if not kernels or len(outputs[0].shape) < 2:
            word = _BETWEEN.get(type(call.layer).__name__)
            if word and word not in after[-1]:
                after[-1].append(word)
            continue
        strides = getattr(call.layer, "strides", 1)
        found.append(
            Block(
                call.layer.name,
                tuple(outputs[0].shape[1:]),
                towers=len(outputs),
                kernel=_kernel_size(call.layer),
                strides=strides if isinstance(strides, int) else strides[0],
                connectivity=getattr(call.layer, "connectivity", "full"),
            )
        )
        after.append([])
    return [dataclasses.replace(block, after=", ".join(words)) for block, words in zip(found, after, strict=True)]


def _kernel_size(layer: keras.layers.Layer) -> tuple[int, int] | None:
    """Height and width of a layer's kernels in pixels; None if it is no convolution of images."""
    size = getattr(layer, "kernel_size", None)
    # Weights alone do not suffice: those of a locally connected layer begin with the size of its output.
    if size is None:
        shape = kernels_of(layer)[0].shape
        return (shape[0], shape[1]) if len(shape) == 4 else None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return (sides[0], sides[1]) if len(sides) == 2 else None


def activations(calls: Sequence[Call], layer: str | None = None, most: int = 8) -> dict[str, np.ndarray]:
    """Outputs of layers for the first image of a trace, after the activation that directly follows.

    Args:
      calls: of `trace`.
      layer: name of one layer; by default those with kernels, without the classifier.
      most: if there are more, the last of each resolution are chosen, and of these some in equal distances.

    Returns:
      Name -> `[H, W, C]`, or `[C]` for layers without maps. Towers are concatenated.

    Raises:
      ValueError: there is no such layer.
    """
    if layer is not None:
        chosen = [call for call in calls if call.layer.name == layer]
        if not chosen:
            names = ", ".join(dict.fromkeys(call.layer.name for call in calls))
            raise ValueError(f"layer={layer}: expected one of {names}")
        return {layer: _values(_activated(chosen[-1].outputs, calls))}
    chosen = [call for call in calls if kernels_of(call.layer)][:-1] or list(calls[-1:])
    if len(chosen) > most:
        # Not those of squeeze-and-excitation, which have one pixel.
        chosen = [call for call in chosen if math.prod(keras.tree.flatten(call.outputs)[0].shape[1:-1]) > 1] or chosen
        shapes = [keras.tree.flatten(call.outputs)[0].shape[1:-1] for call in chosen]
        chosen = [
            call
            for call, shape, following in zip(chosen, shapes, [*shapes[1:], None], strict=True)
            if shape != following
        ]
    if len(chosen) > most:
        chosen = [chosen[round(place)] for place in np.linspace(0, len(chosen) - 1, most)]
    return {call.layer.name: _values(_activated(call.outputs, calls)) for call in chosen}


def _activated(outputs: Any, calls: Sequence[Call]) -> list[Any]:
    """`outputs` of a layer, or those of the activation that reads them."""
    tensors = keras.tree.flatten(outputs)
    for call in calls:
        inputs = keras.tree.flatten(call.inputs)
        is_reader = len(inputs) == len(tensors) and all(a is b for a, b in zip(inputs, tensors, strict=True))
        if is_reader and type(call.layer).__name__ in _ACTIVATIONS:
            return keras.tree.flatten(call.outputs)
    return tensors


def _values(tensors: Sequence[Any]) -> np.ndarray:
    values = np.concatenate([np.asarray(tf.cast(tensor, tf.float32)[0]) for tensor in tensors], -1)
    # Tokens of a transformer: all units.
    return values if values.ndim == 3 else values.reshape(-1)
