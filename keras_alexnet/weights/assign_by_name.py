"""Loads the weights of a file into a model of any kind, by the names of its layers: all of them, or none."""

import os
import re
from collections.abc import Collection, Mapping

import keras

from keras_alexnet.path_errors import errors_of_path
from keras_alexnet.weights.formats import WeightFile
from keras_alexnet.weights.read import read_weights


def load_weights_by_name(model: keras.Model, path: str | os.PathLike, skip: Collection[str] = ()) -> None:
    """Loads the weights of a `.weights.h5` or `.keras` file, or of a preset of keras-hub, into a model of any kind.

    Args:
      model: layers of the file are found by their names.
      path: the file, or the directory of the preset.
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

    Names may differ in what does not matter: the numbers that Keras gives to layers without names, and the names of
    models that are layers, on either side.

    Raises:
      ValueError: a layer is missing on either side.
    """
    wanted = [name for name in layers if name.partition("/")[0] not in skip]
    if file.is_in_order and len(layers) == len(file.layers):
        in_order = dict(zip(layers, file.layers, strict=True))
        return {name: in_order[name] for name in wanted}
    models = _models_within(model)
    same = {name: name for name in layers}
    inside = {name.removeprefix(max(filter(name.startswith, models), key=len, default="")): name for name in layers}
    found = {name: name for name in file.layers}
    for ours, names in (
        *((same, found), (inside, found)),
        *((_renumbered(same), _renumbered(found)), (_renumbered(inside), _renumbered(found))),
    ):
        theirs = _without_models(names, ours)
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


def _models_within(model: keras.Model, prefix: str = "") -> list[str]:
    """The beginnings of the names of layers within models that are layers: `<model>/`, `<model>/<model>/`, ..."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            below = f"{prefix}{layer.name}/"
            found += [below, *_models_within(layer, below)]
    return found


def _without_models(names: Mapping[str, str], expected: Collection[str]) -> dict[str, str]:
    """`names` by keys that leave out what precedes a name of `expected`; as they are if two would become one."""
    shorter = {}
    for key, name in names.items():
        parts = key.split("/")
        endings = ("/".join(parts[start:]) for start in range(len(parts)))
        shorter[next((ending for ending in endings if ending in expected), key)] = name
    return shorter if len(shorter) == len(names) else dict(names)


def _renumbered(names: Mapping[str, str]) -> dict[str, str]:
    """`names` by keys in which numbers at the end, as in dense_7 and dense_9, are counted from 0 again."""
    ranked: dict[str, list[tuple[list[int], str]]] = {}
    for name in names:
        # The first of several layers without names has no number.
        numbers = [int(number or 0) for number in re.findall(r"[^/]+?(?:_(\d+))?(?=/|$)", name)]
        ranked.setdefault(re.sub(r"_\d+(?=/|$)", "", name), []).append((numbers, name))
    return {
        f"{base}_{rank}": names[name] for base, group in ranked.items() for rank, (_, name) in enumerate(sorted(group))
    }
