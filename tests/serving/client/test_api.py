"""The library client, against the embedded server and against servers that misbehave."""

import io
import os
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import serving
import serving.client
import serving.server
from pipelines.images.find import read_image_file
from serving.client import Client, Prediction, ServingError
from serving.client.requests import BYTES_PER_REQUEST

COLOURS = [(200, 60, 25), (25, 200, 60), (60, 25, 200)]

# The classes and weights of the stand-in, see conftest.py.
CLASS_NAMES = ["red", "grün", "blue", "grey", "dark", "other"]
GAIN = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [3, 3, 3], [-4, -4, -4], [1, 2, 0]], np.float64)


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
        assert result.version == 1
        pixels = np.asarray(Image.open(io.BytesIO(image)), np.float64)
        classes, scores = expected(pixels.mean((0, 1)))
        assert result.valid
        assert result.classes == tuple(classes[:5])
        assert result.labels == tuple(CLASS_NAMES[index] for index in classes[:5])
        # JPEG decoders differ by a pixel value, which is 4 % of a score here.
        np.testing.assert_allclose(result.scores, scores[:5], rtol=0.1)


def test_top_k_limits_the_answer(client, photograph):
    (result,) = client.classify([photograph(COLOURS[0])], top_k=2)
    assert (len(result.labels), len(result.classes), len(result.scores)) == (2, 2, 2)


def test_no_more_classes_are_given_than_the_export_names(client, photograph):
    assert len(client.classify([photograph(COLOURS[0])], top_k=9)[0].labels) == 5


def test_more_than_five_classes_are_given_where_the_export_names_them(fake):
    service, address = fake
    service.classes = 12
    with Client(address) as client:
        assert [len(client.classify([b"x"], top_k=k)[0].classes) for k in (9, 12, 20)] == [9, 12, 12]


def test_a_top_k_that_asks_for_nothing_is_refused(client):
    with pytest.raises(ValueError, match="top_k=0: expected 1 or more"):
        client.classify([], top_k=0)


def test_a_bad_image_changes_no_neighbour(client, photograph):
    first, last = photograph(COLOURS[0]), photograph(COLOURS[1])
    for bad in (b"", b"junk", first[:100], b"\xff\xd8\xff" + b"x" * 500):
        results = client.classify([first, bad, last])
        assert results[1] == Prediction(valid=False)
        assert_close(results[::2], client.classify([first, last]))


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


def test_this_machine_is_reached_past_a_proxy(server, photograph, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(server.address) as client:
        assert client.classify([photograph(COLOURS[0])])[0].valid


def test_signatures_are_those_of_the_model(client):
    assert client.signatures() == ["center_crop", "features", "images", "serving_default"]


def test_files_are_read_by_their_paths(client, photograph, tmp_path):
    path = tmp_path / "grün.jpg"
    path.write_bytes(photograph(COLOURS[1]))
    from_path, from_text, from_bytes = client.classify([path, str(path), path.read_bytes()])
    assert_close([from_path, from_text], [from_bytes] * 2)
    np.testing.assert_allclose(client.features([path])[0], client.features([path.read_bytes()])[0])


def test_a_file_that_is_no_image_is_named_before_it_is_sent(fake, tmp_path):
    service, address = fake
    path = tmp_path / "notes.txt"
    path.write_text("hello, world")
    with Client(address) as client, pytest.raises(ValueError, match=rf"{path}: begins with b'hello, w'"):
        client.classify([path])
    assert service.requests == []


@pytest.mark.parametrize("single", [b"\xff\xd8\xff", "photo.jpg", Path("photo.jpg"), io.BytesIO(b"x")])
def test_a_single_image_instead_of_a_list_is_refused(client, single):
    with pytest.raises(ValueError, match="expected a list of images"):
        client.classify(single)
    with pytest.raises(ValueError, match="expected a list of images"):
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


def test_a_client_serves_many_threads(client, photograph):
    images = [photograph(colour) for colour in COLOURS]
    ask: Callable[[bytes], list[Prediction]] = lambda image: client.classify([image])  # noqa: E731
    with futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, images * 8))
    expected = [client.classify([image])[0] for image in images] * 8
    assert_close([answer for (answer,) in answers], expected)


def test_pixels_go_to_the_images_signature_as_they_are(client):
    pixels = np.random.default_rng(0).integers(0, 250, (3, 256, 256, 3)).astype(np.uint8)
    predictions = client.classify(pixels)
    for image, prediction in zip(pixels, predictions, strict=True):
        classes, scores = expected(image.mean((0, 1), dtype=np.float64))
        assert prediction.classes == tuple(classes[:5])
        np.testing.assert_allclose(prediction.scores, scores[:5], rtol=1e-4)
    assert_close(client.classify(pixels[0]), predictions[:1])
    assert_close(client.classify(list(pixels), "images"), predictions)


def test_pixels_of_another_size_are_refused_by_the_server_and_never_resized(client):
    with pytest.raises(ServingError, match=r"INVALID_ARGUMENT: .*shape"):
        client.classify(np.zeros((1, 100, 100, 3), np.uint8))


@pytest.mark.parametrize(
    "images, found",
    [
        (np.zeros((1, 256, 256, 3), np.float32), r"float32 \[1, 256, 256, 3\]"),
        (np.zeros((256, 256), np.uint8), r"uint8 \[256, 256\]"),
        ([np.zeros((256, 256, 1), np.uint8)], r"uint8 \[256, 256, 1\]"),
        ([b"x", np.zeros((256, 256, 3), np.uint8), 7], "found int"),
        ([io.StringIO("x")], "opened for reading bytes"),
    ],
)
def test_what_is_not_an_image_is_refused_with_what_is_expected(client, images, found):
    with pytest.raises(ValueError, match=f"images: expected .*{found}"):
        client.classify(images)


@pytest.mark.parametrize("image", [b"x", "photo.jpg", Image.new("RGB", (256, 256))])
def test_the_images_signature_refuses_files_and_names_those_for_bytes(client, image):
    with pytest.raises(ValueError, match=r"signature=images: takes uint8 arrays .*'serving_default' or 'center_crop'"):
        client.classify([image], "images")


def test_every_form_of_an_image_gives_the_same_prediction(client, photograph, tmp_path):
    png = photograph(COLOURS[0], kind="PNG")
    path = tmp_path / "image.png"
    path.write_bytes(png)
    image = Image.open(path)
    forms = [png, bytearray(png), memoryview(png), path, io.BytesIO(png), image, np.asarray(image)]
    assert client.classify([png])[0].valid
    assert_close(client.classify(forms, "serving_default"), client.classify([png]) * len(forms))
    forms[4].seek(0)
    features, valid = client.features(forms)
    assert valid.all() and np.ptp(features, axis=0).max() < 1e-3


def test_a_file_of_another_kind_is_named_with_the_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.gif").write_bytes(b"GIF89a" + bytes(20))
    for name, reason in [
        ("pipe.jpg", "a named pipe"),
        ("zero.jpg", "a device"),
        ("empty.jpg", "the file is empty"),
        ("page.gif", "begins with b'GIF89a"),
        ("missing.jpg", "No such file"),
        ("", "a directory"),
    ]:
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: {reason}.*; expected a JPEG or PNG file$"):
            read_image_file(tmp_path / name)


def test_the_packages_offer_their_public_names():
    assert serving.Client is serving.client.Client is Client
    assert serving.AsyncClient is serving.client.AsyncClient
    assert serving.ModelServer is serving.server.ModelServer
    assert serving.client.Result is Prediction  # its name before 0.2
    for package in (serving, serving.client, serving.server):
        with pytest.raises(AttributeError, match="nothing_like_it"):
            package.nothing_like_it  # noqa: B018


def assert_close(found: list[Prediction], wanted: list[Prediction]) -> None:
    """The same predictions within 1e-6."""
    assert [(one.valid, one.labels[:1]) for one in found] == [(one.valid, one.labels[:1]) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-6)
