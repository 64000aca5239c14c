"""What kind of file it is, seen from its content; names and suffixes do not count."""

import os
import zipfile
from pathlib import Path

from keras_alexnet.weights.contents import KINDS, Kind
from pipelines.command import InputError, reason_of

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
      InputError: if there is no such file, or it is none of the kinds in `KINDS`.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: found {found}; expected a weight file")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise InputError(f"{path}: {reason_of(error)}; expected a weight file") from error
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
    raise InputError(f"{path}: found {found}; expected {' or '.join(KINDS.values())}")


def _kind_of_archive(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: found a damaged or truncated ZIP archive ({reason_of(error)})") from error
    if "model.weights.h5" in names:
        return "keras"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    raise InputError(
        f"{path}: found a ZIP archive of {', '.join(names[:5]) or 'nothing'}; "
        f"expected {KINDS['keras']} or {KINDS['torch']}"
    )
