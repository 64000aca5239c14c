"""TensorFlow Serving's PredictionService and ModelService over one model.

Status codes are TensorFlow Serving's own (tensorflow_serving/model_servers/server_core.cc and
get_model_status_impl.cc, tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc).
"""

# ruff: noqa: N802 (the names of the methods are the protocol's)

from typing import NoReturn

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
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

from serving.servable import RequestError, Servable
from serving.versions import Versions

METADATA_FIELD = "signature_def"


def add_to_server(server: grpc.Server, model_name: str, versions: Versions) -> None:
    """Makes `server` answer both services for the model `model_name`."""
    service = _Service(model_name, versions)
    add_PredictionServiceServicer_to_server(service, server)
    add_ModelServiceServicer_to_server(service, server)


class _Service(PredictionServiceServicer, ModelServiceServicer):
    def __init__(self, model_name: str, versions: Versions):
        self._model_name = model_name
        self._versions = versions

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        try:
            return self._servable(request.model_spec).predict(request)
        except RequestError as error:
            context.abort(error.code, str(error))

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        try:
            servable = self._servable(request.model_spec)
        except RequestError as error:
            context.abort(error.code, str(error))
        if set(request.metadata_field) != {METADATA_FIELD}:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"metadata_field: expected {METADATA_FIELD!r}, found {list(request.metadata_field)}",
            )
        response = GetModelMetadataResponse()
        response.model_spec.name = self._model_name
        response.model_spec.version.value = servable.version
        response.metadata[METADATA_FIELD].Pack(SignatureDefMap(signature_def=servable.signature_defs))
        return response

    def GetModelStatus(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        try:
            servable = self._servable(request.model_spec)
        except RequestError as error:
            context.abort(error.code, str(error))
        status = ModelVersionStatus(version=servable.version, state=ModelVersionStatus.AVAILABLE)
        status.status.SetInParent()  # code OK, which TensorFlow Serving writes out
        return GetModelStatusResponse(model_version_status=[status])

    def Classify(self, request: Message, context: grpc.ServicerContext) -> NoReturn:
        _refuse(context, "Classify")

    def Regress(self, request: Message, context: grpc.ServicerContext) -> NoReturn:
        _refuse(context, "Regress")

    def MultiInference(self, request: Message, context: grpc.ServicerContext) -> NoReturn:
        _refuse(context, "MultiInference")

    def HandleReloadConfigRequest(self, request: Message, context: grpc.ServicerContext) -> NoReturn:
        _refuse(context, "HandleReloadConfigRequest")

    def _servable(self, spec: ModelSpec) -> Servable:
        if not spec.name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "model_spec.name is empty")
        if spec.name != self._model_name:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found: no model {spec.name!r}; this server has {self._model_name!r}",
            )
        if spec.HasField("version_label"):
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Unrecognized servable version label {spec.version_label!r}: no labels are configured",
            )
        servable = self._versions.current
        if spec.HasField("version") and spec.version.value != servable.version:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found: no version {spec.version.value} of {spec.name!r}; "
                f"version {servable.version} is served",
            )
        return servable


def _refuse(context: grpc.ServicerContext, method: str) -> NoReturn:
    context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        f"{method} is not part of the embedded server; Predict, GetModelMetadata and GetModelStatus are",
    )
