"""Formats of weight files: their detection from the content, their size limits, and what a file holds."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from keras_alexnet.variants.architecture import Layer, Normalization

Kind = Literal["keras_h5", "keras", "keras_hub", "caffemodel", "caffe_npy", "torch"]

# Kind -> its description in messages.
KINDS: dict[Kind, str] = {
    "keras_h5": "Keras weights (.weights.h5)",
    "keras": "Keras model (.keras)",
    "keras_hub": "preset of keras-hub (a directory)",
    "caffemodel": "Caffe model (.caffemodel)",
    "caffe_npy": "Caffe weights as NumPy pickle (.npy)",
    "torch": "PyTorch state_dict (.pth)",
}

# Foreign kind -> the name of its family in `Variant.weight_formats`.
FAMILIES: dict[Kind, Literal["caffe", "torch"]] = {"caffemodel": "caffe", "caffe_npy": "caffe", "torch": "torch"}


@dataclass(frozen=True)
class Layout:
    """The memory layout of kernels in the files of another framework.

    Attributes:
      axes: of a convolution kernel. With "OIHW", dense kernels are `[out, in]` and their inputs are flattened in the
        order channel, height, width; with "HWIO" they are `[in, out]`, in the order height, width, channel. Groups are
        concatenated along O.
      bgr: whether the network reads BGR images.
    """

    axes: Literal["OIHW", "HWIO"]
    bgr: bool = False


@dataclass(frozen=True)
class Operation:
    """A layer without weights that a file describes, with its constants if the file has them."""

    name: str
    kind: type[Layer]
    constants: Normalization | None = None


@dataclass(frozen=True)
class WeightFile:
    """The content of a weight file.

    Attributes:
      layers: name in the file -> arrays, in the file's order: a kernel and a bias in files of other frameworks, and
        the arrays of `layer.get_weights()` in Keras' files. There a layer within another, or within a model that is a
        layer, is called `<outer>/<inner>`.
      layout: of the kernels of other frameworks; None for Keras' files.
      operations: normalization and pooling layers in the order in which the network applies them; empty if the file
        does not describe them.
      is_in_order: whether the layers are in the order of the network, so that their names do not matter.
    """

    path: Path
    kind: Kind
    layers: dict[str, list[np.ndarray]]
    layout: Layout | None = None
    operations: tuple[Operation, ...] = ()
    is_in_order: bool = False


# References: HDF5 and ZIP specifications; numpy.lib.format; torch/serialization.py (MAGIC_NUMBER, pickled as LONG1).
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_NPY = b"\x93NUMPY"
_TORCH_BEFORE_1_6 = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
# The first field of a NetParameter (caffe.proto): name, layers, input or layer.
_NET_PARAMETER = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")

# Of keras-hub's presets (keras_hub/src/utils/preset_utils.py): the backbone's.
PRESET_CONFIG, PRESET_WEIGHTS = "config.json", "model.weights.h5"

# Weights hardly compress; a file of zeros that was compressed again may still pass.
_MAX_INFLATION = 20

# Of an entry that is read to check it.
_PIECE_BYTES = 2**20

# Of an entry that becomes Python objects: a pickle of names and shapes, or a network's config. Large networks have a
# megabyte; of hostile ones, each byte may take microseconds and fifty bytes of memory.
_MAX_OBJECT_BYTES, _OBJECTS = 4 * 2**20, (".pkl", ".json")


def check_size(path: Path, part: str, claimed: int, available: int) -> None:
    """Refuses a part of a file that claims to be larger than it can be. To be called before memory is allocated.

    Args:
      path: the file.
      part: of the file, for the message.
      claimed: number of bytes that the file says the part has.
      available: number of bytes that it can have.

    Raises:
      ValueError: if it claims more.
    """
    if claimed > available:
        raise ValueError(f"{path}: {part}: claims {claimed} bytes, but at most {available} are possible in this file")


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a ZIP archive whose entries have plausible sizes.

    Raises:
      ValueError: if it is damaged, has entries that are not stored or deflated, inflates more than weights do, or has
        more objects than the description of weights.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ValueError(f"{path}: found a damaged or truncated ZIP archive ({error})") from error
    with archive:
        entries = archive.infolist()
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise ValueError(f"{path}: found a ZIP archive with an unusual compression; expected stored or deflated")
        inflated = sum(entry.file_size for entry in entries)
        check_size(path, "ZIP archive", inflated, _MAX_INFLATION * path.stat().st_size)
        objects = sum(entry.file_size for entry in entries if entry.filename.endswith(_OBJECTS))
        check_size(path, "objects", objects, _MAX_OBJECT_BYTES)
        _check_deflated(path, archive)
        yield archive


def _check_deflated(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses entries that inflate to more than the archive says, which `read` learns when it has the whole of them."""
    for entry in archive.infolist():
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            try:
                with archive.open(entry) as file:
                    while file.read(_PIECE_BYTES):
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                raise ValueError(f"{path}: found a damaged or truncated ZIP archive ({error})") from error


def recognise(path: str | os.PathLike) -> Kind:
    """Detects the format of a weight file from its first bytes, in ZIP archives and directories from what they hold.

    Returns:
      A key of `KINDS`.

    Raises:
      ValueError: if it is no regular file, is of none of these formats, or is a ZIP archive of implausible size.
    """
    path = Path(path)
    if is_preset(path):
        return "keras_hub"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "a special file" if path.exists() else "no such file"
        raise ValueError(f"{path}: found {found}; expected a weight file")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise ValueError(f"{path}: {error}; expected a weight file") from error
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


def is_preset(path: str | os.PathLike) -> bool:
    """Whether `path` is the directory of a preset of keras-hub."""
    return all((Path(path) / name).is_file() for name in (PRESET_CONFIG, PRESET_WEIGHTS))


def _kind_of_archive(path: Path) -> Kind:
    with open_archive(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return "keras"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    raise ValueError(
        f"{path}: found a ZIP archive of {', '.join(names[:5]) or 'nothing'}; "
        f"expected {KINDS['keras']} or {KINDS['torch']}"
    )
