"""Command: prints the layers of a network; of an AlexNet also its departures from the paper and from the 2012 code.

python -m keras_alexnet.describe --list
python -m keras_alexnet.describe --network=caffe
python -m keras_alexnet.describe --network=keras.applications.ResNet50
python -m keras_alexnet.describe --diff paper torchvision
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.table import Table

from keras_alexnet.model_flags import define_network_options, network_options
from keras_alexnet.networks import NAME_FORMS, create, find, names
from keras_alexnet.variants import VARIANTS, find_variant
from keras_alexnet.variants.architecture import Dense, Variant
from keras_alexnet.variants.differences import differences, layer_text
from pipelines.cli import UsageError, run
from pipelines.cli.tables import print_table

if TYPE_CHECKING:
    import keras


# Ends of the names of weights that are added or inserted: of `keras.layers.Embedding` and of vision transformers.
_ADDED = ("embeddings", "_token")


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_bool("list", False, "print the names of all networks, with their image sizes and options")
    flags.DEFINE_string("network", "paper", NAME_FORMS)
    flags.DEFINE_alias("variant", "network")
    define_network_options()
    flags.DEFINE_list("diff", None, "compare two AlexNet variants: --diff paper caffe, or --diff=paper,caffe")
    flags.DEFINE_integer("classes", 1000, "number of classes", 1, 100_000)
    flags.DEFINE_float("width", 1.0, "multiplies filters and units; 1 is the published network", 0.001, 16)
    flags.DEFINE_enum("init", "paper", ["paper", "he"], "the published initialization, or He's")
    flags.DEFINE_integer("image_size", None, "side of images in pixels; the network's own by default", 1, 4096)


def names_table() -> Table:
    """The networks that are known by name, with what `networks.create` and `--network_options` accept. Builds none."""
    table = _table("networks", "network", "pixels", "options", "remark")
    for name in names():
        network = find(name)
        remark = VARIANTS[name].summary if name in VARIANTS else ""
        table.add_row(name, str(network.image_size), ", ".join(network.options), remark)
    return table


def network_table(name: str, classes: int = 1000, **options: Any) -> Table:
    """The layers of any network: class, output shape, parameters and multiply-adds per image.

    Args:
      name: see `networks.find`.
      classes: number of classes.
      **options: of the network, as for `networks.create`.

    Raises:
      ValueError: see `networks.create`.
    """
    from keras_alexnet.classifier import parameters

    model = create(name, classes, **options)
    size = model.input_shape[1]
    table = _table(f"{name}: {size} x {size} pixels, {classes} classes", "layer", "class", "output", "parameters")
    table.add_column("multiply-adds", justify="right")
    for layer in _leaves(model):
        table.add_row(layer.name, type(layer).__name__, _shape(layer), *_counts(layer))
    table.add_section()
    table.add_row("total", "", "", f"{model.count_params():,}", f"{multiply_adds(model):,}")
    table.add_row("trainable", "", "", f"{parameters(model):,}", "")
    return table


def variant_table(variant: Variant, classes: int = 1000) -> Table:
    """The layers of an AlexNet: operation, towers, output shape, parameters and multiply-adds per image."""
    from keras_alexnet.layers.tower_layers import as_list
    from keras_alexnet.model import AlexNet

    model = AlexNet(variant, classes=classes)
    title = f"{variant.name}: {variant.summary}"
    table = _table(title, "layer", "operation", "towers", "output per tower", "parameters")
    table.add_column("multiply-adds", justify="right")
    for described in (*variant.layers, *variant.head):
        if isinstance(described, Dense) and described in variant.head:
            described = dataclasses.replace(described, units=classes)
        layer = model.get_layer(described.name)
        towers = str(len(as_list(layer.output)))
        table.add_row(layer.name, layer_text(described, variant.init), towers, _shape(layer), *_counts(layer))
    table.add_section()
    table.add_row("total", "", "", "", f"{model.count_params():,}", f"{multiply_adds(model):,}")
    return table


def multiply_adds(layer: keras.layers.Layer) -> int:
    """Multiply-adds of a layer, or of all layers of a model, for one image.

    Counted are kernels (weights with two dimensions or more), once per output position. Normalization, pooling,
    activations, embeddings and products of activations, as in attention, are not counted.
    """
    import keras

    from keras_alexnet.layers.locally_connected import LocallyConnected2D

    if isinstance(layer, keras.Model):
        return sum(multiply_adds(inner) for inner in _leaves(layer))
    if isinstance(layer, LocallyConnected2D):
        return math.prod(layer.kernel.shape)  # It has a kernel for each position.
    kernels = [weight.shape for weight in layer.weights if _is_kernel(weight)]
    return sum(math.prod(shape) for shape in kernels) * math.prod(_output_shape(layer)[1:-1]) if kernels else 0


def _is_kernel(weight: Any) -> bool:
    return len(weight.shape) > 1 and not weight.name.endswith(_ADDED)


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of the models in it, without inputs."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


def _output_shape(layer: keras.layers.Layer) -> tuple:
    """Of the first tensor, where there are several; towers are equal."""
    output = layer.output
    return (output[0] if isinstance(output, list | tuple) else output).shape


def _shape(layer: keras.layers.Layer) -> str:
    return " x ".join(str(size) for size in _output_shape(layer)[1:])


def _counts(layer: keras.layers.Layer) -> tuple[str, str]:
    parameters, products = (f"{count:,}" if count else "" for count in (layer.count_params(), multiply_adds(layer)))
    return parameters, products


def departures_table(variant: Variant, reference: Variant) -> Table:
    """The differences of `variant` from `reference`, with their sources."""
    title = f"departures of {variant.name} from {reference.name}"
    table = _table(title, "layer or setting", variant.name, reference.name, "source")
    for subject, mine, theirs in differences(variant, reference):
        table.add_row(subject, mine, theirs, _source(variant, subject))
    return table


def diff_table(one: Variant, other: Variant) -> Table:
    """The differences between two variants side by side, with their sources."""
    sources = (f"source of {one.name}", f"source of {other.name}")
    table = _table(f"differences of {one.name} and {other.name}", "layer or setting", one.name, other.name, *sources)
    for subject, mine, theirs in differences(one, other):
        table.add_row(subject, mine, theirs, _source(one, subject), _source(other, subject))
    return table


def _source(variant: Variant, subject: str) -> str:
    # The layers in another order are normalization and its neighbours.
    return variant.source("lrn" if subject == "order" else subject)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "parameters" else "left", overflow="fold")
    return table


def main(argv: Sequence[str]) -> None:
    """Prints the tables."""
    options, arguments = flags.FLAGS, argv[1:]
    if arguments and options.diff is None:
        raise UsageError(f"unexpected argument {arguments[0]!r}: flags are written --name=value")
    if options.list:
        print_table(names_table())
        return
    if options.diff is not None:
        variants = [*options.diff, *arguments]
        if len(variants) != 2 or not VARIANTS.keys() >= set(variants):
            raise UsageError(f"diff={','.join(variants)}: expected two of {', '.join(VARIANTS)}")
        print_table(diff_table(*map(find_variant, variants)))
        return
    given = network_options(options)
    if options.network in VARIANTS and not given and options.image_size is None:
        variant = find_variant(options.network)
        shown = variant if options.init == "paper" else variant.with_he_initialization()
        print_table(variant_table(shown.scaled(options.width), options.classes))
        for reference in (VARIANTS["paper"], VARIANTS["source2012"]):
            if reference is not variant:
                print_table(departures_table(variant, reference))
    else:
        given |= {"width": options.width} if options.width != 1 else {}
        given |= {"init": options.init} if options.init != "paper" else {}
        print_table(network_table(options.network, options.classes, image_size=options.image_size, **given))


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags, takes_arguments=True)


if __name__ == "__main__":
    command()
