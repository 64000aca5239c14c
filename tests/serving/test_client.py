"""The library client, against the embedded server and against servers that misbehave."""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import numpy as np
import pytest
from fake_service import FakeService, serving_at
from PIL import Image

import serving
from pipelines.command import InputError
from serving.client import Client, Result, ServingError
from serving.client_library import BYTES_PER_REQUEST

COLOURS = [(200, 60, 25), (25, 200, 60), (60, 25, 200)]

# The classes and weights of the stand-in, see conftest.py.
CLASS_NAMES = ["red", "grün", "blue", "grey", "dark", "other"]
GAIN = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [3, 3, 3], [-4, -4, -4], [1, 2, 0]], np.float64)


@pytest.fixture(scope="module")
def client(server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def fake() -> Iterator[tuple[FakeService, str]]:
    service = FakeService()
    with serving_at(service) as address:
        yield service, address


def expected(mean_rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes, best first, and their probabilities, in float64."""
    logits = GAIN @ (mean_rgb / 255)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    classes = np.argsort(-probabilities)
    return classes, probabilities[classes]


@pytest.mark.parametrize("signature", ["serving_default", "center_crop"])
def test_classes_and_scores_are_those_of_the_images(client, photograph, signature):
    images = [photograph(colour) for colour in COLOURS]
    for image, result in zip(images, client.classify(images, signature), strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(image)), np.float64)
        classes, scores = expected(pixels.mean((0, 1)))
        assert result.valid
        assert result.classes == tuple(classes[:5])
        assert result.labels == tuple(CLASS_NAMES[index] for index in classes[:5])
        # JPEG decoders differ by a grey level, which is 4 % of a score here.
        np.testing.assert_allclose(result.scores, scores[:5], rtol=0.1)


def test_the_images_signature_is_answered_from_views_cut_on_this_side(client, photograph):
    pixels = np.random.default_rng(0).integers(0, 250, (256, 256, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    good, bad = buffer.getvalue(), photograph((200, 40, 40))[:90]
    answer, invalid, again = client.classify([good, bad, good], "images")
    classes, scores = expected(pixels.mean((0, 1), dtype=np.float64))
    assert answer == again
    assert invalid == Result(valid=False)
    assert answer.classes == tuple(classes[:5])
    np.testing.assert_allclose(answer.scores, scores[:5], rtol=1e-4)


def test_bad_files_alone_give_bad_answers_in_the_images_signature(client):
    assert client.classify([b"junk", b""], "images") == [Result(False), Result(False)]


def test_top_k_limits_the_answer(client, photograph):
    (result,) = client.classify([photograph(COLOURS[0])], top_k=2)
    assert (len(result.labels), len(result.classes), len(result.scores)) == (2, 2, 2)


@pytest.mark.parametrize("top_k", [0, 6])
def test_a_top_k_that_is_not_served_is_refused(client, top_k):
    with pytest.raises(InputError, match=f"--top_k={top_k}: expected 1 to 5"):
        client.classify([], top_k=top_k)


def test_a_bad_image_changes_no_neighbour(client, photograph):
    first, last = photograph(COLOURS[0]), photograph(COLOURS[1])
    for bad in (b"", b"junk", first[:100], b"\xff\xd8\xff" + b"x" * 500):
        results = client.classify([first, bad, last])
        assert results[1] == Result(valid=False)
        assert results[::2] == client.classify([first, last])


def test_features_come_with_a_row_of_zeros_for_a_bad_image(client, photograph):
    features, valid = client.features([photograph(COLOURS[0]), b"junk"])
    assert features.shape == (2, 4096)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(valid, [True, False])
    np.testing.assert_allclose(features[0, :3], COLOURS[0], atol=3)
    assert not features[1].any()


def test_no_images_need_no_server(free_address):
    with Client(free_address) as client:
        assert client.classify([]) == []
        features, valid = client.features([])
    assert (features.shape, valid.shape) == ((0, 4096), (0,))


def test_many_images_travel_in_requests_of_at_most_sixteen(fake, photograph):
    service, address = fake
    with Client(address) as client:
        results = client.classify([photograph(COLOURS[0])] * 35)
    assert len(results) == 35
    assert [request.inputs["image_bytes"].tensor_shape.dim[0].size for request in service.requests] == [16, 16, 3]


def test_large_images_travel_in_requests_of_bounded_size(fake):
    service, address = fake
    sizes = [BYTES_PER_REQUEST // 2, BYTES_PER_REQUEST // 2, 1, BYTES_PER_REQUEST + 1, 1]
    with Client(address) as client:
        assert len(client.classify([bytes(size) for size in sizes])) == 5
    travelled = [[len(image) for image in r.inputs["image_bytes"].string_val] for r in service.requests]
    assert travelled == [sizes[:2], sizes[2:3], sizes[3:4], sizes[4:]]


def test_only_what_is_needed_is_asked_for(fake, photograph):
    service, address = fake
    with Client(address, "other") as client:
        client.classify([photograph(COLOURS[0])], "center_crop")
    (request,) = service.requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("other", "center_crop")
    assert set(request.output_filter) == {"labels", "classes", "scores", "valid"}


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


def test_this_machine_is_reached_past_a_proxy(server, photograph, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(server.address) as client:
        assert client.classify([photograph(COLOURS[0])])[0].valid


def test_an_unknown_model_is_named(server):
    with Client(server.address, "resnet") as client, pytest.raises(ServingError, match="--model_name=resnet"):
        client.classify([b"x"])


def test_an_unknown_signature_is_named_with_those_there_are(client):
    with pytest.raises(ServingError, match=r"--signature=nope: .*center_crop, features, images, serving_default"):
        client.classify([b"x"], "nope")


def test_the_features_signature_gives_no_classes(client):
    with pytest.raises(InputError, match="--signature=features"):
        client.classify([b"x"], "features")


def test_a_port_that_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"--server=127\.0\.0\.1:99999: expected a port of at most 65535"):
        Client("127.0.0.1:99999")


@pytest.mark.parametrize("address", ["localhost", "8500", "host:", ""])
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(InputError, match=f"--server={address}: expected host:port"):
        Client(address)


def test_signatures_are_those_of_the_model(client):
    assert client.signatures() == ["center_crop", "features", "images", "serving_default"]


def test_files_are_read_by_their_paths(client, photograph, tmp_path):
    path = tmp_path / "grün.jpg"
    path.write_bytes(photograph(COLOURS[1]))
    from_path, from_text, from_bytes = client.classify([path, str(path), path.read_bytes()])
    assert from_path == from_text == from_bytes
    np.testing.assert_array_equal(client.features([path])[0], client.features([path.read_bytes()])[0])


def test_a_file_that_is_no_image_is_named_before_it_is_sent(fake, tmp_path):
    service, address = fake
    path = tmp_path / "notes.txt"
    path.write_text("hello, world")
    with Client(address) as client, pytest.raises(InputError, match=rf"{path}: begins with b'hello, w'"):
        client.classify([path])
    assert service.requests == []


@pytest.mark.parametrize("single", [b"\xff\xd8\xff", "photo.jpg"])
def test_a_single_image_instead_of_a_list_is_told(client, single):
    with pytest.raises(InputError, match="expected a list of images"):
        client.classify(single)
    with pytest.raises(InputError, match="expected a list of images"):
        client.features(single)


def test_version_and_label_travel_in_the_request(fake, photograph):
    service, address = fake
    for arguments in ({}, {"version": 7}, {"version_label": "stable"}):
        with Client(address, **arguments) as client:
            client.classify([photograph(COLOURS[0])])
    none, version, label = (request.model_spec for request in service.requests)
    assert none.WhichOneof("version_choice") is None
    assert version.version.value == 7
    assert label.version_label == "stable"


def test_the_version_that_is_asked_for_answers(server, photograph):
    with Client(server.address, version=1) as client:
        assert client.classify([photograph(COLOURS[0])])[0].valid


def test_a_version_or_label_that_is_not_served_is_named(server):
    with Client(server.address, version=9) as client, pytest.raises(ServingError, match="--version=9: ") as caught:
        client.classify([b"x"])
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    with Client(server.address, version_label="nope") as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert str(caught.value).startswith("--version_label=nope: ")


def test_version_and_label_exclude_each_other():
    with pytest.raises(InputError, match="--version=1 and --version_label=stable"):
        Client("127.0.0.1:8500", version=1, version_label="stable")


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


def test_a_client_serves_many_threads(client, photograph):
    images = [photograph(colour) for colour in COLOURS]
    ask: Callable[[bytes], list[Result]] = lambda image: client.classify([image])  # noqa: E731
    with futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, images * 8))
    assert answers == [client.classify([image]) for image in images] * 8


def test_the_package_offers_client_and_server():
    assert serving.Client is Client
    with pytest.raises(AttributeError, match="nothing_like_it"):
        serving.nothing_like_it  # noqa: B018
