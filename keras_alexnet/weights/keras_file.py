"""Keras' own files: `.weights.h5`, and the weights inside `.keras`."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_alexnet.weights.formats import KINDS, WeightFile

# What h5py raises on files that are cut short, damaged or of another make.
_UNREADABLE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile)


def read_h5(path: Path) -> WeightFile:
    """Reads a `.weights.h5`.

    Raises:
      ValueError: if it is damaged or not written by Keras 3's `save_weights`.
    """
    return WeightFile(path, "keras_h5", _read(path, path))


def read_keras(path: Path) -> WeightFile:
    """Reads the weights of a `.keras` file, and nothing else of it.

    Raises:
      ValueError: if it is damaged or not written by Keras 3's `model.save`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = io.BytesIO(archive.read("model.weights.h5"))
    except _UNREADABLE as error:
        raise ValueError(f"{path}: found a damaged {KINDS['keras']} ({error})") from error
    return WeightFile(path, "keras", _read(path, content))


def _read(path: Path, file: Any) -> dict[str, list[np.ndarray]]:
    layers: dict[str, list[np.ndarray]] = {}
    try:
        with h5py.File(file, "r") as content:
            groups = content["layers"].values() if "layers" in content else ()
            for group in groups:
                variables = group["vars"]
                arrays = [_array(content, variables[str(index)]) for index in range(len(variables))]
                name = str(variables.attrs["name"])
                if arrays and name in layers:
                    raise ValueError(f"two layers are called {name!r}")
                if arrays:
                    layers[name] = arrays
    except _UNREADABLE as error:
        raise ValueError(
            f"{path}: found an HDF5 file that is damaged or not of Keras 3's making ({error})"
        ) from error
    if not layers:
        raise ValueError(f"{path}: found an HDF5 file without Keras 3's group 'layers'; expected {KINDS['keras_h5']}")
    return layers


def _array(content: h5py.File, dataset: h5py.Dataset) -> np.ndarray:
    # Keras writes plain arrays. Others could be larger than the file, or read from other files.
    is_elsewhere = dataset.file != content or dataset.external is not None
    if is_elsewhere or dataset.id.get_storage_size() != dataset.nbytes:
        raise ValueError(f"{dataset.name} is not stored as a plain array")
    return dataset[()]
