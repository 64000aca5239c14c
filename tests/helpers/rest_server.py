"""TensorFlow Serving's REST API as far as the client uses it, over a SavedModel.

After https://www.tensorflow.org/tfx/serving/api_rest; parsing and writing after tensorflow_serving/util/json_tensor.cc.
"""

import base64
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import tensorflow as tf

PREDICT = re.compile(r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?:predict")
METADATA = re.compile(r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?/metadata")


class RefusedError(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class RestModel:
    """Answers for a loaded SavedModel as version 1 of the model "alexnet", labelled "stable"; keeps what it was asked.

    Attributes:
        asked: (path, body) of each request.
        failures: how many requests to answer with `failure`, (HTTP status, body), first.
        hold: an event to wait for before each answer.
    """

    def __init__(self, loaded: Any):
        self._model = loaded
        self.asked: list[tuple[str, bytes]] = []
        self.failures = 0
        self.failure = 503, '{ "error": "the queue is full" }'
        self.hold: threading.Event | None = None

    def answer(self, path: str, body: bytes) -> tuple[int, str]:
        self.asked.append((path, body))
        if self.hold:
            self.hold.wait(30)
        if self.failures:
            self.failures -= 1
            return self.failure
        try:
            return 200, json.dumps(self._answered(path, body), ensure_ascii=False)
        except RefusedError as refusal:
            return refusal.status, json.dumps({"error": str(refusal)})

    def _answered(self, path: str, body: bytes) -> dict[str, Any]:
        found = (PREDICT if body else METADATA).fullmatch(path)
        if not found:
            raise RefusedError(400, f"Malformed request: {path}")
        if found["model"] != "alexnet" or found["version"] not in (None, "1"):
            raise RefusedError(404, f"Servable not found for request: Specific({found['model']}, {found['version']})")
        if found["label"] not in (None, "stable"):
            raise RefusedError(400, f"Unrecognized servable version label: {found['label']}")
        if not body:
            served = {name: {} for name in (*self._model.signatures, "__saved_model_init_op")}
            return {"model_spec": {}, "metadata": {"signature_def": {"signature_def": served}}}
        return self._predictions(json.loads(body))

    def _predictions(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("signature_name", "serving_default")
        if name not in self._model.signatures:
            raise RefusedError(400, f'Serving signature name: "{name}" not found in signature def')
        signature = self._model.signatures[name]
        ((input_name, spec),) = signature.structured_input_signature[1].items()
        if not request["instances"]:
            raise RefusedError(400, "No values in 'instances' array")
        batch = [base64.b64decode(row["b64"]) for row in request["instances"]] if spec.dtype == tf.string else None
        tensor = tf.constant(request["instances"] if batch is None else batch, spec.dtype)
        outputs = {output: value.numpy() for output, value in signature(**{input_name: tensor}).items()}
        rows = range(len(request["instances"]))
        return {"predictions": [{output: _as_json(value[row]) for output, value in outputs.items()} for row in rows]}


def _as_json(value: np.ndarray | np.generic) -> Any:
    """Strings as text, floats with the digits of float32."""
    if value.dtype == np.float32:
        return [float(str(number)) for number in value]
    if value.dtype == object:
        return [text.decode() for text in value]
    return value.tolist()


@contextmanager
def serving_rest(model: RestModel, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serves around the block, at the address that it gives."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, text = model.answer(self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
