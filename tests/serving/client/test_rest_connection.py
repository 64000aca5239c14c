"""The client over TensorFlow Serving's REST API."""

import base64
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving.client import Client, Prediction, ServingError
from serving.client import __main__ as client_module
from tests.helpers.rest_server import RestModel, serving_rest

COLOURS = [(200, 60, 25), (25, 200, 60), (60, 25, 200)]
TLS = Path(__file__).parent / "tls"


@pytest.fixture(scope="module")
def loaded(model_base: Path) -> Any:
    return tf.saved_model.load(str(model_base / "1"))


@pytest.fixture
def model(loaded: Any) -> RestModel:
    return RestModel(loaded)


@pytest.fixture
def address(model: RestModel) -> Iterator[str]:
    with serving_rest(model) as address:
        yield address


@pytest.mark.medium
def test_predictions_and_features_are_those_over_grpc(address, server, photograph):
    images = [photograph(colour) for colour in COLOURS] * 7
    images[4] = images[4][:90]
    pixels = np.random.default_rng(0).integers(0, 250, (2, 256, 256, 3)).astype(np.uint8)
    with Client(address) as rest, Client(server.address) as client:
        expected = client.classify(images) + client.classify(pixels)
        found = rest.classify(images) + rest.classify(pixels)
        features, expected_features = rest.features(images), client.features(images)
    assert found[4] == expected[4] == Prediction(valid=False)
    assert expected[1].labels[0] == "grün"
    for one, other in zip(found, expected, strict=True):
        assert (one.valid, one.classes, one.labels) == (other.valid, other.classes, other.labels)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-6)
    assert features[0].dtype == np.float32
    np.testing.assert_allclose(features[0], expected_features[0], rtol=1e-6)
    np.testing.assert_array_equal(features[1], expected_features[1])


def test_pixels_travel_as_rows_of_numbers(model, address):
    pixels = np.random.default_rng(0).integers(0, 250, (1, 256, 256, 3)).astype(np.uint8)
    with Client(address) as client:
        client.classify(pixels)
    ((_, body),) = model.asked
    assert json.loads(body) == {"signature_name": "images", "instances": pixels.tolist()}


def test_files_travel_as_rows_of_base64(model, address, photograph):
    images = [photograph(COLOURS[0]), b"junk"]
    with Client(address) as client:
        client.classify(images, "center_crop")
    ((path, body),) = model.asked
    assert path == "/v1/models/alexnet:predict"
    instances = [{"b64": base64.b64encode(image).decode()} for image in images]
    assert json.loads(body) == {"signature_name": "center_crop", "instances": instances}


@pytest.mark.parametrize(
    "arguments, path", [({"version": 1}, "/versions/1"), ({"version_label": "stable"}, "/labels/stable")]
)
def test_version_and_label_are_in_the_path(model, address, photograph, arguments, path):
    with Client(address, **arguments) as client:
        assert client.classify([photograph(COLOURS[0])])[0].valid
        assert "images" in client.signatures()
    assert [asked for asked, _ in model.asked] == [
        f"/v1/models/alexnet{path}{end}" for end in (":predict", "/metadata")
    ]


def test_names_are_quoted_in_the_path(model, address):
    with Client(address, "a/b c:d") as client, pytest.raises(ServingError, match="model_name=a/b c:d"):
        client.classify([b"x"])
    assert model.asked[0][0] == "/v1/models/a%2Fb%20c%3Ad:predict"


def test_signatures_are_those_of_the_model(address):
    with Client(address) as client:
        assert client.signatures() == ["center_crop", "features", "images", "serving_default"]


@pytest.mark.parametrize(
    "arguments, message, code",
    [
        ({"model_name": "resnet"}, "model_name=resnet: ", grpc.StatusCode.NOT_FOUND),
        ({"version": 9}, "model_name=alexnet: ", grpc.StatusCode.NOT_FOUND),
        ({"version_label": "nope"}, "version_label=nope: ", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_model_that_is_not_served_is_named(address, arguments, message, code):
    with Client(address, **arguments) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).startswith(message)
    assert caught.value.code == code


def test_an_unknown_signature_is_named_with_those_there_are(address):
    with Client(address) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"], "nope")
    assert str(caught.value).startswith("signature=nope: ")
    assert str(caught.value).endswith("center_crop, features, images, serving_default")


def test_a_server_that_is_unavailable_for_a_moment_is_asked_again(model, address, photograph):
    model.failures = 2
    with Client(address) as client:
        assert client.classify([photograph(COLOURS[0])])[0].valid
    assert len(model.asked) == 3


def test_a_server_that_stays_unavailable_is_asked_three_times(model, address):
    model.failures = 99
    with Client(address) as client, pytest.raises(ServingError, match=r"not available \(the queue is full\)"):
        client.classify([b"x"])
    assert len(model.asked) == 3


def response(**changed: Any) -> str:
    row = {"labels": ["a", "b"], "classes": [0, 1], "scores": [0.6, 0.4], "valid": True}
    return json.dumps({"predictions": [row | changed]})


@pytest.mark.parametrize(
    "failure, message",
    [
        ((500, '{"error": "out of\\nmemory"}'), "INTERNAL: out of memory"),
        ((429, "<html>slow down</html>"), "RESOURCE_EXHAUSTED: HTTP 429: <html>slow down</html>"),
        ((418, ""), "UNKNOWN: HTTP 418:"),
        ((200, "<html>hello</html>"), "not a response of an exported model: <html>hello</html>"),
        ((200, '{"predictions": [{"labels": 3}]}'), "not a response of an exported model"),
        ((200, '{"predictions": []}'), "not a response of an exported model"),
        ((200, response(labels=["a"] * 3)), "not a response of an exported model"),
        ((200, response(classes=[10**400, 1])), "not a response of an exported model"),
        ((200, response(scores=["1", "2"])), "not a response of an exported model"),
        ((200, "[" * 100_000), "not a response of an exported model"),
        ((200, '{"predictions": [0.5]}'), "not a response of an exported model"),
    ],
)
def test_another_refusal_is_passed_on_in_one_line_and_not_repeated(model, address, failure, message):
    model.failures, model.failure = 1, failure
    with Client(address) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(model.asked) == 1


def test_a_server_that_is_too_slow_names_the_timeout(model, address):
    model.hold = threading.Event()
    try:
        with Client(address, timeout_s=0.2) as client, pytest.raises(ServingError, match=r"timeout_s=0\.2: "):
            client.classify([b"x"])
    finally:
        model.hold.set()


def test_a_response_that_arrives_byte_by_byte_ends_with_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with Client(address, timeout_s=0.3) as client, pytest.raises(ServingError, match=r"timeout_s=0\.3: "):
            client.classify([b"x"])


def test_no_server_names_address_and_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Client(address) as client, pytest.raises(ServingError, match=f"server={address}: .*REST port"):
        client.classify([b"x"])


def test_the_grpc_port_is_told_from_the_rest_port(server):
    with Client(f"http://{server.address}") as client, pytest.raises(ServingError, match="8501, not 8500") as caught:
        client.classify([b"x"])
    assert str(caught.value).isprintable()


def test_this_machine_is_reached_past_a_proxy(address, photograph, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(address) as client:
        assert client.classify([photograph(COLOURS[0])])[0].valid


@pytest.mark.parametrize(
    "server", ["http://", "http://host/path", "http://ho st:1", "https://host:x", "http://h:99999"]
)
def test_an_address_that_is_none_is_refused(server):
    with pytest.raises(ValueError, match=f"server={server}: expected "):
        Client(server)


def test_https_is_checked_against_the_certificates(model, photograph):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(TLS / "server.crt", TLS / "server.key")
    with serving_rest(model, tls) as address:
        with Client(address, ca_certificate=str(TLS / "server.crt")) as client:
            assert client.classify([photograph(COLOURS[0])])[0].valid
        with (
            Client(address, ca_certificate=str(TLS / "other.crt")) as client,
            pytest.raises(ServingError, match=r"signed by ca_certificate=.*other\.crt"),
        ):
            client.classify([b"x"])


def test_certificates_need_https():
    with pytest.raises(ValueError, match="server=http://localhost:1: expected https://"):
        Client("http://localhost:1", ca_certificate=str(TLS / "server.crt"))


@pytest.mark.parametrize("arguments", [("{url}",), ("{url}", "--rest"), ("{host}", "--rest")])
def test_the_command_asks_over_rest(command, model, address, photograph, tmp_path, capsys, arguments):
    path = tmp_path / "red.jpg"
    path.write_bytes(photograph((200, 40, 40)))
    server, *rest = (text.format(url=address, host=address.removeprefix("http://")) for text in arguments)
    assert command(client_module, f"--server={server}", *rest, "--json", "--top_k=1", str(path)) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["red"]
    assert len(model.asked) == 1


def test_the_command_asks_the_rest_port_of_this_machine_if_no_server_is_named(
    command, model, address, photograph, tmp_path, monkeypatch
):
    assert client_module.REST_SERVER == "http://127.0.0.1:8501"
    monkeypatch.setattr(client_module, "REST_SERVER", address)
    path = tmp_path / "red.jpg"
    path.write_bytes(photograph((200, 40, 40)))
    assert command(client_module, "--rest", str(path)) == 0
    assert len(model.asked) == 1
