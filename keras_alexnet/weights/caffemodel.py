"""Caffe's `.caffemodel`: a binary NetParameter, in the current format (`layer`) or the V1 format (`layers`)."""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from keras_alexnet.variants.architecture import Convolution, Dense, Layer, MapNormalization, Normalization, Pooling
from keras_alexnet.weights.formats import KINDS, Layout, Operation, WeightFile, check_size

_LAYOUT = Layout("OIHW", bgr=True)

# Limits of Caffe: kMaxBlobAxes (blob.hpp); protocol buffers (google::protobuf::MessageLite). The largest networks of
# Caffe's time have about a thousand layers.
_MAX_AXES, _MAX_BYTES, _MAX_LAYERS = 32, 2**31 - 1, 10_000

# The part of caffe.proto that is read: message -> field -> (number, type, whether it is repeated). Names and types of
# layers are bytes here, so that invalid UTF-8 in one is no reason to refuse the file.
_SCHEMA: dict[str, dict[str, tuple[int, str, bool]]] = {
    "BlobShape": {"dim": (1, "int64", True)},
    "BlobProto": {
        "num": (1, "int64", False),
        "channels": (2, "int64", False),
        "height": (3, "int64", False),
        "width": (4, "int64", False),
        "data": (5, "float", True),
        "shape": (7, "BlobShape", False),
        "double_data": (8, "double", True),
    },
    "LRNParameter": {
        "local_size": (1, "uint32", False),
        "alpha": (2, "float", False),
        "beta": (3, "float", False),
        "norm_region": (4, "int32", False),
        "k": (5, "float", False),
    },
    "V1LayerParameter": {
        "layer": (1, "bytes", False),  # V0LayerParameter
        "name": (4, "bytes", False),
        "type": (5, "int32", False),
        "blobs": (6, "BlobProto", True),
        "lrn_param": (18, "LRNParameter", False),
    },
    "LayerParameter": {
        "name": (1, "bytes", False),
        "type": (2, "bytes", False),
        "blobs": (7, "BlobProto", True),
        "lrn_param": (118, "LRNParameter", False),
    },
    "NetParameter": {"layers": (2, "V1LayerParameter", True), "layer": (100, "LayerParameter", True)},
}
# Defaults in caffe.proto.
_DEFAULTS = {"local_size": "5", "alpha": "1", "beta": "0.75", "k": "1"}

# Caffe's type -> ours; a name since 2014, a number before (V1LayerParameter.LayerType).
_TYPES: dict[bytes | int, type[Layer]] = {
    **dict.fromkeys((b"Convolution", 4), Convolution),
    **dict.fromkeys((b"InnerProduct", 14), Dense),
    **dict.fromkeys((b"LRN", 15), Normalization),
    **dict.fromkeys((b"Pooling", 17), Pooling),
}


@functools.cache
def _message_class(message_name: str, packed: bool) -> type[Message]:
    """The class of a message of `_SCHEMA`.

    Messages that may be repeated are declared as bytes, which have the same wire format: an empty one takes two bytes
    in a file and a hundred in memory, so their number is checked before they are parsed one by one. With `packed`, so
    are fields of packed numbers: parsing copies them instead of building a list of 60 million numbers.
    """
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            default = _DEFAULTS.get(field_name)
            field = message.field.add(name=field_name, number=number, label=label, default_value=default)
            as_bytes = repeated and (kind in _SCHEMA or (packed and kind in ("float", "double")))
            if kind in _SCHEMA and not as_bytes:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = field_type.TYPE_BYTES if as_bytes else field_type.Type.Value(f"TYPE_{kind.upper()}")
    # A separate pool: the program may have loaded the whole of caffe.proto.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{message_name}"))


def _parsed(path: Path, message_name: str, content: bytes, packed: bool = True) -> Any:
    try:
        return _message_class(message_name, packed).FromString(content)
    except DecodeError as error:
        raise ValueError(f"{path}: found a damaged, truncated or other file; expected {KINDS['caffemodel']}") from error


def read_caffemodel(path: Path) -> WeightFile:
    """Reads the weights, and the order of the normalization and pooling layers.

    Raises:
      ValueError: if the file is damaged, or has weights in layers of types that AlexNet does not have.
    """
    weights: dict[str, list[np.ndarray]] = {}
    operations = []
    for layer in _layers(path):
        name, kind = layer.name.decode(errors="replace"), _TYPES.get(layer.type)
        if kind in (Normalization, Pooling):
            operations.append(_operation(name, kind, layer))
        if not layer.blobs:
            continue
        if kind not in (Convolution, Dense):
            found = layer.type if isinstance(layer.type, int) else layer.type.decode(errors="replace")
            raise ValueError(
                f"{path}: {name}: found weights in a layer of type {found}; expected them in Convolution and "
                "InnerProduct only"
            )
        if name in weights:
            raise ValueError(f"{path}: {name}: found two layers of this name")
        weights[name] = _weights(path, name, kind, layer.blobs)
    if not weights:
        raise ValueError(f"{path}: found no layer with weights; expected {KINDS['caffemodel']}")
    return WeightFile(path, "caffemodel", weights, _LAYOUT, tuple(operations))


def _layers(path: Path) -> list[Any]:
    check_size(path, "Caffe model", path.stat().st_size, _MAX_BYTES)
    net = _parsed(path, "NetParameter", path.read_bytes())
    contents, kind = (net.layer, "LayerParameter") if net.layer else (net.layers, "V1LayerParameter")
    if len(contents) > _MAX_LAYERS:
        raise ValueError(f"{path}: found {len(contents)} layers; expected at most {_MAX_LAYERS}")
    layers = [_parsed(path, kind, content) for content in contents]
    if any("layer" in layer.DESCRIPTOR.fields_by_name and layer.HasField("layer") for layer in layers):
        raise ValueError(
            f"{path}: found Caffe's format of 2013; expected a later one; Caffe's upgrade_net_proto_binary converts it"
        )
    return layers


def _weights(path: Path, name: str, kind: type[Layer], blobs: Any) -> list[np.ndarray]:
    if len(blobs) != 2:
        raise ValueError(f"{path}: {name}: found {len(blobs)} blob(s); expected weights and biases")
    arrays = []
    for content, rank in zip(blobs, (4 if kind is Convolution else 2, 1), strict=True):
        blob = _parsed(path, "BlobProto", content)
        count = len(blob.data) + len(blob.double_data)
        if count > _MAX_LAYERS:
            raise ValueError(f"{path}: {name}: found numbers in {count} pieces; expected them in one")
        if not count:
            blob = _parsed(path, "BlobProto", content, packed=False)
        if len(blob.shape.dim) > _MAX_AXES:
            raise ValueError(f"{path}: {name}: found a blob of {len(blob.shape.dim)} dimensions; expected {rank}")
        shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
        # Blobs of the V1 format have four dimensions: a dense kernel is 1 x 1 x out x in.
        while len(shape) > rank and shape[0] == 1:
            shape = shape[1:]
        values = _values(path, name, blob)
        if min(shape, default=1) < 1 or values.size != math.prod(shape):
            raise ValueError(f"{path}: {name}: found a blob of {values.size} numbers; expected the shape {shape}")
        arrays.append(values.reshape(shape))
    return arrays


def _values(path: Path, name: str, blob: Any) -> np.ndarray:
    numbers, dtype = (blob.double_data, "<f8") if blob.double_data else (blob.data, "<f4")
    if not numbers or not isinstance(numbers[0], bytes):
        return np.fromiter(numbers, dtype, len(numbers))
    try:
        return np.frombuffer(b"".join(numbers), dtype)
    except ValueError as error:
        raise ValueError(f"{path}: {name}: found a blob that ends within a number; the file is damaged") from error


def _operation(name: str, kind: type[Layer], layer: Any) -> Operation:
    if kind is Pooling or not layer.HasField("lrn_param"):
        return Operation(name, kind)
    lrn = layer.lrn_param
    if lrn.norm_region == 1:
        return Operation(name, MapNormalization)
    # Caffe divides alpha by the window's size (lrn_layer.cpp).
    constants = Normalization(name, lrn.k, lrn.local_size, lrn.alpha / max(1, lrn.local_size), lrn.beta, "all")
    return Operation(name, kind, constants)
