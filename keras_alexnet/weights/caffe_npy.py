"""Caffe weights in the `.npy` that caffe-tensorflow and its users write: a pickled dictionary of layers.

The pickle is not executed: whatever it asks for is refused, except what NumPy arrays and dictionaries need, and of that
arrays and dtypes are built here and not by NumPy, whose own unpickling trusts its input.
"""

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from keras_alexnet.weights.formats import KINDS, Layout, WeightFile

_LAYOUT = Layout("HWIO", bgr=True)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Dtype:
    """Stands in for `numpy.dtype`: floating point numbers, and Python objects."""

    def __init__(self, name, align, copy):
        self.name, self.order = _text(name), "<"
        if self.name not in ("f2", "f4", "f8", "O", "O8"):
            raise pickle.UnpicklingError(f"an array of dtype {self.name!r}; expected floating point numbers")

    def __setstate__(self, state):
        self.order = ">" if _text(state[1]) == ">" else "<"


class _Array:
    """Stands in for `numpy.ndarray`: `value` is an array, or a list of objects."""

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, content = state
        if isinstance(content, list):
            self.value = content
        else:
            values = np.frombuffer(_bytes(content), dtype.order + dtype.name)
            self.value = values.reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(subtype, shape, typecode):
    return _Array()


def _encode(text, encoding):
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in encoding {encoding!r}")
    return text.encode("latin1")


# Python 3 writes bytes as text to be encoded where a pickle's protocol is 0, 1 or 2.
_ALLOWED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which weights do not need; nothing in it was executed"
            ) from None


def read_npy(path: Path) -> WeightFile:
    """Reads layer name -> `[weights, biases]`, or `{"weights": ..., "biases": ...}`, with names as str or bytes.

    Raises:
      ValueError: if the file is damaged, holds something else, or asks for anything to be executed.
    """
    with path.open("rb") as file:
        content = _unpickle(path, file)
    if not isinstance(content, dict) or not content:
        found = "an empty dictionary" if content == {} else f"a pickled {type(content).__name__}"
        raise ValueError(f"{path}: found {found}; expected a dictionary of layers")
    layers: dict[str, list[np.ndarray]] = {}
    for key, entry in content.items():
        name = _text(key)
        if name in layers:
            raise ValueError(f"{path}: {name}: found two layers of this name")
        layers[name] = _layer(path, name, entry)
    return WeightFile(path, "caffe_npy", layers, _LAYOUT)


def _unpickle(path: Path, file: BinaryIO) -> Any:
    try:
        shape, _, dtype = _HEADERS[npy.read_magic(file)](file)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: found a damaged header of a .npy file ({error})") from error
    if not dtype.hasobject or shape != ():
        raise ValueError(f"{path}: found an array of {dtype} of shape {shape}; expected {KINDS['caffe_npy']}")
    try:
        # As bytes, what Python 2 wrote needs half the memory that it would need as text.
        (content,) = _Unpickler(file, encoding="bytes").load().value
    # A pickle that was tampered with can raise anything.
    except Exception as error:
        raise ValueError(f"{path}: found a pickle that is damaged or not of weights: {error}") from error
    return content


def _layer(path: Path, name: str, entry: Any) -> list[np.ndarray]:
    if isinstance(entry, dict):
        named = {_text(key): value for key, value in entry.items()}
        entry = [named.get("weights"), named.get("biases")]
    elif isinstance(entry, _Array):
        entry = entry.value
    arrays = [getattr(item, "value", None) for item in entry] if isinstance(entry, list | tuple) else []
    if len(arrays) != 2 or not all(isinstance(array, np.ndarray) for array in arrays):
        raise ValueError(f"{path}: {name}: expected two arrays, weights and biases")
    return arrays


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value.encode("latin1") if isinstance(value, str) else value
