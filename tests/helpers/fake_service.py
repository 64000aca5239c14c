"""A server that answers without a model, keeps what it was asked, and misbehaves as told."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)


class FakeService(PredictionServiceServicer):
    """Answers every image with class 0, and keeps the requests.

    Attributes:
        failures: how many requests to refuse before it answers.
        refuses: which of the requests, counted from 1, to refuse too.
        code, message: the status of the refusals.
        outputs: outputs that replace those of the answer; None leaves one out.
        hold: an event to wait for before each answer.
        classes: how many classes an answer names.
        most_at_once: the most requests that were under way.
    """

    def __init__(self) -> None:
        self.requests: list[PredictRequest] = []
        self.failures = 0
        self.refuses: Callable[[int], bool] = lambda number: False
        self.code = grpc.StatusCode.UNAVAILABLE
        self.message = "the queue\nis full"
        self.outputs: dict[str, Any] = {}
        self.hold: threading.Event | None = None
        self.classes = 1
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def Predict(self, request, context):  # noqa: N802 (the protocol's name)
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self._answer(request, number, context)
        finally:
            with self._lock:
                self._now -= 1

    def _answer(self, request: PredictRequest, number: int, context: grpc.ServicerContext) -> PredictResponse:
        if self.hold:
            self.hold.wait(30)
        if self.failures or self.refuses(number):
            self.failures = max(0, self.failures - 1)
            context.abort(self.code, self.message)
        rows = request.inputs["image_bytes"].tensor_shape.dim[0].size
        response = PredictResponse()
        values = {
            "labels": np.full((rows, self.classes), b"only", object),
            "classes": np.zeros((rows, self.classes), np.int32),
            "scores": np.ones((rows, self.classes), np.float32),
            "valid": np.ones(rows, bool),
        }
        for name, value in (values | self.outputs).items():
            if value is not None:
                is_proto = isinstance(value, TensorProto)
                response.outputs[name].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
        return response


@contextmanager
def serving_at(
    service: FakeService, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> Iterator[str]:
    """Serves around the block, at the address that it gives."""
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    )
    add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class _Bytes(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, bytes | grpc.StatusCode]):
        self._answers = answers

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answer = self._answers[details.method.rpartition("/")[2]]

        def respond(request: bytes, context: grpc.ServicerContext) -> bytes:
            return answer if isinstance(answer, bytes) else context.abort(answer, "refused")

        return grpc.unary_unary_rpc_method_handler(respond)


@contextmanager
def serving_bytes_at(**answers: bytes | grpc.StatusCode) -> Iterator[str]:
    """Serves around the block what need not be messages: for each method of PredictionService bytes, or a status."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((_Bytes(answers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
