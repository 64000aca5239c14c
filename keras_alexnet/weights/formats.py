"""Formats of weight files: their detection from the content, and what a file holds whatever its format."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from keras_alexnet.variants.architecture import Layer, Normalization

Kind = Literal["keras_h5", "keras", "caffemodel", "caffe_npy", "torch"]

# Kind -> what to call such a file.
KINDS: dict[Kind, str] = {
    "keras_h5": "Keras weights (.weights.h5)",
    "keras": "Keras model (.keras)",
    "caffemodel": "Caffe model (.caffemodel)",
    "caffe_npy": "Caffe weights as NumPy pickle (.npy)",
    "torch": "PyTorch state_dict (.pth)",
}

# Foreign kind -> the name of its family in `Variant.weight_formats`.
FAMILIES: dict[Kind, Literal["caffe", "torch"]] = {"caffemodel": "caffe", "caffe_npy": "caffe", "torch": "torch"}


@dataclass(frozen=True)
class Layout:
    """How a foreign format lays kernels out.

    Attributes:
      axes: of a convolution kernel. Where it is "OIHW", dense kernels are `[out, in]` and maps are flattened channel by
        channel; where it is "HWIO" they are `[in, out]`, and pixel by pixel. Groups lie one after the other along O.
      bgr: whether the network reads blue first.
    """

    axes: Literal["OIHW", "HWIO"]
    bgr: bool = False


@dataclass(frozen=True)
class Operation:
    """A layer without weights that a file describes: its kind, and its constants if the file has them."""

    name: str
    kind: type[Layer]
    constants: Normalization | None = None


@dataclass(frozen=True)
class WeightFile:
    """The content of a weight file.

    Attributes:
      layers: name in the file -> arrays, in the file's order. In foreign files these are one kernel and one bias; in
        Keras' they are what `layer.get_weights()` gives.
      layout: of foreign kernels; None for Keras' files, which have our own.
      operations: normalisations and poolings in the order in which the network runs them; empty if the file does not
        say.
    """

    path: Path
    kind: Kind
    layers: dict[str, list[np.ndarray]]
    layout: Layout | None = None
    operations: tuple[Operation, ...] = ()


# Sources: HDF5 and ZIP specifications; numpy.lib.format; torch/serialization.py (MAGIC_NUMBER, pickled as LONG1).
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_NPY = b"\x93NUMPY"
_TORCH_BEFORE_1_6 = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
# The first field of a NetParameter (caffe.proto): name, layers, input or layer.
_NET_PARAMETER = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")


def recognise(path: str | os.PathLike) -> Kind:
    """The kind of a weight file, from its first bytes or, of a ZIP archive, from its table of contents.

    Raises:
      ValueError: if there is no such file, or it is none of the kinds in `KINDS`.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: found {found}; expected a weight file")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a weight file") from error
    if start.startswith(_ZIP):
        return _kind_of_archive(path)
    if start.startswith(_HDF5):
        return "keras_h5"
    if start.startswith(_NPY):
        return "caffe_npy"
    if _TORCH_BEFORE_1_6 in start:
        return "torch"
    if start.startswith(_NET_PARAMETER):
        return "caffemodel"
    found = f"a file that begins with {start[:16]!r}" if start else "an empty file"
    raise ValueError(f"{path}: found {found}; expected {' or '.join(KINDS.values())}")


def _kind_of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path}: found a damaged or truncated ZIP archive ({error})") from error
    if "model.weights.h5" in names:
        return "keras"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    raise ValueError(
        f"{path}: found a ZIP archive of {', '.join(names[:5]) or 'nothing'}; "
        f"expected {KINDS['keras']} or {KINDS['torch']}"
    )
