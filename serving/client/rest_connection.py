"""TensorFlow Serving's REST API (port 8501): the same questions as over gRPC, as JSON over HTTP.

The format is that of https://www.tensorflow.org/tfx/serving/api_rest: instances in rows, binary values as
{"b64": ...}. It has no output_filter, so every output travels back. The server has a time limit of its own
(--rest_api_timeout_in_ms, 30 s).
"""

import base64
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
from serving.connection import ATTEMPTS, BACKOFF_S, SIGNATURE_CODES
from serving.questions import Question
from serving.target import Target

_ADDRESS = re.compile(r"https?://([^\s/?#:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?/?")
_JSON = {"Content-Type": "application/json"}
_LONGEST_DETAILS = 300

# What TensorFlow Serving makes of its own status codes (model_servers/http_server.cc); 502 is a proxy's.
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
# JSON has no types; these make an answer equal to gRPC's to the last bit.
_DTYPES = {
    wire.OUTPUT_SCORES: np.float32,
    wire.OUTPUT_CLASSES: np.int32,
    wire.OUTPUT_LABELS: object,
    wire.OUTPUT_VALID: np.bool_,
    wire.OUTPUT_FEATURES: np.float32,
}


class RestConnection:
    """Asks one model over REST, each request on a connection of its own; threads may share it.

    Raises:
        ValueError: `target.server` is no http:// or https:// address.
    """

    def __init__(self, target: Target):
        if not _ADDRESS.fullmatch(target.server):
            raise ValueError(f"server={target.server}: expected http://host:port, for example http://127.0.0.1:8501")
        encrypted = target.server.startswith("https:")
        if target.ca_certificate is not None and not encrypted:
            raise ValueError(f"server={target.server}: expected https://, since there is a --ca_certificate")
        self._target = target
        handlers: list[urllib.request.BaseHandler] = [_AnyStatus()]
        if encrypted:
            handlers.append(urllib.request.HTTPSHandler(context=target.tls_context()))
        if target.is_local:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._url = f"{target.server.rstrip('/')}/v1/models/{quote(target.model_name, safe='')}"
        if target.version is not None:
            self._url += f"/versions/{target.version}"
        if target.version_label is not None:
            self._url += f"/labels/{quote(target.version_label, safe='')}"

    def close(self) -> None:
        """Does nothing: no connection outlives its request."""

    def predict(self, question: Question) -> dict[str, np.ndarray]:
        """As Connection.predict."""
        body = {"signature_name": question.signature, "instances": _instances(question.batch)}
        code, answer = self._ask(":predict", json.dumps(body).encode())
        if code != grpc.StatusCode.OK:
            offered = self.signatures() if code in SIGNATURE_CODES else ()
            raise self._target.explained(code, answer, question.signature, offered)
        try:
            rows = json.loads(answer)["predictions"]
            return {name: _array([row[name] for row in rows], name) for name in question.outputs}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._not_understood(answer) from error

    def signatures(self) -> list[str]:
        """As Connection.signatures."""
        code, answer = self._ask("/metadata")
        if code != grpc.StatusCode.OK:
            raise self._target.explained(code, answer)
        try:
            served = json.loads(answer)["metadata"]["signature_def"]["signature_def"]
            return sorted(name for name in served if not name.startswith("__"))
        except (ValueError, KeyError, TypeError) as error:
            raise self._not_understood(answer) from error

    def _not_understood(self, answer: str) -> ValueError:
        details = f"not TensorFlow Serving's answer for this model: {answer[:_LONGEST_DETAILS]}"
        return self._target.explained(grpc.StatusCode.UNKNOWN, details)

    def _ask(self, path: str, body: bytes | None = None) -> tuple[grpc.StatusCode, str]:
        """Asks until there is another answer than "unavailable": status, and what was answered or went wrong."""
        deadline = time.monotonic() + self._target.timeout_s
        for attempt in range(ATTEMPTS):
            code, answer = self._attempt(path, body, deadline - time.monotonic())
            last = attempt == ATTEMPTS - 1
            if code != grpc.StatusCode.UNAVAILABLE or last or time.monotonic() + BACKOFF_S[attempt] >= deadline:
                break
            time.sleep(BACKOFF_S[attempt])
        return code, answer

    def _attempt(self, path: str, body: bytes | None, timeout_s: float) -> tuple[grpc.StatusCode, str]:
        request = urllib.request.Request(self._url + path, body, _JSON)
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            late = isinstance(reason, TimeoutError)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.UNAVAILABLE
            # What is said of an answer that is no HTTP holds the answer's raw bytes.
            return code, repr(reason) if isinstance(reason, http.client.HTTPException) else str(reason)
        if response.status == http.HTTPStatus.OK:
            return grpc.StatusCode.OK, text
        return _CODES.get(response.status, grpc.StatusCode.UNKNOWN), _error_message(response.status, text)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Hands every response over, whatever its status."""

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
        rows = [[text.encode() for text in row] for row in rows]
    return np.array(rows, _DTYPES[name])


def _error_message(status: int, text: str) -> str:
    try:
        return str(json.loads(text)["error"])[:_LONGEST_DETAILS]
    except (ValueError, KeyError, TypeError):  # a proxy's page
        return f"HTTP {status}: {text[:_LONGEST_DETAILS]}"
