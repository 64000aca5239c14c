"""One gRPC channel to an endpoint, for threads or for asyncio: requests with a deadline and retries."""

import asyncio
import contextlib
import functools
import json
import operator
import re
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from serving.client.endpoint import Endpoint, ServingError
from serving.client.messages import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from serving.client.requests import Request, Response, check_outputs
from serving.client.retry import Retry
from serving.client.tensors import from_proto, to_proto

# Of the addresses that a name resolves to, each gets its share of the requests; the default takes the first one.
_SERVICE_CONFIG: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
_CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 0),  # Retry looks at messages too
    ("grpc.min_reconnect_backoff_ms", 3000),  # also how long one attempt to connect may take; the default is 20 s
    ("grpc.max_send_message_length", -1),
    # Of a hostile message, protocol buffers make objects of up to 85 times its size. Features of 16 images take 260 kB.
    ("grpc.max_receive_message_length", 8 * 2**20),
)
# The statuses of TensorFlow Serving for an unknown signature.
_SIGNATURE_CODES = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)


class GrpcConnection:
    """Sends requests to one model over gRPC. Nothing is sent before the first call; threads may share it.

    Raises:
        ValueError: `endpoint.server` is not a gRPC address.
    """

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint
        self._channel = _open_channel(grpc, endpoint)

    def close(self) -> None:
        """Closes the channel; calls under way end with an error."""
        self._channel.close()

    def predict(self, request: Request) -> Response:
        """Sends `request` and returns the checked response.

        Raises:
            ServingError: no usable response.
        """
        try:
            response = self._call("Predict", _predict_request(self._endpoint, request))
        except grpc.RpcError as error:
            offered: list[str] = []
            if error.code() in _SIGNATURE_CODES:
                with contextlib.suppress(ServingError):
                    offered = self.signatures()
            raise self._endpoint.error(error.code(), error.details(), request.signature, offered) from error
        return _read_response(self._endpoint, request, response)

    def signatures(self) -> list[str]:
        """Names of the signatures of the model, sorted.

        Raises:
            ServingError: no usable response.
        """
        try:
            response = self._call("GetModelMetadata", _metadata_request(self._endpoint))
        except grpc.RpcError as error:
            raise self._endpoint.error(error.code(), error.details()) from error
        return _read_signatures(self._endpoint, response)

    def _call(self, name: str, message: Message) -> bytes:
        method, retry = _method(self._channel, name), Retry(self._endpoint.timeout_s)
        while True:
            try:
                return method(message, timeout=retry.remaining_s)
            except grpc.RpcError as error:
                delay = retry.delay_s(error.code(), error.details())
                if delay is None:
                    raise
                time.sleep(delay)


class AsyncGrpcConnection:
    """As GrpcConnection, for asyncio. The channel belongs to the event loop of the first call."""

    def __init__(self, endpoint: Endpoint):
        _check_address(endpoint)
        self._endpoint = endpoint

    async def close(self) -> None:
        """Closes the channel; calls under way end with an error."""
        await self._channel.close()

    async def predict(self, request: Request) -> Response:
        """As GrpcConnection.predict."""
        try:
            response = await self._call("Predict", _predict_request(self._endpoint, request))
        except grpc.RpcError as error:
            offered: list[str] = []
            if error.code() in _SIGNATURE_CODES:
                with contextlib.suppress(ServingError):
                    offered = await self.signatures()
            raise self._endpoint.error(error.code(), error.details(), request.signature, offered) from error
        return _read_response(self._endpoint, request, response)

    async def signatures(self) -> list[str]:
        """As GrpcConnection.signatures."""
        try:
            response = await self._call("GetModelMetadata", _metadata_request(self._endpoint))
        except grpc.RpcError as error:
            raise self._endpoint.error(error.code(), error.details()) from error
        return _read_signatures(self._endpoint, response)

    async def _call(self, name: str, message: Message) -> bytes:
        method, retry = _method(self._channel, name), Retry(self._endpoint.timeout_s)
        while True:
            try:
                return await method(message, timeout=retry.remaining_s)
            except grpc.RpcError as error:
                delay = retry.delay_s(error.code(), error.details())
                if delay is None:
                    raise
                await asyncio.sleep(delay)

    @functools.cached_property
    def _channel(self) -> grpc.aio.Channel:
        return _open_channel(grpc.aio, self._endpoint)


def _check_address(endpoint: Endpoint) -> None:
    if endpoint.is_rest:
        raise ValueError(f"server={endpoint.server}: expected host:port of the gRPC port, found a REST address")
    if not re.fullmatch(r".+:[0-9]+|unix:.+", endpoint.server):
        raise ValueError(f"server={endpoint.server}: expected host:port, for example 127.0.0.1:8500")


def _open_channel(api: ModuleType, endpoint: Endpoint) -> Any:
    """A channel of `api`, which is grpc or grpc.aio."""
    _check_address(endpoint)
    options = (*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", int(not endpoint.is_local)))
    if endpoint.ca_certificate is None:
        return api.insecure_channel(endpoint.server, options=options)
    return api.secure_channel(endpoint.server, endpoint.channel_credentials(), options=options)


def _method(channel: Any, name: str) -> Callable[..., Any]:
    """As of PredictionServiceStub, but the response stays bytes: gRPC logs a traceback where it cannot parse it."""
    serializer = operator.methodcaller("SerializeToString")
    return channel.unary_unary(f"/tensorflow.serving.PredictionService/{name}", request_serializer=serializer)


def _model_spec(endpoint: Endpoint, signature: str = "") -> ModelSpec:
    spec = ModelSpec(name=endpoint.model_name, signature_name=signature)
    if endpoint.version is not None:
        spec.version.value = endpoint.version
    if endpoint.version_label is not None:
        spec.version_label = endpoint.version_label
    return spec


def _predict_request(endpoint: Endpoint, request: Request) -> PredictRequest:
    message = PredictRequest(model_spec=_model_spec(endpoint, request.signature), output_filter=request.outputs)
    message.inputs[request.input_name].CopyFrom(to_proto(request.batch))
    return message


def _read_response(endpoint: Endpoint, request: Request, content: bytes) -> Response:
    try:
        response = PredictResponse.FromString(content)
        outputs = {name: from_proto(response.outputs[name]) for name in request.outputs if name in response.outputs}
        spec = response.model_spec
        return Response(check_outputs(request, outputs), spec.version.value if spec.HasField("version") else None)
    except (ValueError, DecodeError) as error:
        raise _unusable(endpoint, error) from error


def _metadata_request(endpoint: Endpoint) -> GetModelMetadataRequest:
    return GetModelMetadataRequest(model_spec=_model_spec(endpoint), metadata_field=["signature_def"])


def _read_signatures(endpoint: Endpoint, content: bytes) -> list[str]:
    served = SignatureDefMap()
    try:
        metadata = GetModelMetadataResponse.FromString(content).metadata
        if not metadata["signature_def"].Unpack(served):
            raise ValueError("no signature_def")
    except (ValueError, DecodeError) as error:
        raise _unusable(endpoint, error) from error
    return sorted(name for name in served.signature_def if not name.startswith("__"))


def _unusable(endpoint: Endpoint, error: Exception) -> ServingError:
    return endpoint.error(grpc.StatusCode.UNKNOWN, f"not a response of an exported model: {error}")
