"""A running server as its operator sees it: versions, labels, configuration, over ModelService."""

import time
from collections.abc import Collection

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.target import Target

_POLL_SECONDS = 0.2


class LiveServer:
    """Asks and configures one server. Every method raises ValueError if it cannot be reached or refuses.

    Args:
        target: which server, and how long each call may take, and versions to load; its model is not looked at.
    """

    def __init__(self, target: Target):
        self._server, self._timeout_s = target.server, target.timeout_s
        self._channel = _channel(target)
        self._models, self._predictions = ModelServiceStub(self._channel), PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def versions(self, model: str) -> list[ModelVersionStatus]:
        """The versions that the server has known, newest first."""
        request = GetModelStatusRequest()
        request.model_spec.name = model
        statuses = self._call(self._models.GetModelStatus, request).model_version_status
        return sorted(statuses, key=lambda status: -status.version)

    def available(self, model: str) -> set[int]:
        """The versions that answer requests."""
        return {status.version for status in self.versions(model) if status.state == ModelVersionStatus.AVAILABLE}

    def labels(self, model: str, names: Collection[str]) -> dict[str, int]:
        """Those of the labels `names` that the server knows, and the versions that answer for them."""
        found = {}
        for name in names:
            request = GetModelMetadataRequest(metadata_field=["signature_def"])
            request.model_spec.name, request.model_spec.version_label = model, name
            try:
                response = self._predictions.GetModelMetadata(request, timeout=self._timeout_s)
            except grpc.RpcError as error:
                # Of a label that it does not know; NOT_FOUND if the label's version is still loading.
                if error.code() not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
                    raise self._explained(error) from error
                continue
            found[name] = response.model_spec.version.value
        return found

    def reload(self, config: ModelServerConfig) -> None:
        """Puts `config` in the place of the server's whole configuration."""
        self._call(self._models.HandleReloadConfigRequest, ReloadConfigRequest(config=config))

    def wait_available(self, model: str, versions: Collection[int]) -> None:
        """Returns once all `versions` answer; ValueError, with the server's own reason, if one does not in time."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            known = {status.version: status for status in self.versions(model)}
            missing = [v for v in versions if v not in known or known[v].state != ModelVersionStatus.AVAILABLE]
            if not missing:
                return
            ended = [v for v in missing if v in known and known[v].state == ModelVersionStatus.END]
            refused = [v for v in ended if known[v].status.error_message]
            if refused:
                raise ValueError(f"version {refused[0]} cannot be served: {known[refused[0]].status.error_message}")
            if time.monotonic() > deadline:
                state = state_name(known[missing[0]]) if missing[0] in known else "not there"
                raise ValueError(
                    f"version {missing[0]} of {model} is {state} after {self._timeout_s:g} s; expected AVAILABLE: is "
                    "it in the model's folder, and whole? (--timeout_s allows more time)"
                )
            time.sleep(_POLL_SECONDS)

    def _call(self, method: grpc.UnaryUnaryMultiCallable, request: Message) -> Message:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._explained(error) from error

    def _explained(self, error: grpc.RpcError) -> ValueError:
        return ValueError(f"server={self._server}: {error.code().name}: {' '.join((error.details() or '').split())}")


def state_name(status: ModelVersionStatus) -> str:
    """START, LOADING, AVAILABLE, UNLOADING or END."""
    return ModelVersionStatus.State.Name(status.state)


def _channel(target: Target) -> grpc.Channel:
    # A proxy meant for the internet would not find an operator's own servers.
    options = (("grpc.enable_http_proxy", 0),)
    if target.ca_certificate is None:
        return grpc.insecure_channel(target.server, options)
    return grpc.secure_channel(target.server, target.channel_credentials(), options)
