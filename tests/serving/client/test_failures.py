"""What the library client does when a server does not answer or refuses."""

import asyncio
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.client import AsyncClient, Client, ServingError, retry
from serving.client.retry import Retry
from tests.helpers.fake_service import FakeService, serving_at, serving_bytes_at

CLASSES = {"scores": np.float32, "classes": np.int32, "labels": object}


def claiming(shape: list[int]) -> TensorProto:
    """One float that stands for a tensor of `shape`."""
    proto = TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1.0])
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def test_a_server_that_is_unavailable_for_a_moment_is_asked_again(fake):
    service, address = fake
    service.failures = 2
    with Client(address) as client:
        # Above the size up to which gRPC tries again by default.
        assert client.classify([bytes(1_000_000)])[0].valid
    assert len(service.requests) == 3


def test_a_server_that_stays_unavailable_is_asked_three_times(fake):
    service, address = fake
    service.failures = 99
    with Client(address) as client, pytest.raises(ServingError, match=f"server={address}: .*the queue is full"):
        client.classify([b"x"])
    assert len(service.requests) == 3


def test_other_refusals_are_passed_on_in_one_line_and_not_sent_again(fake):
    service, address = fake
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
        service.requests.clear()
        service.failures, service.code = 1, code
        with Client(address) as client, pytest.raises(ServingError) as caught:
            client.classify([b"x"])
        assert caught.value.code == code
        assert str(caught.value) == f"server={address}: {code.name}: the queue is full"
        assert len(service.requests) == 1


def test_a_server_that_is_just_starting_is_waited_for(free_address, monkeypatch):
    monkeypatch.setattr(retry, "BACKOFF_S", (0.5, 1.0))
    service = FakeService()
    started = threading.Event()

    def start_late() -> None:
        started.wait(0.3)
        with serving_at(service, address=free_address):
            started.wait(30)

    late = threading.Thread(target=start_late)
    late.start()
    try:
        with Client(free_address) as client:
            assert client.classify([b"x"])[0].valid
    finally:
        started.set()
        late.join()


def test_a_server_that_is_too_slow_names_the_timeout(fake):
    service, address = fake
    service.hold = threading.Event()
    try:
        with Client(address, timeout_s=0.2) as client, pytest.raises(ServingError, match=r"timeout_s=0\.2: "):
            client.classify([b"x"])
    finally:
        service.hold.set()


def test_no_server_names_address_and_remedy(free_address):
    with Client(free_address) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).startswith(f"server={free_address}: not available")
    assert "python -m serving.server" in str(caught.value)


def test_an_unknown_model_is_named(server):
    with Client(server.address, "resnet") as client, pytest.raises(ServingError, match="model_name=resnet: "):
        client.classify([b"x"])


def test_an_unknown_signature_is_named_with_those_there_are(client):
    with pytest.raises(ServingError, match=r"signature=nope: .*center_crop, features, images, serving_default"):
        client.classify([b"x"], "nope")


def test_a_version_or_label_that_is_not_served_is_named(server):
    with (
        Client(server.address, version=9) as client,
        pytest.raises(ServingError, match=r"model_name=alexnet: .*\(version 9\)") as caught,
    ):
        client.classify([b"x"])
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    with Client(server.address, version_label="nope") as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).startswith("version_label=nope: ")


def test_version_and_label_exclude_each_other():
    with pytest.raises(ValueError, match=r"version=1: expected no version_label with it \(stable\)"):
        Client("127.0.0.1:8500", version=1, version_label="stable")


def test_the_features_signature_gives_no_classes(client):
    with pytest.raises(ValueError, match="signature=features"):
        client.classify([b"x"], "features")


def test_a_port_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"server=127\.0\.0\.1:99999: expected a port of at most 65535"):
        Client("127.0.0.1:99999")


@pytest.mark.parametrize("address", ["localhost", "8500", "host:", ""])
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(ValueError, match=f"server={address}: expected host:port"):
        Client(address)


@pytest.mark.parametrize("message", ["Server Threadpool Exhausted", "Concurrent RPC limit exceeded!"])
def test_a_server_whose_threads_are_taken_is_asked_again_until_it_answers(fake, message):
    service, address = fake
    service.failures, service.code, service.message = 3, grpc.StatusCode.RESOURCE_EXHAUSTED, message
    with Client(address) as client:
        assert client.classify([b"x"])[0].valid
    assert len(service.requests) == 4


def test_a_server_whose_threads_stay_taken_is_not_asked_beyond_the_deadline(fake):
    service, address = fake
    service.failures, service.code, service.message = 99, grpc.StatusCode.RESOURCE_EXHAUSTED, "Threadpool Exhausted"
    with Client(address, timeout_s=0.5) as client, pytest.raises(ServingError, match="RESOURCE_EXHAUSTED"):
        client.classify([b"x"])
    assert len(service.requests) < 99


def test_attempts_end_with_the_deadline():
    now = [0.0]
    retry = Retry(10, clock=lambda: now[0])
    assert retry.delay_s(grpc.StatusCode.INTERNAL, "") is None
    delays = []
    while (delay := retry.delay_s(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")) is not None:
        delays.append(delay)
        now[0] += delay
    assert 7 < now[0] < 10
    assert delays[0] < 0.3 and max(delays) <= 2.4


def test_requests_are_spread_over_the_addresses_of_a_server():
    services = FakeService(), FakeService()
    with (
        serving_at(services[0]) as first,
        serving_at(services[1]) as second,
        Client(f"ipv4:{first},{second}") as client,
    ):
        for _ in range(10):
            client.classify([b"x"])
            time.sleep(0.01)
    assert min(len(service.requests) for service in services) >= 3


@pytest.mark.parametrize(
    "outputs, reason",
    [
        ({"labels": None}, "output 'labels' is missing"),
        ({"valid": None}, "output 'valid' is missing"),
        ({"scores": np.zeros((1, 2), np.int32)}, "output 'scores' has dtype int32, expected float32"),
        ({"labels": np.full((1, 3), b"x", object), "scores": np.zeros((1, 5), np.float32)}, "different shapes"),
        ({"valid": np.ones(3, bool)}, r"output 'valid' has shape \(3,\) for 1 images"),
        ({"scores": np.float32(1)}, r"output 'scores' has shape \(\) for 1 images"),
        ({"scores": tf.make_tensor_proto(np.float16([[1]]))}, "dtype 19 is not one of"),
        ({"scores": claiming([30_000, 30_000])}, r"shape \[30000, 30000\] does not go with 1 values"),
        ({"scores": claiming([-1, 1])}, r"shape \[-1, 1\] does not go with 1 values"),
        ({"scores": claiming([2**62, 2**62])}, "does not go with 1 values"),
        ({"classes": np.array([[2**31]])}, "'classes' has values that are not class indices"),
        ({"classes": np.array([[-1]], np.int32)}, "'classes' has values that are not class indices"),
        ({name: np.zeros((1, 0), dtype) for name, dtype in CLASSES.items()}, r"'scores' has shape \(1, 0\)"),
    ],
)
def test_a_response_that_is_not_of_an_exported_model_is_one_line(fake, outputs, reason):
    service, address = fake
    service.outputs = outputs
    with (
        Client(address) as client,
        pytest.raises(ServingError, match=f"not a response of .*{reason}"),
    ):
        client.classify([b"x"])


def test_what_a_server_says_reaches_no_terminal_as_control_characters(fake):
    service, address = fake
    service.failures, service.code, service.message = 1, grpc.StatusCode.INTERNAL, "\x1b[31mred\u202e\x07" + "x" * 9999
    with Client(address) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


async def _with_asyncio(address: str) -> None:
    async with AsyncClient(address) as client:
        await client.classify([b"x"])


@pytest.mark.parametrize("content", [b"\xff" * 100, b"\x0a\x7f", b"", b"\x0a\x00" * 10_000], ids=len)
def test_a_response_that_is_no_message_of_ours_is_one_line(caplog, content):
    with serving_bytes_at(Predict=content) as address, Client(address) as client:
        for call in (lambda: client.classify([b"x"]), lambda: asyncio.run(_with_asyncio(address))):
            with pytest.raises(ServingError, match="not a response of an exported model: ") as caught:
                call()
            assert str(caught.value).isprintable()
    assert not caplog.records  # gRPC logs the traceback where it parses itself


def test_a_response_of_more_bytes_than_any_model_sends_is_not_read():
    # Protocol buffers would make a gigabyte of it.
    with (
        serving_bytes_at(Predict=b"\x0a\x00" * 6_000_000) as address,
        Client(address) as client,
        pytest.raises(ServingError, match=r"RESOURCE_EXHAUSTED: .*larger than max"),
    ):
        client.classify([b"x"])


def of_another_type() -> bytes:
    response = GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(ModelSpec(name="x"))
    return response.SerializeToString()


@pytest.mark.parametrize("metadata", [b"", b"\xff" * 9, of_another_type(), grpc.StatusCode.UNIMPLEMENTED], ids=str)
def test_metadata_that_cannot_be_used_do_not_hide_why_a_request_was_refused(metadata):
    answers = {"Predict": grpc.StatusCode.INVALID_ARGUMENT, "GetModelMetadata": metadata}
    with serving_bytes_at(**answers) as address, Client(address) as client:
        with pytest.raises(ServingError, match="INVALID_ARGUMENT: refused"):
            client.classify([b"x"])
        with pytest.raises(ServingError, match=r"not a response of an exported model|UNIMPLEMENTED"):
            client.signatures()
