"""Loads the weights of a file into an AlexNet: all of them, or none."""

import os
from collections.abc import Collection

import keras
import numpy as np

from keras_alexnet.path_errors import errors_of_path
from keras_alexnet.variants.architecture import Variant
from keras_alexnet.weights.compatibility import (
    check_family,
    check_operations,
    classifier,
    layer_names,
    map_layer_names,
    same_filters,
    variants_of,
)
from keras_alexnet.weights.formats import WeightFile
from keras_alexnet.weights.layout import WeightLayer, kernel_shape, per_tower
from keras_alexnet.weights.read import read_weights


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
