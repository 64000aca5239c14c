"""One gRPC channel to a server, for threads or for asyncio: requests with a deadline and retries."""

import functools
import json
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.questions import Question
from serving.target import ServingError, Target

__all__ = ["AsyncConnection", "Connection", "ServingError"]

ATTEMPTS = 3
BACKOFF_S = (0.5, 1.0)  # between the attempts; gRPC varies them by a fifth

# gRPC itself tries again: a full queue or a server that is just starting answers UNAVAILABLE.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": ATTEMPTS,
                "initialBackoff": f"{BACKOFF_S[0]}s",
                "maxBackoff": f"{BACKOFF_S[-1]}s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(_RETRIES)),
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),  # larger requests are not tried again; the default is 256 KiB
    ("grpc.min_reconnect_backoff_ms", 3000),  # also how long one attempt to connect may take; the default is 20 s
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # the default is 4 MiB
)
# How TensorFlow Serving answers to an unknown signature: over gRPC, over REST.
SIGNATURE_CODES = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)


class Connection:
    """Calls PredictionService for one model. Nothing is sent before the first call; threads may share it.

    Raises:
        ValueError: `target.server` is no gRPC address.
    """

    def __init__(self, target: Target):
        self._target = target
        self._channel = _open_channel(grpc, target)
        self._stub = PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Closes the channel; calls under way end with an error."""
        self._channel.close()

    def predict(self, question: Question) -> dict[str, np.ndarray]:
        """Asks, and gives the outputs that `question` names, [N,...] each; strings are bytes objects.

        Raises:
            ServingError: no answer, or a refusal.
        """
        try:
            response = self._stub.Predict(_predict_request(self._target, question), timeout=self._target.timeout_s)
        except grpc.RpcError as error:
            offered = self.signatures() if error.code() in SIGNATURE_CODES else ()
            raise self._target.explained(error.code(), error.details(), question.signature, offered) from error
        return _read_outputs(response, question.outputs)

    def signatures(self) -> list[str]:
        """Names of the signatures that the model offers, sorted.

        Raises:
            ServingError: no answer, or a refusal.
        """
        try:
            response = self._stub.GetModelMetadata(_metadata_request(self._target), timeout=self._target.timeout_s)
        except grpc.RpcError as error:
            raise self._target.explained(error.code(), error.details()) from error
        return _read_signatures(response)


class AsyncConnection:
    """As Connection, for asyncio. The channel belongs to the event loop of the first call.

    Args:
        target: what to ask.
        retry: whether to try again when the server is unavailable.
    """

    def __init__(self, target: Target, retry: bool = True):
        _check_address(target)
        self._target, self._retry = target, retry

    async def close(self) -> None:
        """Closes the channel; calls under way end with an error."""
        await self._channel.close()

    async def predict(self, question: Question) -> dict[str, np.ndarray]:
        """As Connection.predict."""
        try:
            response = await self._stub.Predict(
                _predict_request(self._target, question), timeout=self._target.timeout_s
            )
        except grpc.RpcError as error:
            offered = await self.signatures() if error.code() in SIGNATURE_CODES else ()
            raise self._target.explained(error.code(), error.details(), question.signature, offered) from error
        return _read_outputs(response, question.outputs)

    async def signatures(self) -> list[str]:
        """As Connection.signatures."""
        try:
            response = await self._stub.GetModelMetadata(
                _metadata_request(self._target), timeout=self._target.timeout_s
            )
        except grpc.RpcError as error:
            raise self._target.explained(error.code(), error.details()) from error
        return _read_signatures(response)

    @functools.cached_property
    def _channel(self) -> grpc.aio.Channel:
        return _open_channel(grpc.aio, self._target, self._retry)

    @functools.cached_property
    def _stub(self) -> PredictionServiceStub:
        return PredictionServiceStub(self._channel)


def _check_address(target: Target) -> None:
    if target.is_rest:
        raise ValueError(f"server={target.server}: expected host:port of the gRPC port; REST is not spoken here")
    if not re.fullmatch(r".+:[0-9]+|unix:.+", target.server):
        raise ValueError(f"server={target.server}: expected host:port, for example 127.0.0.1:8500")


def _open_channel(api: ModuleType, target: Target, retry: bool = True) -> Any:
    """A channel of `api`, which is grpc or grpc.aio."""
    _check_address(target)
    options = (
        *_CHANNEL_OPTIONS,
        ("grpc.enable_http_proxy", int(not target.is_local)),
        ("grpc.enable_retries", int(retry)),
    )
    if target.ca_certificate is None:
        return api.insecure_channel(target.server, options=options)
    return api.secure_channel(target.server, target.channel_credentials(), options=options)


def _model_spec(target: Target, signature: str = "") -> ModelSpec:
    spec = ModelSpec(name=target.model_name, signature_name=signature)
    if target.version is not None:
        spec.version.value = target.version
    if target.version_label is not None:
        spec.version_label = target.version_label
    return spec


def _predict_request(target: Target, question: Question) -> PredictRequest:
    request = PredictRequest(model_spec=_model_spec(target, question.signature), output_filter=question.outputs)
    request.inputs[question.input_name].CopyFrom(tf.make_tensor_proto(question.batch))
    return request


def _read_outputs(response: PredictResponse, outputs: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(response.outputs[name]) for name in outputs}


def _metadata_request(target: Target) -> GetModelMetadataRequest:
    return GetModelMetadataRequest(model_spec=_model_spec(target), metadata_field=["signature_def"])


def _read_signatures(response: GetModelMetadataResponse) -> list[str]:
    served = SignatureDefMap()
    response.metadata["signature_def"].Unpack(served)
    return sorted(name for name in served.signature_def if not name.startswith("__"))
