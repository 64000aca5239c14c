"""The demo page's server, called without a browser."""

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from keras_alexnet.demo import explanation  # noqa: E402 (after the skips)
from keras_alexnet.demo.app import MAX_FILE_BYTES, Demo, create_app  # noqa: E402 (after the skips)
from keras_alexnet.demo.explanation import Explanation  # noqa: E402
from keras_alexnet.pretrained import LoadedNetwork  # noqa: E402
from serving.client import Prediction, ServingError  # noqa: E402


class Client:
    """Stands for AsyncClient: answers with what a test has put there."""

    def __init__(self):
        self.answer, self.received = Prediction(True, ("cat", "dog"), (1, 0), (0.75, 0.25), version=7), []

    async def classify(self, images):
        self.received += images
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer]


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def call(client):
    """Sends a request to the app."""

    def send(method, path, explanation=None, **options):
        import asyncio

        app = create_app(Demo(client, "127.0.0.1:8500", "alexnet", explanation))

        async def request():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as browser:
                return await browser.request(method, path, **options)

        return asyncio.run(request())

    return send


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/favicon.svg"])
def test_the_page_allows_only_its_own_host(call, path):
    response = call("GET", path)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy
    # The only address is the name of an XML namespace.
    assert "//" not in response.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


def test_a_photograph_is_classified(call, client):
    response = call("POST", "/api/classify", content=b"a photograph")
    assert response.json() == {"labels": ["cat", "dog"], "scores": [0.75, 0.25], "version": 7}
    assert client.received == [b"a photograph"]


def test_a_broken_image_gets_a_sentence(call, client):
    client.answer = Prediction(False)
    response = call("POST", "/api/classify", content=b"text")
    assert response.status_code == 400
    assert response.json()["error"].startswith("This file is not an image")


def test_an_unreachable_server_gets_a_sentence(call, client):
    client.answer = ServingError("127.0.0.1:8500: connection refused")
    response = call("POST", "/api/classify", content=b"a photograph")
    assert response.status_code == 502
    assert response.json() == {"error": "The server did not respond. 127.0.0.1:8500: connection refused"}


@pytest.mark.parametrize("size", [0, MAX_FILE_BYTES + 1])
def test_files_of_impossible_sizes_are_not_sent(call, client, size):
    response = call("POST", "/api/classify", content=bytes(size))
    assert response.status_code == (413 if size else 400)
    assert response.json()["error"].startswith("This file is")
    assert not client.received


@pytest.mark.parametrize("path", ["/api/explain", "/api/activations/conv1"])
def test_without_a_model_there_is_nothing_to_look_into(call, path):
    response = call("POST", path, content=b"a photograph")
    assert response.status_code == 404
    assert response.json() == {"error": "Start the page with --model to look inside the network."}


@pytest.mark.slow
def test_the_crops_are_where_the_network_looks(call, explanation):
    # 512 x 400: resized by 0.64 to 328 x 256, of which the middle 256 are kept.
    image = png(np.full((400, 512, 3), 90, np.uint8))
    answer = call("POST", "/api/explain", explanation, content=image).json()
    assert (answer["width"], answer["height"]) == (512, 400)
    crops = answer["crops"]
    assert len(crops) == 10 and [crop["flipped"] for crop in crops] == [False] * 5 + [True] * 5
    assert [crop["position"] for crop in crops[:5]] == [
        "top left",
        "top right",
        "centre",
        "bottom left",
        "bottom right",
    ]
    for crop in crops:
        assert crop["width"] == crop["height"] == pytest.approx(224 / 256 * 400)
        assert 0 < crop["score"] <= 1
    assert (crops[0]["x"], crops[0]["y"]) == pytest.approx((56, 0))
    assert (crops[4]["x"], crops[4]["y"]) == pytest.approx((106, 50))
    # A grey image is its own mirror image.
    assert crops[0]["score"] == pytest.approx(crops[5]["score"], abs=1e-6)


@pytest.mark.slow
def test_pictures_are_part_of_the_answer(call, explanation):
    image = png(np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    about = call("GET", "/api/about", explanation).json()
    assert about["layers"][0] == "conv1"
    kernels = call("GET", "/api/kernels", explanation).json()["picture"]
    activations = call("POST", "/api/activations/conv1", explanation, content=image).json()["picture"]
    for picture in (kernels, activations):
        kind, _, data = picture.partition(",")
        assert kind == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).width > 300


@pytest.mark.slow
def test_an_unknown_layer_and_a_broken_image_get_a_sentence(call, explanation):
    image = png(np.zeros((40, 60, 3), np.uint8))
    assert "expected one of" in call("POST", "/api/activations/none", explanation, content=image).json()["error"]
    assert "not an image" in call("POST", "/api/explain", explanation, content=b"text").json()["error"]


@pytest.mark.slow
def test_the_nearest_photographs_of_a_features_file_are_shown(call, explanation, photographs):
    file = photographs / "train" / "green" / "3.jpg"
    found = call("POST", "/api/explain", explanation, content=file.read_bytes()).json()["neighbours"]
    assert len(found) == 6 and [row["distance"] for row in found] == sorted(row["distance"] for row in found)
    # The features that predict wrote are those of this page.
    assert found[0]["name"] == "3.jpg" and found[0]["distance"] == pytest.approx(0, abs=1e-3)
    assert all(row["picture"].startswith("data:image/jpeg;base64,") for row in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.jpg", "features": [1, 2]}', "2 features per image; expected"),
        ("", "found no row"),
        ("x", "Expect"),
    ],
)
def test_an_unsuitable_features_file_is_refused_at_the_start(trained, tmp_path, text, message):
    features = tmp_path / "features.jsonl"
    features.write_text(text)
    with pytest.raises(ValueError, match=rf"features_file=.*{message}"):
        Explanation(str(trained), str(features))


def test_an_export_has_no_layers(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such file"):
        Explanation(str(tmp_path / "none"))
    monkeypatch.setattr(explanation, "load_network", lambda path: LoadedNetwork(path, signatures={}))
    with pytest.raises(ValueError, match=r"^model=export/mine: is an export, whose layers are not accessible"):
        Explanation("export/mine")


@pytest.mark.subprocess
def test_the_command_prints_the_address_when_browsers_may_open_it():
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "keras_alexnet.demo", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline())[0]
            assert httpx.get(address).status_code == 200
        finally:
            process.kill()
