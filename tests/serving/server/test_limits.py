"""What the embedded server refuses, and how it is secured, watched and stopped."""

import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

import serving
from serving.client import Client, ServingError
from serving.server import ModelServer
from serving.server import __main__ as server_command
from tests.helpers import backends
from tests.helpers.backends import embedded_server, predict_request, refusal, wait_until

CONFIG = Path(serving.__file__).parent / "config"


@pytest.fixture
def start(start_server: Callable, model_base: Path) -> Callable[..., backends.Running]:
    return lambda *arguments: start_server("embedded", f"--model_base_path={model_base}", *arguments)


class Slow:
    """Makes the servable of a server wait for `opened` before it answers."""

    def __init__(self, server: ModelServer):
        self.entered, self.opened = threading.Semaphore(0), threading.Event()
        servable = server.models.versions["alexnet"].current
        predict = servable.predict

        def slow(request):
            self.entered.release()
            assert self.opened.wait(backends.WAIT_S)
            return predict(request)

        servable.predict = slow


@pytest.fixture
def slow(model_base: Path, request: pytest.FixtureRequest):
    """A server that holds its requests, and takes four at a time of which one is under way."""
    server = embedded_server(f"--model_base_path={model_base}", "--max_requests=4", "--grpc_max_threads=1")
    gate = Slow(server)
    server.__enter__()
    running = backends.Running(server.address, lambda: server.__exit__(None, None, None))
    yield running, gate, server
    gate.opened.set()
    running.end()


def ask(running: backends.Running, image: bytes) -> Callable[[], object]:
    return lambda: running.predict(predict_request(image_bytes=[image]))


def held(running: backends.Running, image: bytes) -> list[grpc.Future]:
    """Sends five requests, waits until one is refused, and gives the other four, which the server then holds."""
    request = predict_request(image_bytes=[image])
    sent = [running.predictions.Predict.future(request, timeout=backends.WAIT_S) for _ in range(5)]
    wait_until(lambda: any(answer.done() for answer in sent))
    (refused,) = (answer for answer in sent if answer.done())
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    return [answer for answer in sent if answer is not refused]


def test_one_request_too_many_is_refused_at_once_and_the_others_are_answered(slow, photograph):
    running, gate, _ = slow
    answers = held(running, photograph((200, 40, 40)))
    gate.opened.set()
    assert all(answer.result(backends.WAIT_S).outputs for answer in answers)


def test_a_request_whose_client_has_given_up_is_not_run(slow, photograph):
    running, gate, _ = slow
    image = photograph((200, 40, 40))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask(running, image))
        assert gate.entered.acquire(timeout=backends.WAIT_S)
        request = predict_request(image_bytes=[image])
        code, _ = refusal(lambda: running.predictions.Predict(request, timeout=0.2))
        assert code == "DEADLINE_EXCEEDED"
        gate.opened.set()
        first.result(backends.WAIT_S)
        running.predict(request)
    assert gate.entered.acquire(timeout=backends.WAIT_S)  # the last one
    assert not gate.entered.acquire(blocking=False)


def test_stopping_answers_what_is_under_way_and_what_waits_and_takes_nothing_new(slow, photograph):
    running, gate, server = slow
    image = photograph((200, 40, 40))
    answers = held(running, image)
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(server.__exit__, None, None, None)
        wait_until(lambda: refusal(ask(running, image))[0] == "UNAVAILABLE")
        gate.opened.set()
        assert all(answer.result(backends.WAIT_S).outputs for answer in answers)
        stopping.result(backends.WAIT_S)


def test_a_request_that_is_too_long_is_refused(start):
    running = start("--grpc_channel_arguments=grpc.max_receive_message_length=1000")
    code, details = refusal(ask(running, bytes(2000)))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in details


@pytest.mark.parametrize(
    ("name", "values", "rows"),
    [
        ("image_bytes", [b"x"], 10**12),
        ("image_bytes", [b"x"], 5_000_000),
        ("image_bytes", [b"x"], 100),
        ("images", np.zeros((1, 256, 256, 3), "u1"), 10**7),
        ("images", np.uint8(0), 100),
    ],
)
def test_a_short_request_that_claims_many_elements_costs_nothing(server, name, values, rows):
    request = predict_request("images" if name == "images" else "", **{name: values})
    shape = [rows] if name == "image_bytes" else [rows, 256, 256, 3]
    request.inputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    running = backends.Running(server.address, lambda: None)
    code, details = refusal(lambda: running.predict(request))
    running.end()
    assert code == "INVALID_ARGUMENT"
    assert "claims" in details


def test_one_value_may_stand_for_a_few_pixels(server):
    """As `tf.make_tensor_proto(0, shape=...)` writes it."""
    running = backends.Running(server.address, lambda: None)
    request = predict_request("images", images=tf.make_tensor_proto(0, tf.uint8, [2, 256, 256, 3]))
    assert len(backends.arrays(running.predict(request))["labels"]) == 2
    running.end()


def test_a_hundred_requests_on_few_threads_are_all_answered(start, photograph):
    running = start("--grpc_max_threads=2")
    images = [photograph(colour) for colour in ((200, 40, 40), (20, 40, 180))]
    requests = [predict_request(image_bytes=[images[number % 2]]) for number in range(100)]
    answers = [running.predictions.Predict.future(request, timeout=backends.WAIT_S) for request in requests]
    labels = [answer.result().outputs["labels"].string_val[0] for answer in answers]
    assert labels == [b"red", b"blue"] * 50


def health(running: backends.Running, service: str) -> int:
    return HealthStub(running.channel).Check(HealthCheckRequest(service=service), timeout=backends.WAIT_S).status


def test_health_is_answered_where_it_is_asked_for(start):
    running = start("--enable_grpc_healthcheck_service=true")
    for service in ("", "PredictionService", "ModelService"):
        assert health(running, service) == HealthCheckResponse.SERVING
    assert refusal(lambda: health(running, "other"))[0] == "NOT_FOUND"
    assert refusal(lambda: health(start(), ""))[0] == "UNIMPLEMENTED"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What serving/config/make_certificates.sh writes."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl on PATH")
    folder = tmp_path_factory.mktemp("tls") / "new"
    done = subprocess.run(["sh", CONFIG / "make_certificates.sh", folder], capture_output=True, text=True, check=True)
    assert f"in {folder}, for DNS:localhost,IP:127.0.0.1" in done.stdout
    return folder


@pytest.mark.subprocess
def test_tls_works_with_the_files_that_the_script_makes(start, certificates, photograph):
    running = start(f"--ssl_config_file={certificates / 'ssl.config'}")
    credentials = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
    request = predict_request(image_bytes=[photograph((200, 40, 40))])
    with grpc.secure_channel(running.address, credentials) as channel:
        stub = backends.PredictionServiceStub(channel)
        assert stub.Predict(request, timeout=backends.WAIT_S).outputs["labels"].string_val[0] == b"red"
    assert refusal(lambda: running.predict(request))[0] == "UNAVAILABLE"


@pytest.mark.subprocess
def test_clients_must_show_a_certificate_where_the_file_says_so(start, certificates, photograph, tmp_path):
    text = (certificates / "ssl.config").read_text().replace("client_verify: false", "client_verify: true")
    (tmp_path / "ssl.config").write_text(text)
    running = start(f"--ssl_config_file={tmp_path / 'ssl.config'}")
    root, key, own = (str(certificates / name) for name in ("ca.pem", "client.key", "client.pem"))
    image = photograph((200, 40, 40))
    with Client(running.address, ca_certificate=root, client_certificate=own, client_key=key) as client:
        assert client.classify([image])[0].labels[0] == "red"
    with (
        Client(running.address, ca_certificate=root) as client,
        pytest.raises(ServingError, match="set client_certificate and client_key") as caught,
    ):
        client.classify([image])
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.subprocess
def test_the_script_does_not_overwrite_keys(certificates):
    key = (certificates / "server.key").read_bytes()
    done = subprocess.run(["sh", CONFIG / "make_certificates.sh", certificates], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ssl.config exists" in done.stderr
    assert (certificates / "server.key").read_bytes() == key


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("model_config_file", "model_config_list { config { nam: 1 } }", "expected a ModelServerConfig as text"),
        ("model_config_file", "", "expected a model_config_list"),
        ("model_config_file", 'model_config_list { config { name: "a" base_path: "b" } }', "absolute path"),
        ("ssl_config_file", 'server_key: "none"', "server_key holds no PEM block"),
        ("ssl_config_file", "server_key: 1", "expected a SSLConfig as text"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(model_base, tmp_path, flag, text, message):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{flag}.*{message}"):
        embedded_server(f"--model_base_path={model_base}", f"--{flag}={path}")


def test_keys_and_certificates_that_do_not_work_are_named(model_base):
    with pytest.raises(ValueError, match="ssl_config_file: gRPC cannot use these"):
        embedded_server(f"--model_base_path={model_base}", f"--ssl_config_file={CONFIG / 'ssl.config'}")


def test_a_base_path_in_a_file_that_holds_nothing_is_named(tmp_path):
    (tmp_path / "models.config").write_text(backends.models_config(tmp_path / "none"))
    with pytest.raises(ValueError, match=f"model_config_file: base_path {tmp_path}/none: no such folder; expected"):
        embedded_server(f"--model_config_file={tmp_path / 'models.config'}")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=rf"model_config_file={tmp_path}/none: cannot be read: No such file"):
        embedded_server(f"--model_config_file={tmp_path}/none")


def test_an_argument_of_the_channel_without_a_value_is_named(model_base):
    with pytest.raises(ValueError, match="grpc_channel_arguments=max_receive: expected"):
        embedded_server(f"--model_base_path={model_base}", "--grpc_channel_arguments=max_receive")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--enable_batching", "--batching_parameters_file=none"], "does not batch"),
        (["--host=0.0.0.0"], "--host=0.0.0.0: everyone who reaches port 8500"),
        (["--host=::1"], None),
        ([], None),
    ],
)
def test_what_a_flag_does_not_do_and_what_it_exposes_is_said_in_one_line(command_flags, arguments, message):
    lines = server_command.notices(command_flags(server_command, *arguments))
    assert len(lines) == (message is not None)
    assert message is None or message in lines[0]


def test_labels_at_the_start_need_the_flag_that_lets_them_wait(model_base, tmp_path):
    (tmp_path / "models.config").write_text(backends.models_config(model_base, (1,), {"stable": 1}))
    with pytest.raises(ValueError, match="allow_version_labels_for_unavailable_models"):
        embedded_server(f"--model_config_file={tmp_path / 'models.config'}")
