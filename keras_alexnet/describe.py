"""Command: what a network consists of, and where it departs from the paper and from the released 2012 code.

python -m keras_alexnet.describe --variant=caffe
python -m keras_alexnet.describe --diff paper torchvision
"""

import dataclasses
import math

import keras
from absl import flags
from rich.console import Console
from rich.table import Table

from keras_alexnet.layers.tower_layers import TowerConv2D, as_list
from keras_alexnet.model import AlexNet
from keras_alexnet.variants import VARIANTS, find_variant
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
from pipelines.cli import run

# Fields of a Variant that are no constants of the network or its recipe.
_OTHER_FIELDS = ("name", "summary", "layers", "head", "sources", "weight_formats")
_ABSENT = "-"


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_enum("variant", "paper", list(VARIANTS), "which network")
    flags.DEFINE_list("diff", None, "two networks to show side by side: --diff paper caffe, or --diff=paper,caffe")
    flags.DEFINE_integer("classes", 1000, "outputs of the network", lower_bound=1)
    flags.DEFINE_float("width", 1.0, "multiplies filters and units; 1 is the network as published", 0.001)


def layer_table(model: keras.Model, variant: Variant) -> Table:
    """The layers of `model`, built of `variant`: what they do, their output, parameters and multiply-adds an image."""
    table = Table(title=f"{variant.name}: {variant.summary}", title_justify="left")
    for heading in ("layer", "what it does", "towers", "output of a tower", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right" if heading[0] in "pm" else "left")
    shown = [model.get_layer(layer.name) for layer in (*variant.layers, *variant.head)]
    texts = [_text(layer, variant.init) for layer in (*variant.layers, *variant.head)]
    for layer, text in zip(shown, texts, strict=True):
        outputs = as_list(layer.output)
        shape = " x ".join(str(size) for size in outputs[0].shape[1:])
        numbers = (f"{count:,}" if count else "" for count in (layer.count_params(), multiply_adds(layer)))
        table.add_row(layer.name, text, str(len(outputs)), shape, *numbers)
    table.add_section()
    total = sum(multiply_adds(layer) for layer in shown)
    table.add_row("total", "", "", "", f"{model.count_params():,}", f"{total:,}")
    return table


def multiply_adds(layer: keras.layers.Layer) -> int:
    """Multiplications (each with an addition) that a layer with kernels does for one image."""
    if not layer.weights:
        return 0
    pixels = math.prod(as_list(layer.output)[0].shape[1:3]) if isinstance(layer, TowerConv2D) else 1
    return pixels * sum(math.prod(kernel.shape) for kernel in layer.kernels)


def differences(one: Variant, other: Variant) -> list[tuple[str, str, str]]:
    """(layer or field, what it is in `one`, what it is in `other`), for all that is not the same."""
    ones = {layer.name: layer for layer in (*one.layers, *one.head)}
    others = {layer.name: layer for layer in (*other.layers, *other.head)}
    rows = [
        (name, _text(ones.get(name), one.init), _text(others.get(name), other.init))
        for name in dict.fromkeys((*ones, *others))
    ]
    rows += _order(list(ones), list(others))
    for field in dataclasses.fields(Variant):
        if field.name not in _OTHER_FIELDS:
            rows.append((field.name, _value(getattr(one, field.name)), _value(getattr(other, field.name))))
    return [row for row in rows if row[1] != row[2]]


def _order(ones: list[str], others: list[str]) -> list[tuple[str, str, str]]:
    """Where layers that both have come in another order: one row of the layers concerned, in either order."""
    ones, others = [name for name in ones if name in others], [name for name in others if name in ones]
    moved = [pair for pair in zip(ones, others, strict=True) if pair[0] != pair[1]]
    return [("order", *(", ".join(names) for names in zip(*moved, strict=True)))] if moved else []


def _text(layer: Layer | None, init: str) -> str:
    """One line that says everything about a layer of a variant with these initial values, but its name."""
    return _ABSENT if layer is None else _TEXTS[type(layer)](layer) + _initial_values(layer, init)


def _initial_values(layer: Layer, init: str) -> str:
    # Other rules than "gaussian" hold for all layers alike; the variant's `init` names them.
    has_own = isinstance(layer, Convolution | Dense) and init == "gaussian"
    return f"; std {layer.stddev:g}, bias {layer.bias:g}" if has_own else ""


def _convolution_text(layer: Convolution) -> str:
    top, bottom, left, right = layer.padding
    padding = f"{top}" if len(set(layer.padding)) == 1 else f"{top} {bottom} {left} {right}"
    reads = "all towers" if layer.connectivity == "full" else "its own tower"
    return f"{layer.filters} x {layer.kernel_size} x {layer.kernel_size} by {layer.strides}, pad {padding}, of {reads}"


def _lrn_text(layer: Normalization) -> str:
    reach = "all towers" if layer.across == "all" else "its own tower"
    return f"x / ({layer.k:g} + {layer.alpha:g} sum x^2)^{layer.beta:g} over {layer.n} maps of {reach}"


# Kind of layer -> what it does, in a line.
_TEXTS = {
    Activation: lambda layer: layer.function,
    Convolution: _convolution_text,
    Dense: lambda layer: f"{layer.units} units of all towers" + ("" if layer.split else ", on the first"),
    Dropout: lambda layer: f"rate {layer.rate:g}, rescaled in {layer.rescale}",
    MapNormalization: lambda layer: (
        f"x / ({layer.k:g} + {layer.alpha:g} sum x^2)^{layer.beta:g} over {layer.n} x {layer.n} pixels of its own map"
    ),
    Normalization: _lrn_text,
    Pooling: lambda layer: (
        f"max over {layer.size} x {layer.size} by {layer.strides}"
        + (", windows may hang over" if layer.overhang else "")
    ),
}


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_value(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def departures_table(variant: Variant, reference: Variant) -> Table:
    """Where `variant` departs from `reference`, and which source says so."""
    table = Table(title=f"where {variant.name} departs from {reference.name}", title_justify="left")
    for heading in ("what", variant.name, reference.name, "source"):
        table.add_column(heading, overflow="fold")
    for subject, mine, theirs in differences(variant, reference):
        table.add_row(subject, mine, theirs, variant.source(_cited(subject)))
    return table


def _cited(subject: str) -> str:
    # What comes in another order are normalisation and its neighbours.
    return "lrn" if subject == "order" else subject


def diff_table(one: Variant, other: Variant) -> Table:
    """Two variants side by side, where they differ."""
    table = Table(title=f"{one.name} and {other.name}, where they differ", title_justify="left")
    for heading in ("what", one.name, other.name, f"source of {one.name}", f"source of {other.name}"):
        table.add_column(heading, overflow="fold")
    for subject, mine, theirs in differences(one, other):
        table.add_row(subject, mine, theirs, one.source(_cited(subject)), other.source(_cited(subject)))
    return table


def main(argv: list[str]) -> None:
    """Prints the tables."""
    options, arguments = flags.FLAGS, argv[1:]
    if arguments and options.diff is None:
        raise ValueError(f"unexpected argument {arguments[0]!r}: flags are written --name=value")
    # Piped into a file the tables keep their whole width.
    console = Console() if Console().is_terminal else Console(width=160)
    if options.diff is not None:
        names = [*options.diff, *arguments]
        if len(names) != 2:
            raise ValueError(f"diff={','.join(names)}: found {len(names)} networks; expected two")
        try:
            console.print(diff_table(*(find_variant(name) for name in names)))
        except ValueError as error:
            raise ValueError(f"diff: {error}") from error
        return
    variant = find_variant(options.variant)
    scaled = variant.scaled(options.width)
    console.print(layer_table(AlexNet(scaled, classes=options.classes), scaled))
    for reference in (VARIANTS["paper"], VARIANTS["source2012"]):
        if reference is not variant:
            console.print(departures_table(variant, reference))


main.takes_arguments = True


if __name__ == "__main__":
    run(main, define_flags)
