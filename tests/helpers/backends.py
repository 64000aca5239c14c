"""The servers that the contract tests run against, and what they send.

Always the embedded server. TensorFlow Serving too, where `tensorflow_model_server` is on PATH, or where
TF_SERVING_ADDRESS is the host:port of one that serves the model alexnet from the folder TF_SERVING_MODEL_BASE (as
this machine sees it) with --max_num_load_retries=0; new versions are then published into that folder.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import serving
from serving.server import ModelServer
from serving.server import __main__ as server_command

WAIT_S = 30
MODEL = "alexnet"
BINARY = shutil.which("tensorflow_model_server")
ADDRESS, ADDRESS_BASE = os.environ.get("TF_SERVING_ADDRESS"), os.environ.get("TF_SERVING_MODEL_BASE")

BACKENDS = ["embedded", *(["binary"] if BINARY else [])]
WITH_ADDRESS = [*BACKENDS, *(["address"] if ADDRESS and ADDRESS_BASE else [])]


class Running:
    """Talks to one server about one model.

    Attributes:
        address: "host:port".
    """

    def __init__(self, address: str, end: Callable[[], None], kill: Callable[[], None] | None = None):
        self.address, self._end, self.kill = address, end, kill
        self.channel = grpc.insecure_channel(
            address, (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1))
        )
        self.predictions, self.models = PredictionServiceStub(self.channel), ModelServiceStub(self.channel)

    def end(self) -> None:
        self.channel.close()
        self._end()

    def predict(self, request: PredictRequest) -> PredictResponse:
        return self.predictions.Predict(request, timeout=WAIT_S)

    def answer(self, image: bytes, **spec: object) -> tuple[int, str]:
        """The version that answers about `image`, and the label it gives."""
        response = self.predict(predict_request(image_bytes=[image], **spec))
        return response.model_spec.version.value, response.outputs["labels"].string_val[0].decode()

    def states(self, model: str = MODEL) -> dict[int, str]:
        """Version -> name of its state."""
        response = self.models.GetModelStatus(GetModelStatusRequest(model_spec=ModelSpec(name=model)), timeout=WAIT_S)
        return {status.version: status.State.Name(status.state) for status in response.model_version_status}

    def available(self, model: str = MODEL) -> set[int]:
        return {version for version, state in self.states(model).items() if state == "AVAILABLE"}


def start(backend: str, *arguments: str) -> Running:
    """Starts a server with TensorFlow Serving's own flags, without --port."""
    return _embedded(arguments) if backend == "embedded" else start_process([BINARY], *arguments)


def embedded_command() -> list[str]:
    return [sys.executable, "-m", "serving.server"]


def start_process(command: list[str], *arguments: str, port: int | None = None) -> Running:
    """Starts `command` and waits until it answers."""
    port = free_port() if port is None else port
    if command != embedded_command():
        # Otherwise it refuses more than four requests per core at a time, which the tests exceed.
        arguments = (*arguments, "--max_num_load_retries=0", "--grpc_max_threads=256")
    process = subprocess.Popen(
        [*command, f"--port={port}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(serving.__file__).parents[1],
    )

    def end() -> None:
        process.terminate()
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()

    def kill() -> None:
        process.kill()
        process.wait(WAIT_S)

    running = Running(f"127.0.0.1:{port}", end, kill)
    try:
        grpc.channel_ready_future(running.channel).result(2 * WAIT_S)
    except BaseException:
        kill()
        raise
    return running


def _embedded(arguments: tuple[str, ...]) -> Running:
    server = embedded_server(*arguments)
    server.__enter__()
    return Running(server.address, lambda: server.__exit__(None, None, None))


def embedded_server(*arguments: str) -> ModelServer:
    """A server in this process from the flags of the command, not started yet; the flags are gone afterwards."""
    defined_before = set(flags.FLAGS)
    server_command.define_flags()
    try:
        given = flags.FLAGS
        given(["serving.server", "--port=0", "--file_system_poll_wait_seconds=0.05", *arguments])
        options = server_command.options_from_flags(given)
        return ModelServer(given.model_name, given.model_base_path or "", given.host, given.port, options)
    finally:
        for name in set(flags.FLAGS) - defined_before:
            delattr(flags.FLAGS, name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def models_config(base: Path, versions: tuple[int, ...] = (), labels: Mapping[str, int] | None = None) -> str:
    """One model's configuration; no versions: the newest one."""
    policy = f"model_version_policy {{ specific {{ versions: {list(versions)} }} }}" if versions else ""
    marks = "".join(f'version_labels {{ key: "{key}" value: {value} }} ' for key, value in (labels or {}).items())
    return (
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{base}" model_platform: "tensorflow" '
        f"{policy} {marks} }} }}"
    )


def predict_request(
    signature: str = "", name: str = MODEL, version: int | None = None, label: str = "", **inputs: object
) -> PredictRequest:
    """A request; `inputs` are anything that makes a tensor."""
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def arrays(response: PredictResponse) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(output) for name, output in response.outputs.items()}


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """Code and message of the status that ends `call`."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "still waiting"
        time.sleep(0.02)
