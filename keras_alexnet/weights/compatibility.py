"""Whether a weight file belongs to a variant: its format, its layers, its normalization and pooling layers."""

import math
from collections.abc import Sequence

import numpy as np

from keras_alexnet.variants import VARIANTS
from keras_alexnet.variants.architecture import (
    Convolution,
    Dense,
    Layer,
    MapNormalization,
    Normalization,
    Pooling,
    Variant,
)
from keras_alexnet.weights.formats import FAMILIES, KINDS, WeightFile

_BETWEEN = (Normalization, MapNormalization, Pooling)


def layer_names(variant: Variant) -> list[str]:
    """The layers with weights, from the input to the classifier."""
    return [layer.name for layer in (*variant.layers, *variant.head) if isinstance(layer, Convolution | Dense)]


def classifier(variant: Variant) -> str:
    """The name of the last layer with weights, fc8."""
    return layer_names(variant)[-1]


def variants_of(file: WeightFile) -> list[Variant]:
    """The variants whose weight format and operations are those of the file; none for Keras' files."""
    family = FAMILIES.get(file.kind)
    return [
        variant
        for variant in VARIANTS.values()
        if family in variant.weight_formats and _same_order(file, variant) and not _other_constants(file, variant)
    ]


def same_filters(file: WeightFile, variant: Variant) -> bool:
    """Whether a file of another framework has the convolutions of the variant: number and size of filters."""
    if file.layout is None:
        return False
    kernels = [arrays[0].shape for arrays in file.layers.values() if arrays[0].ndim == 4]
    outputs, height = file.layout.axes.index("O"), file.layout.axes.index("H")
    expected = [(layer.filters, layer.kernel_size) for layer in variant.layers if isinstance(layer, Convolution)]
    return [(shape[outputs], shape[height]) for shape in kernels] == expected


def check_family(file: WeightFile, variant: Variant) -> None:
    """Checks that pretrained weights in this format are of this network; all shapes may agree if they are not.

    Raises:
      ValueError: if they are not.
    """
    family = FAMILIES.get(file.kind)
    if family is not None and family not in variant.weight_formats:
        others = [other.name for other in VARIANTS.values() if family in other.weight_formats]
        raise ValueError(
            f"{file.path}: found a {KINDS[file.kind]}; variant {variant.name!r} is not the network of these "
            f"weights; expected variant={_choice(others)}"
        )


def check_operations(file: WeightFile, variant: Variant) -> None:
    """Checks the order of normalization and pooling layers and their constants against `variant`.

    Raises:
      ValueError: if they differ; the message names the variants that agree with the file.
    """
    fitting = _choice([other.name for other in variants_of(file)])
    hint = f"; expected variant={fitting}" if fitting else ""
    if not _same_order(file, variant):
        raise ValueError(
            f"{file.path}: found a network with {_words([operation.kind for operation in file.operations])}; variant "
            f"{variant.name!r} has {_words([type(layer) for layer in _between(variant)])}{hint}"
        )
    for found, expected in _other_constants(file, variant)[:1]:
        raise ValueError(f"{file.path}: {found.name}: found {_constants(found)}; expected {_constants(expected)}{hint}")


def map_layer_names(file: WeightFile, variant: Variant) -> dict[str, tuple[str, list[np.ndarray]]]:
    """Maps the layers of a file to those of a variant.

    Names in PyTorch's files are arbitrary: convolutions and dense layers are matched in their order. In Caffe's files
    the last layer may have any name, because fine-tuning in Caffe requires a new one.

    Returns:
      Name of the variant's layer -> its name in the file and its arrays, for each layer of the file.

    Raises:
      ValueError: if the file has layers that the variant does not have.
    """
    names = layer_names(variant)
    if file.kind == "torch":
        return _in_order(file, variant)
    renamed = {}
    last = next(reversed(file.layers))
    if file.kind in FAMILIES and names[-1] not in file.layers and last not in names:
        renamed = {last: names[-1]}
    layers = {renamed.get(name, name): (name, arrays) for name, arrays in file.layers.items()}
    unknown = [name for name in layers if name not in names]
    if unknown:
        raise ValueError(
            f"{file.path}: found the layers {', '.join(file.layers)}; expected {', '.join(names)} "
            f"(variant {variant.name!r})"
        )
    return layers


def _in_order(file: WeightFile, variant: Variant) -> dict[str, tuple[str, list[np.ndarray]]]:
    layers: dict[str, tuple[str, list[np.ndarray]]] = {}
    ours = [layer for layer in (*variant.layers, *variant.head) if isinstance(layer, Convolution | Dense)]
    for kind, rank, called in ((Convolution, 4, "convolutions"), (Dense, 2, "dense layers")):
        names = [layer.name for layer in ours if isinstance(layer, kind)]
        found = [(name, arrays) for name, arrays in file.layers.items() if arrays[0].ndim == rank]
        if len(found) > len(names):
            raise ValueError(
                f"{file.path}: found {len(found)} {called} ({', '.join(name for name, _ in found)}); expected "
                f"{len(names)}: {', '.join(names)} (variant {variant.name!r})"
            )
        layers |= dict(zip(names, found, strict=False))
    others = file.layers.keys() - {name for name, _ in layers.values()}
    if others:
        name = next(name for name in file.layers if name in others)
        raise ValueError(
            f"{file.path}: {name}: found a weight of shape {file.layers[name][0].shape}; expected convolutions (4 "
            "dimensions) and dense layers (2) only"
        )
    return layers


def _between(variant: Variant) -> list[Layer]:
    return [layer for layer in variant.layers if isinstance(layer, _BETWEEN)]


def _same_order(file: WeightFile, variant: Variant) -> bool:
    kinds = [operation.kind for operation in file.operations]
    return not kinds or kinds == [type(layer) for layer in _between(variant)]


def _other_constants(file: WeightFile, variant: Variant) -> list[tuple[Normalization, Layer]]:
    """Pairs of normalization layers, of the file and of the variant, that differ."""
    pairs = zip((operation.constants for operation in file.operations), _between(variant), strict=False)
    return [(found, expected) for found, expected in pairs if found is not None and not _equal(found, expected)]


def _equal(found: Normalization, expected: Layer) -> bool:
    # Files contain float32.
    return isinstance(expected, Normalization) and all(
        math.isclose(getattr(found, name), getattr(expected, name), rel_tol=1e-5)
        for name in ("k", "n", "alpha", "beta")
    )


def _constants(layer: Layer) -> str:
    values = ", ".join(f"{name}={getattr(layer, name):.4g}" for name in ("k", "n", "alpha", "beta"))
    return (
        f"local response normalization with {values} (alpha multiplies the sum of squares: Caffe's alpha divided by n)"
    )


def _words(kinds: Sequence[type[Layer]]) -> str:
    words = {Normalization: "normalization", MapNormalization: "normalization within channels", Pooling: "pooling"}
    return ", ".join(words[kind] for kind in kinds) or "neither normalization nor pooling"


def _choice(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
