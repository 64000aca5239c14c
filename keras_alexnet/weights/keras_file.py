"""Keras' own files: `.weights.h5`, the weights inside `.keras`, and `.h5` files of Keras 2 and keras.applications."""

import io
import itertools
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from keras_alexnet.weights.formats import KINDS, WeightFile, check_size, open_archive

# What zipfile and h5py raise on files that are truncated, damaged or of another origin.
_UNREADABLE = (
    *(AttributeError, EOFError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)
_STORED_IN_THE_FILE = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)


def read_h5(path: Path) -> WeightFile:
    """Reads a `.weights.h5`, or a `.h5` of weights as Keras 2 wrote them and keras.applications distributes them.

    Raises:
      ValueError: if it is damaged, or was not written by Keras' `save_weights`.
    """
    with path.open("rb") as file:
        layers, is_in_order = _layers(path, file, path.stat().st_size)
    return WeightFile(path, "keras_h5", layers, is_in_order=is_in_order)


def read_keras(path: Path) -> WeightFile:
    """Reads the weights of a `.keras` file, and nothing else of it.

    Raises:
      ValueError: if it is damaged, or was not written by Keras 3's `model.save`.
    """
    content = _weights_of_archive(path)
    return WeightFile(path, "keras", _layers(path, io.BytesIO(content), len(content))[0])


def check_keras_file(path: Path) -> None:
    """Checks a `.keras` file of any model before `keras.models.load_model` opens it.

    Raises:
      ValueError: if it is damaged, inflates more than weights do, or has weights that are links, come from other files
        or claim to be larger than the file.
    """
    content = _weights_of_archive(path)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _check_content(path, file, len(content))
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def keras_version(path: Path) -> str:
    """The version of Keras that wrote a `.keras` file, "unknown" if it does not say."""
    try:
        with open_archive(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except _UNREADABLE:
        return "unknown"


def _weights_of_archive(path: Path) -> bytes:
    try:
        with open_archive(path) as archive:
            return archive.read("model.weights.h5")
    except _UNREADABLE as error:
        raise ValueError(f"{path}: found a damaged {KINDS['keras']} ({error})") from error


def _layers(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, list[np.ndarray]], bool]:
    """The arrays of the layers, and whether they are in the order of the network."""
    layers: dict[str, list[np.ndarray]] = {}
    is_keras_2 = False
    try:
        # A Python file: HDF5's own driver would open whatever files the content names.
        with h5py.File(file, "r") as content:
            _check_content(path, content, size)
            if "layers" in content:
                _read_group(content["layers"], "", layers)
            else:
                is_keras_2, layers = True, _layers_of_keras_2(content)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if not layers:
        raise ValueError(f"{path}: found an HDF5 file without Keras' layers; expected {KINDS['keras_h5']}")
    return layers, is_keras_2


def _read_group(group: h5py.Group, prefix: str, layers: dict[str, list[np.ndarray]]) -> None:
    """Adds the arrays of the layers in a group, and of the layers within them, to `layers` by their names."""
    for link, below in group.items():
        # The states of generators of random numbers are no weights.
        if not isinstance(below, h5py.Group) or link in ("vars", "seed_generator"):
            continue
        name = prefix
        if "vars" in below:
            variables = below["vars"]
            name += str(variables.attrs["name"])
            arrays = [variables[str(index)][()] for index in range(len(variables))]
            if arrays and name in layers:
                raise ValueError(f"two layers are called {name!r}")
            if arrays:
                layers[name] = arrays
        _read_group(below, f"{name}/" if name != prefix else prefix, layers)


def _layers_of_keras_2(content: h5py.File) -> dict[str, list[np.ndarray]]:
    """The arrays of the layers, in the order of the network."""
    layers: dict[str, list[np.ndarray]] = {}
    for name in _names(content, "layer_names"):
        group = content[name]
        names = _names(group, "weight_names")
        if name in layers or len(set(names)) < len(names):
            raise ValueError(f"two layers or weights of {name!r} have one name")
        if names:
            layers[name] = [group[weight][()] for weight in names]
    return layers


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, which Keras divides into several (`layer_names0`, ...) if it is too long."""
    numbered = (f"{attribute}{number}" for number in itertools.count())
    parts = [attribute] if attribute in group.attrs else itertools.takewhile(group.attrs.__contains__, numbered)
    names = [name for part in parts for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _damaged(path: Path, error: BaseException) -> ValueError:
    return ValueError(f"{path}: found an HDF5 file that is damaged or not written by Keras ({error})")


def _check_content(path: Path, content: h5py.File, size: int) -> None:
    """Checks that all arrays are stored in the file as Keras stores them, before any is read or any link followed."""
    seen: set[int] = set()
    claimed = 0
    pending = [content]
    while pending:
        group = pending.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{group.name}/{name} is a link, which is not followed")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ValueError(f"{item.name} is not the only name of its content")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append(item)
            else:
                claimed += _bytes_of_array(item)
                check_size(path, item.name, claimed, size)


def _bytes_of_array(item: Any) -> int:
    # Of a virtual array, even the shape may be read from other files.
    properties = item.id.get_create_plist() if isinstance(item, h5py.Dataset) else None
    is_plain = (
        properties is not None
        and properties.get_layout() in _STORED_IN_THE_FILE
        and not properties.get_external_count()
        and not properties.get_nfilters()
        and item.id.get_storage_size() == item.nbytes
    )
    if not is_plain:
        raise ValueError(f"{item.name} is not stored as a plain array")
    return int(item.nbytes)
