"""Writes weight files of other programs, byte by byte as they do, with nothing of the importer's own code.

`blobs` everywhere: layer name -> (kernel, bias) in the file's layout.
"""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from keras_alexnet import AlexNet
from keras_alexnet.weights import load_weights

Blobs = dict[str, tuple[np.ndarray, np.ndarray]]
random = np.random.default_rng(0)
# Bytes that hostile files claim to have.
CLAIMED = 256 * 2**20
HEADER = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"


def small(variant, classes=7, **arguments):
    return AlexNet(variant, classes=classes, width=1 / 16, **arguments)


def randomize(model) -> dict[str, list[np.ndarray]]:
    """Gives the model random weights; returns them by layer."""
    weights = {}
    for layer in model.layers:
        if layer.weights:
            weights[layer.name] = [random.normal(size=w.shape).astype(np.float32) for w in layer.weights]
            layer.set_weights(weights[layer.name])
    return weights


def weights_of(model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def same_weights(model, weights) -> bool:
    """Whether the model has these weights, bit for bit."""
    found = weights_of(model)
    return found.keys() == weights.keys() and all(
        a.tobytes() == b.tobytes() for name in found for a, b in zip(found[name], weights[name], strict=True)
    )


def refused(model, path, variant, *says, **arguments):
    """Asserts that loading fails, with one line that says all of this, and changes nothing."""
    before = randomize(model)
    with pytest.raises(ValueError) as error:
        load_weights(model, path, variant, **arguments)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    for part in says:
        assert part in message, message
    assert same_weights(model, before)


def foreign_blobs(weights: dict[str, list[np.ndarray]], maps_towers: int, bgr: bool = True) -> Blobs:
    """Our weights as Caffe and PyTorch hold them, OIHW and channel by channel; fc6 reads `maps_towers` towers."""
    blobs = {}
    for number, (name, arrays) in enumerate(weights.items()):
        kernel, bias = np.concatenate(arrays[0::2], -1), np.concatenate(arrays[1::2])
        if kernel.ndim == 4:
            kernel = kernel[:, :, ::-1] if bgr and number == 0 else kernel
            kernel = np.moveaxis(kernel, (2, 3), (1, 0))
        else:
            if name == "fc6":
                maps = kernel.reshape(maps_towers, 6, 6, -1, kernel.shape[1])
                # Channels of tower 0, then of tower 1, as one axis, which comes first.
                kernel = np.moveaxis(np.concatenate(list(maps), axis=2), 2, 0).reshape(kernel.shape)
            kernel = kernel.T
        blobs[name] = np.ascontiguousarray(kernel), bias
    return blobs


def caffe_tensorflow(blobs: Blobs) -> Blobs:
    """What caffe-tensorflow makes of Caffe's kernels: HWIO, pixel by pixel, still blue first."""
    converted = {}
    for name, (kernel, bias) in blobs.items():
        if kernel.ndim == 2:
            side = 6 if name == "fc6" else 1
            kernel = kernel.reshape(len(kernel), -1, side, side)
        kernel = kernel.transpose(2, 3, 1, 0)
        converted[name] = kernel if name.startswith("conv") else kernel.reshape(-1, kernel.shape[-1]), bias
    return converted


# --- protocol buffers, by hand; numbers of fields and types from caffe.proto ---


def varint(value: int) -> bytes:
    head = []
    while value > 127:
        head.append(value & 127 | 128)
        value >>= 7
    return bytes([*head, value])


def field(number: int, content: bytes | str | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def number32(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def blob_proto(array: np.ndarray, legacy: bool = False, values: str = "packed") -> bytes:
    if legacy:
        # num, channels, height, width: dense kernels are 1 x 1 x out x in, biases 1 x 1 x 1 x out.
        shape = (1,) * (4 - array.ndim) + array.shape
        content = b"".join(field(number, size) for number, size in enumerate(shape, 1))
    else:
        content = field(7, field(1, b"".join(varint(size) for size in array.shape)))
    if values == "unpacked":
        return content + b"".join(number32(5, value) for value in array.ravel())
    if values == "double":
        return content + field(8, array.astype("<f8").tobytes())
    return content + field(5, array.astype("<f4").tobytes())


def lrn_param(local_size=5, alpha=1e-4, beta=0.75, k=None, region=None) -> bytes:
    content = field(1, local_size) + number32(2, alpha) + number32(3, beta)
    content += field(4, region) if region is not None else b""
    return content + (number32(5, k) if k is not None else b"")


def layer(name: str, kind: str, blobs=(), param: bytes | None = None) -> bytes:
    """A LayerParameter."""
    content = field(1, name) + field(2, kind) + field(3, "below") + field(4, name)
    content += b"".join(field(7, blob) for blob in blobs)
    return field(100, content + (field(118, param) if param is not None else b""))


V1_TYPES = {"Data": 5, "Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Dropout": 6}


def v1_layer(name: str, kind: str, blobs=(), param: bytes | None = None) -> bytes:
    """A V1LayerParameter."""
    content = field(2, "below") + field(3, name) + field(4, name) + field(5, V1_TYPES[kind])
    content += b"".join(field(6, blob) for blob in blobs)
    return field(2, content + (field(18, param) if param is not None else b""))


# What stands between the layers with weights, and in which order.
ALEXNET = {
    "conv1": ("ReLU", "LRN", "Pooling"),
    "conv2": ("ReLU", "LRN", "Pooling"),
    "conv3": ("ReLU",),
    "conv4": ("ReLU",),
    "conv5": ("ReLU", "Pooling"),
    "fc6": ("ReLU", "Dropout"),
    "fc7": ("ReLU", "Dropout"),
}
CAFFENET = ALEXNET | dict.fromkeys(("conv1", "conv2"), ("ReLU", "Pooling", "LRN"))


def caffemodel(
    path: Path, blobs: Blobs, between=ALEXNET, legacy: bool = False, values: str = "packed", lrn: bytes | None = None
) -> Path:
    """A `.caffemodel`; `legacy` for `layers` with blobs of four dimensions."""
    write = v1_layer if legacy else layer
    lrn = lrn_param() if lrn is None else lrn
    content = field(1, "AlexNet") + write("data", "Data")
    for name, pair in blobs.items():
        kind = "Convolution" if pair[0].ndim == 4 else "InnerProduct"
        content += write(name, kind, [blob_proto(array, legacy, values) for array in pair])
        for kind in between.get(name, ()):
            content += write(f"{kind.lower()}_{name}", kind, param=lrn if kind == "LRN" else None)
    path.write_bytes(content)
    return path


# --- pickles ---


def npy(path: Path, content: object, protocol: int = 4, numpy1: bool = False) -> Path:
    """What np.save writes of a dictionary; `numpy1`: as NumPy 1 named its modules (protocols below 4 only)."""
    array = np.empty((), object)
    array[()] = content
    pickled = pickle.dumps(array, protocol=protocol)
    if numpy1:
        assert protocol < 4 and b"numpy._core.multiarray" in pickled
        pickled = pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(HEADER + pickled)
    return path


def python2_npy(path: Path, content: object, text: bool) -> Path:
    """What np.save wrote under Python 2, whose strings were bytes; `text`: protocol 0, else binary opcodes."""

    def string(value: bytes) -> bytes:
        if text:
            return b"S" + repr(value)[1:].encode("ascii") + b"\n"
        return b"T" + struct.pack("<i", len(value)) + value

    def array(shape: tuple, code: str, content: bytes) -> bytes:
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + pickled((0,)) + string(b"b") + b"tR"
        dtype = b"cnumpy\ndtype\n" + pickled((code, 0, 1)) + b"R"
        order, flags = ("<", 0) if code == "f4" else ("|", 63)
        dtype += pickled((3, order, None, None, None, -1, -1, flags)) + b"b"
        return empty + b"(" + pickled(1) + pickled(shape) + dtype + pickled(0) + content + b"tb"

    def pickled(value: object) -> bytes:
        if isinstance(value, np.ndarray):
            return array(value.shape, "f4", string(value.tobytes()))
        if isinstance(value, dict):
            return b"(" + b"".join(pickled(item) for pair in value.items() for item in pair) + b"d"
        if isinstance(value, list | tuple):
            return b"(" + b"".join(map(pickled, value)) + (b"l" if isinstance(value, list) else b"t")
        if isinstance(value, int):
            return b"I%d\n" % value
        return b"N" if value is None else string(value.encode())

    path.write_bytes(HEADER + (b"" if text else b"\x80\x02") + array((), "O8", pickled([content])) + b".")
    return path


class Hostile:
    """Its pickle creates a file when it is executed."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w')",)
