"""A small AlexNet as it is exported, served with the batching parameters that come with the project."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import serving
from keras_alexnet import AlexNet
from keras_alexnet.export import export_model
from tests.helpers import backends
from tests.helpers.backends import BACKENDS, arrays, predict_request

PARAMETERS = Path(serving.__file__).parent / "config" / "batching_parameters.txt"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    with pytest.MonkeyPatch.context() as patched:
        # The exporter's own look at it, in a process of its own, is for other tests; here servers look.
        patched.setattr("keras_alexnet.export._check", lambda *arguments: None)
        _export(folder)
    return folder


def _export(folder: Path) -> None:
    export_model(AlexNet(classes=7, width=1 / 32, init="he"), folder, [f"class {number}" for number in range(7)])


@pytest.fixture(scope="module", params=BACKENDS)
def servers(request: pytest.FixtureRequest, base: Path) -> Iterator[tuple[backends.Running, backends.Running]]:
    """One that runs each request by itself, and one that merges them."""
    # The warm-up requests are replayed once, by the other one.
    cold = "--enable_model_warmup=false"
    alone = backends.start(request.param, "--model_name=alexnet", f"--model_base_path={base}", cold)
    merging = ("--enable_batching=true", f"--batching_parameters_file={PARAMETERS}")
    batched = backends.start(request.param, "--model_name=alexnet", f"--model_base_path={base}", *merging)
    yield alone, batched
    alone.end()
    batched.end()


def photographs() -> list[bytes]:
    generator, found = np.random.default_rng(0), []
    for number in range(15):
        buffer = io.BytesIO()
        coarse = Image.fromarray(generator.integers(0, 255, (16, 20, 3), dtype=np.uint8))
        coarse.resize((260 + 10 * number, 300)).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return [*found[:4], b"junk", *found[4:]]


def inputs(signature: str) -> tuple[str, np.ndarray]:
    if signature == "images":
        return "images", np.random.default_rng(0).integers(0, 255, (16, 256, 256, 3), dtype=np.uint8)
    return "image_bytes", np.array(photographs(), object)


@pytest.mark.parametrize("signature", ["serving_default", "center_crop", "images", "features"])
def test_answers_do_not_depend_on_who_else_asks(servers, signature):
    alone, batched = servers
    name, rows = inputs(signature)
    expected = arrays(alone.predict(predict_request(signature, **{name: rows})))
    for size in (1, 8, 16):
        requests = [predict_request(signature, **{name: rows[at : at + size]}) for at in range(0, 16, size)]
        with ThreadPoolExecutor(16) as pool:
            answers = [arrays(response) for response in pool.map(batched.predict, requests)]
        for output, values in expected.items():
            found = np.concatenate([answer[output] for answer in answers])
            if values.dtype.kind == "f":  # a convolution may add up in another order for another batch
                np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(found, values)
