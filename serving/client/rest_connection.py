"""TensorFlow Serving's REST API (port 8501): the same requests as over gRPC, as JSON over HTTP.

The format is that of https://www.tensorflow.org/tfx/serving/api_rest: instances in rows, binary values as
{"b64": ...}. It has no output_filter, so every output is returned. The server has a time limit of its own
(--rest_api_timeout_in_ms, 30 s). Needs no TensorFlow.
"""

import base64
import contextlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

import grpc
import numpy as np

from serving import signatures as wire
from serving.client.endpoint import Endpoint, ServingError
from serving.client.requests import Request, Response, check_outputs
from serving.client.retry import Retry

_ADDRESS = re.compile(r"https?://([^\s/?#:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?/?")
_JSON = {"Content-Type": "application/json"}
# Of hostile JSON, Python makes objects of up to 30 times its size. Features of 16 images take 800 kB.
_MOST_RESPONSE_BYTES = 16 * 2**20
# The statuses of TensorFlow Serving for an unknown signature.
_SIGNATURE_CODES = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)

# The inverse of TensorFlow Serving's table (model_servers/http_server.cc); 502 is a proxy's.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# JSON has no types; these make the outputs equal to those over gRPC.
_DTYPES: dict[str, Any] = {
    wire.OUTPUT_SCORES: np.float32,
    wire.OUTPUT_CLASSES: np.int32,
    wire.OUTPUT_LABELS: object,
    wire.OUTPUT_VALID: np.bool_,
    wire.OUTPUT_FEATURES: np.float32,
}


class RestConnection:
    """Sends requests to one model over REST, each on a connection of its own; threads may share it.

    Raises:
        ValueError: `endpoint.server` is not an http:// or https:// address.
    """

    def __init__(self, endpoint: Endpoint):
        if not _ADDRESS.fullmatch(endpoint.server):
            raise ValueError(f"server={endpoint.server}: expected http://host:port, for example http://127.0.0.1:8501")
        encrypted = endpoint.server.startswith("https:")
        if endpoint.ca_certificate is not None and not encrypted:
            raise ValueError(f"server={endpoint.server}: expected https:// with ca_certificate")
        self._endpoint = endpoint
        handlers: list[urllib.request.BaseHandler] = [_AnyStatus()]
        if encrypted:
            handlers.append(urllib.request.HTTPSHandler(context=endpoint.tls_context()))
        if endpoint.is_local:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._url = f"{endpoint.server.rstrip('/')}/v1/models/{quote(endpoint.model_name, safe='')}"
        if endpoint.version is not None:
            self._url += f"/versions/{endpoint.version}"
        if endpoint.version_label is not None:
            self._url += f"/labels/{quote(endpoint.version_label, safe='')}"

    def close(self) -> None:
        """Does nothing: no connection outlives its request."""

    def predict(self, request: Request) -> Response:
        """As GrpcConnection.predict."""
        body = {"signature_name": request.signature, "instances": _instances(request.batch)}
        code, text = self._send(":predict", json.dumps(body).encode())
        if code != grpc.StatusCode.OK:
            offered: list[str] = []
            if code in _SIGNATURE_CODES:
                with contextlib.suppress(ServingError):
                    offered = self.signatures()
            raise self._endpoint.error(code, text, request.signature, offered)
        try:
            rows = json.loads(text)["predictions"]
            outputs = {
                name: _array([row[name] for row in rows], name) for name in request.outputs if rows and name in rows[0]
            }
            return Response(check_outputs(request, outputs))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise self._unusable(text) from error

    def signatures(self) -> list[str]:
        """As GrpcConnection.signatures."""
        code, text = self._send("/metadata")
        if code != grpc.StatusCode.OK:
            raise self._endpoint.error(code, text)
        try:
            served = json.loads(text)["metadata"]["signature_def"]["signature_def"]
            return sorted(str(name) for name in served if not name.startswith("__"))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._unusable(text) from error

    def _unusable(self, text: str) -> ServingError:
        details = f"not a response of an exported model: {text[:300]}"
        return self._endpoint.error(grpc.StatusCode.UNKNOWN, details)

    def _send(self, path: str, body: bytes | None = None) -> tuple[grpc.StatusCode, str]:
        """Sends a request until `Retry` ends it: status, and the response or what went wrong."""
        retry = Retry(self._endpoint.timeout_s)
        while True:
            code, text = self._attempt(path, body, retry.remaining_s)
            delay = None if code == grpc.StatusCode.OK else retry.delay_s(code, text)
            if delay is None:
                return code, text
            time.sleep(delay)

    def _attempt(self, path: str, body: bytes | None, timeout_s: float) -> tuple[grpc.StatusCode, str]:
        request = urllib.request.Request(self._url + path, body, _JSON)
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                content = _read(response, time.monotonic() + timeout_s)
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            late = isinstance(reason, TimeoutError)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.UNAVAILABLE
            # The message for a response that is not HTTP holds its raw bytes.
            return code, repr(reason) if isinstance(reason, http.client.HTTPException) else str(reason)
        if len(content) > _MOST_RESPONSE_BYTES:
            return grpc.StatusCode.UNKNOWN, f"a response above {_MOST_RESPONSE_BYTES:,} bytes"
        text = content.decode(errors="replace")
        if response.status == http.HTTPStatus.OK:
            return grpc.StatusCode.OK, text
        return _CODES.get(response.status, grpc.StatusCode.UNKNOWN), _error_message(response.status, text)


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The content up to _MOST_RESPONSE_BYTES + 1; TimeoutError after `deadline`, also if bytes arrive one by one."""
    content = bytearray()
    while (piece := response.read1(2**20)) and len(content) <= _MOST_RESPONSE_BYTES:
        content += piece
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    return bytes(content)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns every response, whatever its status."""

    def http_response(
        self, request: urllib.request.Request, response: http.client.HTTPResponse
    ) -> http.client.HTTPResponse:
        """The response as it is."""
        return response

    https_response = http_response


def _instances(batch: np.ndarray) -> list[Any]:
    if batch.dtype == object:
        return [{"b64": base64.b64encode(image).decode()} for image in batch]
    return batch.tolist()


def _array(rows: list[Any], name: str) -> np.ndarray:
    if _DTYPES[name] is object:
        rows = [[text.encode(errors="replace") for text in row] for row in rows]
    elif not all(isinstance(value, int | float) for row in rows for value in (row if isinstance(row, list) else [row])):
        raise ValueError(f"output {name!r} holds something else than numbers")
    return np.array(rows, _DTYPES[name])


def _error_message(status: int, text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, LookupError, TypeError, RecursionError):  # a proxy's page
        return f"HTTP {status}: {text[:300]}"
