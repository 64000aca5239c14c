"""The client for asyncio, against the embedded server and against a server that misbehaves."""

import asyncio
import threading
from collections.abc import Callable, Coroutine

import grpc
import numpy as np
import pytest

from serving.client import AsyncClient, Client, Prediction, ServingError
from tests.helpers.fake_service import FakeService, serving_at

COLOURS = [(200, 60, 25), (25, 200, 60), (60, 25, 200)]


def with_client(address: str, use: Callable[[AsyncClient], Coroutine], **arguments):
    """What `use` returns, called with a client of its own."""

    async def run():
        async with AsyncClient(address, **arguments) as client:
            return await use(client)

    return asyncio.run(run())


@pytest.mark.parametrize("signature", ["serving_default", "center_crop"])
def test_answers_are_those_of_the_other_client(server, photograph, signature):
    images = [photograph(colour) for colour in COLOURS * 7]
    images[3] = images[3][:90]
    with Client(server.address) as client:
        expected = client.classify(images, signature, top_k=2)
    found = with_client(server.address, lambda client: client.classify(images, signature, top_k=2))
    assert [one.classes for one in found] == [one.classes for one in expected]
    assert found[3] == expected[3]
    assert expected[3] == Prediction(valid=False)


def test_features_and_signatures_are_those_of_the_other_client(server, photograph):
    async def ask(client: AsyncClient):
        return await client.features([photograph(COLOURS[0]), b"junk"]), await client.signatures()

    (features, valid), signatures = with_client(server.address, ask)
    with Client(server.address) as client:
        np.testing.assert_allclose(features, client.features([photograph(COLOURS[0]), b"junk"])[0], rtol=1e-6)
        assert signatures == client.signatures()
    np.testing.assert_array_equal(valid, [True, False])


def test_nothing_is_asked_about_no_images():
    async def ask(client: AsyncClient):
        return await client.classify([]), await client.features([])

    results, (features, valid) = with_client("127.0.0.1:1", ask)
    assert (results, features.shape, valid.shape) == ([], (0, 4096), (0,))


def test_calls_run_at_once_on_one_channel(server, photograph):
    images = [photograph(colour) for colour in COLOURS * 8]

    async def ask(client: AsyncClient):
        return await asyncio.gather(*(client.classify([image]) for image in images))

    with Client(server.address) as client:
        expected = [client.classify([image])[0].labels for image in images]
    assert [found.labels for (found,) in with_client(server.address, ask)] == expected


def test_the_event_loop_goes_on_while_a_request_is_under_way():
    service = FakeService()
    service.hold = threading.Event()

    async def ask(client: AsyncClient):
        asking = asyncio.ensure_future(client.classify([b"x"]))
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if service.requests:
                break
        service.hold.set()
        return await asking

    with serving_at(service) as address:
        assert with_client(address, ask)[0].valid


def test_a_call_can_be_given_up():
    service = FakeService()
    service.hold = threading.Event()

    async def ask(client: AsyncClient):
        async with asyncio.timeout(0.2):
            await client.classify([b"x"])

    with serving_at(service) as address:
        with pytest.raises(TimeoutError):
            with_client(address, ask)
        service.hold.set()


def test_a_server_that_is_unavailable_for_a_moment_is_asked_again():
    service = FakeService()
    service.failures = 2
    with serving_at(service) as address:
        assert with_client(address, lambda client: client.classify([bytes(1_000_000)]))[0].valid
    assert len(service.requests) == 3


def test_another_refusal_is_passed_on_with_its_code():
    service = FakeService()
    service.failures, service.code = 1, grpc.StatusCode.INTERNAL
    with (
        serving_at(service) as address,
        pytest.raises(ServingError, match=f"server={address}: INTERNAL: the queue is full") as caught,
    ):
        with_client(address, lambda client: client.classify([b"x"]))
    assert caught.value.code == grpc.StatusCode.INTERNAL
    assert len(service.requests) == 1


def test_a_server_that_is_too_slow_names_the_timeout():
    service = FakeService()
    service.hold = threading.Event()
    with serving_at(service) as address:
        with pytest.raises(ServingError, match=r"timeout_s=0\.2: "):
            with_client(address, lambda client: client.classify([b"x"]), timeout_s=0.2)
        service.hold.set()


def test_an_unknown_signature_is_named_with_those_there_are(server):
    with pytest.raises(ServingError, match=r"signature=nope: .*center_crop, features, images, serving_default"):
        with_client(server.address, lambda client: client.classify([b"x"], "nope"))


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(ValueError, match=f"{path}: the file is empty"):
        with_client("127.0.0.1:1", lambda client: client.classify([path]))


def test_a_rest_address_is_refused():
    with pytest.raises(ValueError, match=r"server=http://127\.0\.0\.1:8501: expected host:port of the gRPC port"):
        AsyncClient("http://127.0.0.1:8501")
