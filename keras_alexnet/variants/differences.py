"""Layers of variants as text, and what differs between two variants. Needs no TensorFlow."""

import dataclasses
from collections.abc import Callable
from typing import Any

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

# Fields of a Variant that are not constants of the network or of its training.
_OTHER_FIELDS = ("name", "summary", "layers", "head", "sources", "weight_formats")
_ABSENT = "-"


def differences(one: Variant, other: Variant) -> list[tuple[str, str, str]]:
    """Compares two variants.

    Returns:
      (layer or field, its description in `one`, its description in `other`) for everything that differs.
    """
    ones = {layer.name: layer for layer in (*one.layers, *one.head)}
    others = {layer.name: layer for layer in (*other.layers, *other.head)}
    rows = [
        (name, layer_text(ones.get(name), one.init), layer_text(others.get(name), other.init))
        for name in dict.fromkeys((*ones, *others))
    ]
    rows += _order(list(ones), list(others))
    for field in dataclasses.fields(Variant):
        if field.name not in _OTHER_FIELDS:
            rows.append((field.name, _value(getattr(one, field.name)), _value(getattr(other, field.name))))
    return [row for row in rows if row[1] != row[2]]


def _order(ones: list[str], others: list[str]) -> list[tuple[str, str, str]]:
    """At most one row: the common layers that come in another order, in both orders."""
    ones, others = [name for name in ones if name in others], [name for name in others if name in ones]
    moved = [pair for pair in zip(ones, others, strict=True) if pair[0] != pair[1]]
    if not moved:
        return []
    first, second = (", ".join(names) for names in zip(*moved, strict=True))
    return [("order", first, second)]


def layer_text(layer: Layer | None, init: str) -> str:
    """The description of a layer, except for its name, in a variant with the initialization `init`."""
    if layer is None:
        return _ABSENT
    # Rules other than "gaussian" are the same for all layers: the variant's `init` names them.
    if isinstance(layer, Convolution | Dense) and init == "gaussian":
        return f"{_TEXTS[type(layer)](layer)}; initialization: std {layer.stddev:g}, bias {layer.bias:g}"
    return _TEXTS[type(layer)](layer)


def _convolution_text(layer: Convolution) -> str:
    size, sides = layer.kernel_size, layer.padding
    padding = f"{sides[0]}" if len(set(sides)) == 1 else " ".join(map(str, sides))
    stride = f"stride {layer.strides}, padding {padding}, connectivity {layer.connectivity}"
    return f"{layer.filters} kernels {size} x {size}, {stride}"


def _normalization_text(layer: Normalization) -> str:
    channels = "all channels" if layer.across == "all" else "channels of its tower"
    return f"x / ({layer.k:g} + {layer.alpha:g} sum x^2)^{layer.beta:g}, n = {layer.n} across {channels}"


def _pooling_text(layer: Pooling) -> str:
    partial = ", partial windows at the edge" if layer.overhang else ""
    return f"max {layer.size} x {layer.size}, stride {layer.strides}{partial}"


# Class of a layer -> its description.
_TEXTS: dict[type, Callable[[Any], str]] = {
    Activation: lambda layer: layer.function,
    Convolution: _convolution_text,
    Dense: lambda layer: f"{layer.units} units, connectivity full" + ("" if layer.split else ", in one tower"),
    Dropout: lambda layer: (
        f"rate {layer.rate:g}, rescaled {'at' if layer.rescale == 'inference' else 'in'} {layer.rescale}"
    ),
    MapNormalization: lambda layer: (
        f"x / ({layer.k:g} + {layer.alpha:g} sum x^2)^{layer.beta:g}, {layer.n} x {layer.n} pixels of its channel"
    ),
    Normalization: _normalization_text,
    Pooling: _pooling_text,
}


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_value(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
