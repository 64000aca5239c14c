"""One loaded version of a model, and its Predict method.

The checks, their order and their status codes are those of TensorFlow Serving
(tensorflow_serving/servables/tensorflow/predict_util.cc), so that a client meets the same behaviour on both.
"""

import math
from collections.abc import Collection
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from pipelines.cli.literal_path import literal_path
from pipelines.cli.regular_files import read_file
from serving.server.status import RequestError, from_tensorflow
from serving.signatures import SIGNATURE_TEN_CROP

Tensors = dict[str, tf.Tensor]

GRAPH_FILE = tf.saved_model.SAVED_MODEL_FILENAME_PB

# Of protocol buffers (google::protobuf::MessageLite).
_MOST_GRAPH_BYTES = 2**31 - 1

# Initialises lookup tables and the like; not for clients.
_HIDDEN_SIGNATURES = {"__saved_model_init_op", "__saved_model_train_op"}

# The format lets one value stand for all elements, so that 60 bytes claim gigabytes. Elements that are not in the
# message may take this many bytes; strings, each of which is an image to decode, none.
_MOST_REPEATED_BYTES = 2**20

# TensorFlow Serving fills these fields rather than `tensor_content`, and clients read them directly.
_VALUE_FIELDS = {
    tf.bool: "bool_val",
    tf.float32: "float_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.string: "string_val",
}


class Servable:
    """A loaded SavedModel.

    Args:
        folder: the version's folder; its name is a number.

    Attributes:
        version: the folder's name as a number.
        signature_defs: signature name -> SignatureDef, as stored in the SavedModel.

    Raises whatever TensorFlow raises for a folder without a complete SavedModel (OSError, tf.errors.OpError,
    protobuf's DecodeError, ...).
    """

    def __init__(self, folder: Path):
        self.version = int(folder.name)
        self.signature_defs = _read_signature_defs(folder)
        with literal_path(folder) as literal:
            self._model = tf.saved_model.load(literal)

    @property
    def callable_signatures(self) -> list[str]:
        """Names of the signatures that Predict knows, sorted."""
        return sorted(set(self._model.signatures) - _HIDDEN_SIGNATURES)

    def predict(self, request: PredictRequest) -> PredictResponse:
        """Runs the signature that `request` names on its inputs; safe to call from many threads.

        Raises:
            RequestError: the request does not fit the signature, or the graph failed (its own status).
        """
        name = request.model_spec.signature_name or SIGNATURE_TEN_CROP
        if name not in self._model.signatures:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found; there are {", ".join(self.callable_signatures)}',
            )
        signature = self.signature_defs[name]
        inputs = _read_inputs(signature, request)
        wanted = _wanted_outputs(signature, request)
        try:
            outputs = self._model.signatures[name](**inputs)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        response = PredictResponse(model_spec=ModelSpec(name=request.model_spec.name, signature_name=name))
        response.model_spec.version.value = self.version
        for output in wanted:
            response.outputs[output].CopyFrom(_write_tensor(outputs[output]))
        return response


def _read_signature_defs(folder: Path) -> dict[str, SignatureDef]:
    graphs = SavedModel.FromString(read_file(folder / GRAPH_FILE, _MOST_GRAPH_BYTES)).meta_graphs
    for graph in graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f"{GRAPH_FILE}: no graph with the tag {tf.saved_model.SERVING!r}")


def _read_inputs(signature: SignatureDef, request: PredictRequest) -> Tensors:
    given, expected = set(request.inputs), set(signature.inputs)
    missing = expected - given - set(signature.defaults)
    if missing or given - expected:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"inputs do not match the signature: expected {_names(expected)}; "
            f"missing {_names(missing)}, unknown {_names(given - expected)}",
        )
    protos = {name: request.inputs[name] if name in given else signature.defaults[name] for name in expected}
    return {name: _read_tensor(name, proto, signature.inputs[name]) for name, proto in protos.items()}


def _read_tensor(name: str, proto: TensorProto, expected: TensorInfo) -> tf.Tensor:
    dtype, shape = tf.as_dtype(expected.dtype), tf.TensorShape(expected.tensor_shape)
    if proto.dtype != expected.dtype:
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"input {name!r}: expected {dtype.name}, found {_dtype_name(proto.dtype)}",
        )
    # Every element that is in the message takes a byte of it or more.
    elements, length = math.prod(dim.size for dim in proto.tensor_shape.dim), proto.ByteSize()
    if elements > length and (dtype == tf.string or elements * dtype.size > _MOST_REPEATED_BYTES):
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, f"input {name!r}: claims {elements:,} elements in {length:,} bytes"
        )
    try:
        tensor = tf.io.parse_tensor(proto.SerializeToString(), dtype)
    except tf.errors.OpError as error:
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, f"input {name!r} is not a valid tensor") from error
    if not shape.is_compatible_with(tensor.shape):
        raise RequestError(
            grpc.StatusCode.INVALID_ARGUMENT, f"input {name!r}: expected shape {shape}, found {tensor.shape}"
        )
    return tensor


def _wanted_outputs(signature: SignatureDef, request: PredictRequest) -> list[str]:
    wanted = list(request.output_filter) or sorted(signature.outputs)
    for output in wanted:
        if output not in signature.outputs:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {output}; expected one of {_names(signature.outputs)}",
            )
        if wanted.count(output) > 1:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, f"duplicate output tensor alias: {output}")
    return wanted


def _write_tensor(tensor: tf.Tensor) -> TensorProto:
    if tensor.dtype not in _VALUE_FIELDS:
        return tf.make_tensor_proto(tensor)
    proto = TensorProto(dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto())
    getattr(proto, _VALUE_FIELDS[tensor.dtype]).extend(np.ravel(tensor.numpy()).tolist())
    return proto


def _dtype_name(number: int) -> str:
    try:
        return tf.as_dtype(number).name
    except TypeError:
        return f"unknown type {number}"


def _names(names: Collection[str]) -> str:
    return "{" + ", ".join(sorted(names)) + "}"
