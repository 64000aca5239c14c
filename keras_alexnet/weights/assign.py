"""Loads the weights of a file into a model: all of them, or none."""

import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import keras
import numpy as np

from keras_alexnet.path_errors import errors_of_path
from keras_alexnet.variants.architecture import Variant
from keras_alexnet.weights.caffe_npy import read_npy
from keras_alexnet.weights.caffemodel import read_caffemodel
from keras_alexnet.weights.compatibility import (
    check_family,
    check_operations,
    classifier,
    layer_names,
    map_layer_names,
    same_filters,
    variants_of,
)
from keras_alexnet.weights.formats import Kind, WeightFile, recognise
from keras_alexnet.weights.keras_file import read_h5, read_keras
from keras_alexnet.weights.layout import WeightLayer, kernel_shape, per_tower
from keras_alexnet.weights.torch_file import read_torch

_READERS: dict[Kind, Callable[[Path], WeightFile]] = {
    "keras_h5": read_h5,
    "keras": read_keras,
    "caffemodel": read_caffemodel,
    "caffe_npy": read_npy,
    "torch": read_torch,
}


def load_weights(model: keras.Model, path: str | os.PathLike, variant: Variant, skip: Collection[str] = ()) -> None:
    """Loads the weights of a file in any format of `KINDS` into a model.

    The classifier of the file is ignored if the model has none (`include_top=False`).

    Args:
      model: an `AlexNet` of any width and number of classes.
      path: the file.
      variant: the network of `model`.
      skip: names of layers that keep their weights, such as `("fc8",)` for a model with other classes than the file.

    Raises:
      ValueError: if the file cannot be read, is of another network or has values that are not finite. The message
        names the file, the layer, what was found and what was expected. No weight has changed then.

    Example:

    ```python
    model = keras_alexnet.AlexNet("caffe", classes=10)
    load_weights(model, "bvlc_alexnet.caffemodel", keras_alexnet.VARIANTS["caffe"], skip=("fc8",))
    ```
    """
    with errors_of_path("path", path):
        assign(model, read_weights(path), variant, skip)


def read_weights(path: str | os.PathLike) -> WeightFile:
    """Reads a file in any format of `KINDS`; nothing in it is executed.

    Raises:
      ValueError: if it is missing, of another format or damaged.
    """
    return _READERS[recognise(path)](Path(path))


def assign(model: keras.Model, file: WeightFile, variant: Variant, skip: Collection[str] = ()) -> None:
    """Loads the weights of `file` into `model`; arguments and errors as for `load_weights`."""
    unknown = set(skip) - set(layer_names(variant))
    if unknown:
        raise ValueError(f"skip={', '.join(sorted(unknown))}: expected layers of {', '.join(layer_names(variant))}")
    check_family(file, variant)
    found = map_layer_names(file, variant)
    built = {layer.name for layer in model.layers}
    layers = {name: model.get_layer(name) for name in layer_names(variant) if name in built}
    missing = [name for name in layers if name not in found and name not in skip]
    if missing:
        raise ValueError(f"{file.path}: {missing[0]}: found no such layer; the file has {', '.join(file.layers)}")
    check_operations(file, variant)
    weights: dict[str, list[np.ndarray]] = {}
    below = None
    for name, layer in layers.items():
        if name not in skip:
            theirs, arrays = found[name]
            label = f"{file.path}: {name}" + (f" ({theirs})" if theirs != name else "")
            weights[name] = _checked(label, arrays, layer, below, file, name == classifier(variant))
        below = layer
    for name, arrays in weights.items():
        layers[name].set_weights(arrays)


def load_weights_by_name(model: keras.Model, path: str | os.PathLike, skip: Collection[str] = ()) -> None:
    """Loads the weights of a `.weights.h5` or `.keras` file into a model of any kind.

    Args:
      model: layers of the file are found by their names.
      path: the file.
      skip: names of layers that keep their weights.

    Raises:
      ValueError: if the file cannot be read or is of another network. No weight has changed then.
    """
    with errors_of_path("path", path):
        assign_by_name(model, read_weights(path), skip)


def assign_by_name(model: keras.Model, file: WeightFile, skip: Collection[str] = ()) -> None:
    """Loads the weights of `file` into `model`; arguments and errors as for `load_weights_by_name`."""
    # Not `model.load_weights`: it accepts files that lack some of the layers.
    layers, arrays = _weights_by_name(model), {}
    for name, theirs in _partners(model, layers, file, skip).items():
        arrays[name] = file.layers[theirs]
        shapes, expected = [array.shape for array in arrays[name]], [tuple(weight.shape) for weight in layers[name]]
        if shapes != expected:
            raise ValueError(f"{file.path}: {theirs}: found {shapes}; expected {expected}")
    for name, values in arrays.items():
        for weight, value in zip(layers[name], values, strict=True):
            weight.assign(value)


def _partners(model: keras.Model, layers: Collection[str], file: WeightFile, skip: Collection[str]) -> dict[str, str]:
    """The name in the file of each layer with weights, but not of those that are skipped.

    Names may differ in what does not matter: the numbers that Keras gives to layers without names, and the name of a
    model that is a layer of the network, where the file is of that model.

    Raises:
      ValueError: a layer is missing on either side.
    """
    wanted = [name for name in layers if name.partition("/")[0] not in skip]
    if file.is_in_order and len(layers) == len(file.layers):
        in_order = dict(zip(layers, file.layers, strict=True))
        return {name: in_order[name] for name in wanted}
    models = tuple(f"{layer.name}/" for layer in model.layers if isinstance(layer, keras.Model))
    same = {name: name for name in layers}
    inside = {name.partition("/")[2] if name.startswith(models) else name: name for name in layers}
    found = {name: name for name in file.layers}
    for ours, theirs in (
        *((same, found), (inside, found)),
        *((_renumbered(same), _renumbered(found)), (_renumbered(inside), _renumbered(found))),
    ):
        partners = {name: theirs[common] for common, name in ours.items() if common in theirs}
        if theirs.keys() <= ours.keys() and partners.keys() >= set(wanted):
            return {name: partners[name] for name in wanted}
    for name in sorted({*wanted} ^ {name for name in found if name.partition("/")[0] not in skip}):
        reason = "found no such layer" if name in same else "found a layer that the network does not have"
        raise ValueError(f"{file.path}: {name}: {reason}; expected weights of {model.name}")
    raise ValueError(f"{file.path}: found the layers {', '.join(found)}; expected {', '.join(same)}")


def _weights_by_name(layer: keras.layers.Layer, prefix: str = "") -> dict[str, list[keras.Variable]]:
    """The weights of the layers within a layer or model, apart from those of layers within them; see `WeightFile`."""
    found: dict[str, list[keras.Variable]] = {}
    # Keras has no public list of a layer's layers.
    for below in layer._flatten_layers(include_self=False, recursive=False):
        inner = _weights_by_name(below, f"{prefix}{below.name}/")
        of_inner = {id(weight) for weights in inner.values() for weight in weights}
        own = [weight for weight in below.weights if id(weight) not in of_inner]
        found |= ({prefix + below.name: own} if own else {}) | inner
    return found


def _renumbered(names: Mapping[str, str]) -> dict[str, str]:
    """`names` by keys in which numbers at the end, as in dense_7 and dense_9, are counted from 0 again."""
    ranked: dict[str, list[tuple[list[int], str]]] = {}
    for name in names:
        numbers = [int(number) for number in re.findall(r"_(\d+)(?=/|$)", name)]
        ranked.setdefault(re.sub(r"_\d+(?=/|$)", "", name), []).append((numbers, name))
    return {
        f"{base}_{rank}": names[name] for base, group in ranked.items() for rank, (_, name) in enumerate(sorted(group))
    }


def _checked(
    label: str,
    arrays: list[np.ndarray],
    layer: WeightLayer,
    below: WeightLayer | None,
    file: WeightFile,
    is_classifier: bool,
) -> list[np.ndarray]:
    """`arrays` in the layout of `layer.get_weights()`, if their shapes are those of the layer."""
    layout = file.layout
    if layout is None:
        shapes: list[tuple[int, ...]] = [tuple(weight.shape) for weight in layer.weights]
        order = "kernel and bias of each tower"
    else:
        shapes = [kernel_shape(layer, layout), (layer.size,)]
        order = f"kernel and bias, {layout.axes if len(shapes[0]) == 4 else 'dense'}, in the layout of the file"
    found = [array.shape for array in arrays]
    if found != shapes:
        reason = _reason(found, shapes, file, is_classifier)
        raise ValueError(f"{label}: found {_list(found)}; expected {_list(shapes)} ({order}){reason}")
    arrays = [_floats(label, array) for array in arrays]
    if layout is None:
        return arrays
    kernel, bias = arrays
    return per_tower(kernel, bias, layer, below, layout)


def _list(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(str(tuple(shape)) for shape in shapes)


def _reason(found: list[tuple], expected: list[tuple], file: WeightFile, is_classifier: bool) -> str:
    """The likely reason for shapes that differ."""
    layout, rank = file.layout, len(found[0])
    if is_classifier and rank == len(expected[0]) == 2:
        outputs = 0 if layout is not None and layout.axes == "OIHW" else 1
        if found[0][1 - outputs] == expected[0][1 - outputs]:
            classes = found[0][outputs]
            return (
                f": the file has {classes} classes; build the model with classes={classes}, without its classifier "
                "(include_top=False), or load with skip=('fc8',)"
            )
    if layout is None:
        return ": it was written for another variant, width or number of classes"
    if rank == len(expected[0]) == 4:
        axis = layout.axes.index("I")
        same_otherwise = np.delete(found[0], axis).tolist() == np.delete(expected[0], axis).tolist()
        if same_otherwise and found[0][axis] == 2 * expected[0][axis]:
            return (
                ": the network of the file has no groups (62.4 million parameters at full width); this variant has two "
                "(61.0 million)"
            )
        if same_otherwise and 2 * found[0][axis] == expected[0][axis]:
            return ": the network of the file has two groups; this variant has one tower"
    others = [variant.name for variant in variants_of(file) if same_filters(file, variant)]
    hint = f"; its filters are those of variant {others[0]!r}" if others else ""
    return f": it is of another network, or of another width{hint}"


def _floats(label: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise ValueError(f"{label}: found numbers of type {array.dtype}; expected floating point numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise ValueError(f"{label}: found {bad} values that are NaN or infinite; expected finite numbers")
    return array
