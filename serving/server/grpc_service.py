"""TensorFlow Serving's PredictionService and ModelService over the models of a server.

Status codes are TensorFlow Serving's own (tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc,
tensorflow_serving/model_servers/model_service_impl.cc, and those that `models`, `servable` and `examples` name).
"""

# ruff: noqa: N802 (the names of the methods are the protocol's)

import functools
from collections.abc import Callable

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest, MultiInferenceResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import (
    ModelServiceServicer,
    add_ModelServiceServicer_to_server,
)
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from serving import examples
from serving.models import Models
from serving.request_errors import RequestError

METADATA_FIELD = "signature_def"

_Method = Callable[["_Service", Message], Message]


def add_to_server(server: grpc.Server, models: Models) -> None:
    """Makes `server` answer both services for `models`."""
    service = _Service(models)
    add_PredictionServiceServicer_to_server(service, server)
    add_ModelServiceServicer_to_server(service, server)


def _answered(method: _Method) -> Callable[["_Service", Message, grpc.ServicerContext], Message]:
    """`method` as gRPC calls it: a RequestError becomes the status of the answer."""

    @functools.wraps(method)
    def answer(self: "_Service", request: Message, context: grpc.ServicerContext) -> Message:
        if not context.is_active():
            context.abort(grpc.StatusCode.CANCELLED, "the client has given up while its request waited")
        try:
            return method(self, request)
        except RequestError as error:
            context.abort(error.code, str(error))

    return answer


class _Service(PredictionServiceServicer, ModelServiceServicer):
    def __init__(self, models: Models):
        self._models = models

    @_answered
    def Predict(self, request: PredictRequest) -> PredictResponse:
        return self._models.find(request.model_spec).predict(request)

    @_answered
    def Classify(self, request: ClassificationRequest) -> ClassificationResponse:
        return examples.classify(self._models.find(request.model_spec), request)

    @_answered
    def Regress(self, request: RegressionRequest) -> RegressionResponse:
        return examples.regress(self._models.find(request.model_spec), request)

    @_answered
    def MultiInference(self, request: MultiInferenceRequest) -> MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        return examples.multi_inference(self._models.find(spec), request)

    @_answered
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

    @_answered
    def GetModelStatus(self, request: GetModelStatusRequest) -> GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        return GetModelStatusResponse(model_version_status=self._models.status(request.model_spec))

    @_answered
    def HandleReloadConfigRequest(self, request: ReloadConfigRequest) -> ReloadConfigResponse:
        self._models.reload(request.config)
        response = ReloadConfigResponse()
        response.status.SetInParent()  # code OK, which TensorFlow Serving writes out
        return response
