"""Caffe weights in the `.npy` format of caffe-tensorflow: a pickled dictionary of layers.

The pickle is not executed: it may name what NumPy arrays and dictionaries need, and nothing else. Arrays, dtypes and
dictionaries are built by the classes below, because NumPy's own unpickling trusts its input.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from keras_alexnet.weights.formats import KINDS, Layout, WeightFile, check_size

_LAYOUT = Layout("HWIO", bgr=True)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Dtype:
    """Replaces `numpy.dtype`: floating point numbers and Python objects."""

    def __init__(self, name: str | bytes, align: Any, copy: Any):
        self.name, self.order = _text(name), "<"
        if self.name not in ("f2", "f4", "f8", "O", "O8"):
            raise pickle.UnpicklingError(f"an array of dtype {self.name!r}; expected floating point numbers")

    def __setstate__(self, state: tuple) -> None:
        self.order = ">" if _text(state[1]) == ">" else "<"


class _Array:
    """Replaces `numpy.ndarray`: `value` is an array or a list of objects."""

    value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, content = state
        if isinstance(content, list):
            self.value = content
        else:
            values = np.frombuffer(content, dtype.order + dtype.name)
            self.value = values.reshape(shape, order="F" if is_fortran else "C")


# An array takes about thirty operations, and the networks of Caffe's time have a few hundred arrays.
_MAX_OPERATIONS = 500_000


class _Operations(dict):
    """The methods of an unpickler by operation, each use of which is counted."""

    used = 0

    def __getitem__(self, operation: int) -> Any:
        self.used += 1
        if self.used > _MAX_OPERATIONS:
            raise pickle.UnpicklingError(f"more than {_MAX_OPERATIONS} operations")
        return super().__getitem__(operation)


# The unpickler in Python: the one in C allocates and fills a table as long as the largest index that a pickle names.
class _Unpickler(pickle._Unpickler):
    def __init__(self, path: Path, file: BinaryIO):
        # As bytes, strings of Python 2 need half the memory that they would need as text.
        super().__init__(file, encoding="bytes")
        # Of this unpickler and not of its class, as it counts.
        self.dispatch = _Operations(self.dispatch)  # type: ignore[misc]
        self._path, self._size, self._claimed = path, path.stat().st_size, 0
        self._allowed = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
            ("numpy.core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): self._reconstruct,
            ("collections", "OrderedDict"): self._dictionary,
            # Python 3 writes bytes as text and its encoding in protocols 0, 1 and 2.
            ("_codecs", "encode"): self._encode,
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it contains {module}.{name}, which weights do not need; nothing in it was executed"
            ) from None

    def _reconstruct(self, subtype: Any, shape: Any, typecode: Any) -> _Array:
        return _Array()

    def _dictionary(self, items: Any = ()) -> dict:
        self._claim(len(items))
        return dict(items)

    def _encode(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"text in encoding {encoding!r}")
        self._claim(len(text))
        return text.encode("latin1")

    def _claim(self, count: int) -> None:
        """A pickle may name the same object many times, and have each copied."""
        self._claimed += count
        check_size(self._path, "pickle", self._claimed, self._size)


def read_npy(path: Path) -> WeightFile:
    """Reads a dictionary: layer name -> `[weights, biases]` or `{"weights": ..., "biases": ...}`; names str or bytes.

    Raises:
      ValueError: if the file is damaged, contains something else, or names anything to be executed.
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
        (content,) = _Unpickler(path, file).load().value
    # A damaged or hostile pickle can raise anything.
    except Exception as error:
        raise ValueError(f"{path}: found a pickle that is damaged or not of weights: {error}") from error
    return content


def _layer(path: Path, name: str, entry: Any) -> list[np.ndarray]:
    if isinstance(entry, dict):
        named = {_text(key): value for key, value in entry.items()}
        entry = [named.get("weights"), named.get("biases")]
    elif isinstance(entry, _Array):
        entry = entry.value
    values = [getattr(item, "value", None) for item in entry] if isinstance(entry, list | tuple) else []
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if len(values) != 2 or len(arrays) != 2:
        raise ValueError(f"{path}: {name}: expected two arrays, weights and biases")
    return arrays


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
