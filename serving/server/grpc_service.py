"""TensorFlow Serving's PredictionService and ModelService over the models of a server.

Status codes are TensorFlow Serving's own (tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc,
tensorflow_serving/model_servers/model_service_impl.cc, and those named in `model_manager` and `servable`).
"""

# ruff: noqa: N802 (the names of the methods are the protocol's)

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from serving.server.model_manager import ModelManager
from serving.server.status import RequestError

METADATA_FIELD = "signature_def"


def add_to_server(server: grpc.Server, models: ModelManager) -> None:
    """Registers both services for `models`."""
    service = _Service(models)
    add_PredictionServiceServicer_to_server(service, server)
    add_ModelServiceServicer_to_server(service, server)


def _rpc(method: Callable[..., Message]) -> Callable[..., Message]:
    """`method` as gRPC calls it: a RequestError becomes the status of the response."""

    @functools.wraps(method)
    def respond(self: "_Service", request: Message, context: grpc.ServicerContext) -> Message:
        if not context.is_active():
            context.abort(grpc.StatusCode.CANCELLED, "the client has given up while its request waited")
        try:
            return method(self, request)
        except RequestError as error:
            context.abort(error.code, str(error))
            raise

    return respond


def _not_implemented(reason: str) -> Callable[..., Message]:
    def refuse(self: "_Service", request: Message) -> NoReturn:
        raise RequestError(grpc.StatusCode.UNIMPLEMENTED, reason)

    return _rpc(refuse)


class _Service(PredictionServiceServicer, ModelServiceServicer):
    def __init__(self, models: ModelManager):
        self._models = models

    @_rpc
    def Predict(self, request: PredictRequest) -> PredictResponse:
        return self._models.find(request.model_spec).predict(request)

    @_rpc
    def GetModelMetadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        if not request.metadata_field or set(request.metadata_field) != {METADATA_FIELD}:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"metadata_field: expected {METADATA_FIELD!r}, found {list(request.metadata_field)}",
            )
        servable = self._models.find(request.model_spec)
        response = GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = servable.version
        response.metadata[METADATA_FIELD].Pack(SignatureDefMap(signature_def=servable.signature_defs))
        return response

    @_rpc
    def GetModelStatus(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        return GetModelStatusResponse(model_version_status=self._models.status(request.model_spec))

    Classify = _not_implemented("This server does not parse tf.Examples: use Predict, or TensorFlow Serving.")
    Regress = _not_implemented("This server does not parse tf.Examples: use Predict, or TensorFlow Serving.")
    MultiInference = _not_implemented("This server does not parse tf.Examples: use Predict, or TensorFlow Serving.")
    HandleReloadConfigRequest: Any = _not_implemented(
        "This server takes no configuration over the wire: restart it with another model_config_file, "
        "or use TensorFlow Serving."
    )
