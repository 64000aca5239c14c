"""What the library client does when a server does not answer or refuses."""

import threading

import grpc
import pytest

from serving.client import Client, ServingError
from tests.helpers.fake_service import FakeService, serving_at


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
    with Client(address) as client, pytest.raises(ServingError, match=f"--server={address}: .*the queue is full"):
        client.classify([b"x"])
    assert len(service.requests) == 3


def test_only_unavailable_is_tried_again(fake):
    service, address = fake
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
        service.requests.clear()
        service.failures, service.code = 1, code
        with Client(address) as client, pytest.raises(ServingError) as caught:
            client.classify([b"x"])
        assert caught.value.code == code
        assert len(service.requests) == 1


def test_a_server_that_is_just_starting_is_waited_for(free_address):
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


def test_another_refusal_is_passed_on_in_one_line(fake):
    service, address = fake
    service.failures, service.code = 1, grpc.StatusCode.INTERNAL
    with Client(address) as client, pytest.raises(ServingError, match="INTERNAL: the queue is full") as caught:
        client.classify([b"x"])
    assert "\n" not in str(caught.value)


def test_a_server_that_is_too_slow_names_the_timeout(fake):
    service, address = fake
    service.hold = threading.Event()
    try:
        with Client(address, timeout_s=0.2) as client, pytest.raises(ServingError, match=r"--timeout_s=0\.2: "):
            client.classify([b"x"])
    finally:
        service.hold.set()


def test_no_server_names_address_and_remedy(free_address):
    with Client(free_address) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).startswith(f"--server={free_address}: no server answers")
    assert "python -m serving.server" in str(caught.value)


def test_an_unknown_model_is_named(server):
    with Client(server.address, "resnet") as client, pytest.raises(ServingError, match="--model_name=resnet"):
        client.classify([b"x"])


def test_an_unknown_signature_is_named_with_those_there_are(client):
    with pytest.raises(ServingError, match=r"--signature=nope: .*center_crop, features, images, serving_default"):
        client.classify([b"x"], "nope")


def test_a_version_or_label_that_is_not_served_is_named(server):
    with Client(server.address, version=9) as client, pytest.raises(ServingError, match="--version=9: ") as caught:
        client.classify([b"x"])
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    with Client(server.address, version_label="nope") as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).startswith("--version_label=nope: ")


def test_version_and_label_exclude_each_other():
    with pytest.raises(ValueError, match="version=1 and --version_label=stable"):
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
