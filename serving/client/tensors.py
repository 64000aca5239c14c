"""TensorProto to NumPy and back. No more memory is allocated than the values in a message take."""

import math

import numpy as np

from serving.client.messages import TensorProto, TensorShapeProto, types_pb2

# dtype -> NumPy dtype, and the field of its values where they are not in tensor_content.
_TYPES = {
    types_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
    types_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types_pb2.DT_STRING: (np.dtype(object), "string_val"),
}


def to_proto(array: np.ndarray) -> TensorProto:
    """Bytes objects [N], or uint8 of any shape."""
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in array.shape])
    if array.dtype == object:
        return TensorProto(dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=array.tolist())
    return TensorProto(dtype=types_pb2.DT_UINT8, tensor_shape=shape, tensor_content=array.tobytes())


def from_proto(proto: TensorProto) -> np.ndarray:
    """The value of `proto`; strings are bytes objects.

    Raises:
        ValueError: another dtype than _TYPES, or a shape that does not go with the values.
    """
    if proto.dtype not in _TYPES:
        raise ValueError(f"dtype {proto.dtype} is not one of an exported model's outputs")
    dtype, field = _TYPES[proto.dtype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    values = getattr(proto, field)
    held = len(proto.tensor_content) // dtype.itemsize if proto.tensor_content else len(values)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0 or math.prod(shape) != held:
        raise ValueError(f"shape {shape} does not go with {held} values")
    if proto.tensor_content:
        if dtype.hasobject:
            raise ValueError("strings in tensor_content")
        return np.frombuffer(proto.tensor_content, dtype, held).reshape(shape)
    array = np.empty(held, dtype)
    array[:] = values
    return array.reshape(shape)
