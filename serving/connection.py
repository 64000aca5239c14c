"""One channel to a server: requests with a deadline and retries, failures told in one line."""

import json
import re
from collections.abc import Callable, Sequence

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from pipelines.command import InputError

# gRPC itself tries again: a full queue or a server that is just starting answers UNAVAILABLE.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.5s",
                "maxBackoff": "2s",
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
_LOOPBACK = re.compile(r"localhost:|127\.|\[::1\]:")


class ServingError(InputError):
    """The server was not reached or refused: one line that says why and what to do."""


class Connection:
    """Calls PredictionService for one model. Nothing is sent before the first call; threads may share it.

    Args:
        server: "host:port" of the gRPC port.
        model_name: name under which the server serves the model.
        timeout_s: seconds that one request may take, its retries included.

    Raises:
        InputError: `server` is no address.
    """

    def __init__(self, server: str, model_name: str, timeout_s: float):
        if not re.fullmatch(r".+:[0-9]+|unix:.+", server):
            raise InputError(f"--server={server}: expected host:port, for example 127.0.0.1:8500")
        self._server, self._model_name, self._timeout_s = server, model_name, timeout_s
        # A proxy meant for the internet would not find this machine's own ports.
        proxy = ("grpc.enable_http_proxy", int(not _LOOPBACK.match(server)))
        self._channel = grpc.insecure_channel(server, options=(*_CHANNEL_OPTIONS, proxy))
        self._stub = PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def predict(
        self, signature: str, input_name: str, batch: np.ndarray, outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Sends `batch` (bytes objects or numbers, [N,...]) as the one input of `signature`.

        Returns:
            The named outputs, [N,...] each; strings are bytes objects.

        Raises:
            ServingError: no answer, or a refusal.
        """
        request = PredictRequest(output_filter=outputs)
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature
        request.inputs[input_name].CopyFrom(tf.make_tensor_proto(batch))
        response = self._call(self._stub.Predict, request)
        return {name: tf.make_ndarray(response.outputs[name]) for name in outputs}

    def signatures(self) -> list[str]:
        """Names of the signatures that the model offers, sorted.

        Raises:
            ServingError: no answer, or a refusal.
        """
        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model_name
        response = self._call(self._stub.GetModelMetadata, request)
        served = SignatureDefMap()
        response.metadata["signature_def"].Unpack(served)
        return sorted(name for name in served.signature_def if not name.startswith("__"))

    def _call(self, method: Callable[..., Message], request: Message) -> Message:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._explained(error, request) from error

    def _explained(self, error: grpc.RpcError, request: Message) -> ServingError:
        code, details = error.code(), " ".join((error.details() or "").split())
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServingError(
                f"--server={self._server}: no server answers ({details}); "
                "start one with `python -m serving.server`, or name its gRPC port (8500, not 8501, by default)"
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServingError(
                f"--timeout_s={self._timeout_s:g}: {self._server} did not answer in time; allow more seconds"
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return ServingError(f"--model_name={self._model_name}: {self._server} does not serve it ({details})")
        if code == grpc.StatusCode.FAILED_PRECONDITION and isinstance(request, PredictRequest):
            asked, offered = request.model_spec.signature_name, self.signatures()
            if asked not in offered:
                return ServingError(
                    f"--signature={asked}: {self._model_name} at {self._server} has no such signature; "
                    f"expected one of {', '.join(offered)}"
                )
        return ServingError(f"--server={self._server}: {code.name}: {details}")
