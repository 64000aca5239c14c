"""A small AlexNet as it is exported, served by the embedded server."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_alexnet import AlexNet, export_model
from tests.helpers import backends
from tests.helpers.backends import BACKENDS, arrays, predict_request
from tests.helpers.tolerance import rounding

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    with pytest.MonkeyPatch.context() as patched:
        # The exporter's own check, in a process of its own, has other tests.
        patched.setattr("keras_alexnet.saved_model.export.verify_export", lambda *arguments: None)
        export_model(AlexNet(classes=7, width=1 / 32, init="he"), folder, [f"class {number}" for number in range(7)])
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def served(request: pytest.FixtureRequest, base: Path) -> Iterator[backends.Running]:
    running = backends.start(request.param, "--model_name=alexnet", f"--model_base_path={base}")
    yield running
    running.end()


def rows_of(signature: str) -> tuple[str, np.ndarray]:
    generator, files = np.random.default_rng(0), []
    if signature == "images":
        return "images", generator.integers(0, 255, (16, 256, 256, 3), dtype=np.uint8)
    for number in range(15):
        buffer = io.BytesIO()
        coarse = Image.fromarray(generator.integers(0, 255, (16, 20, 3), dtype=np.uint8))
        coarse.resize((260 + 10 * number, 300)).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    return "image_bytes", np.array([*files[:4], b"junk", *files[4:]], object)


@pytest.mark.numeric
@pytest.mark.parametrize("signature", ["serving_default", "center_crop", "images", "features"])
def test_predictions_do_not_depend_on_the_batch(served, signature):
    name, rows = rows_of(signature)
    whole = arrays(served.predict(predict_request(signature, **{name: rows})))
    for size in (1, 5):
        parts = [
            arrays(served.predict(predict_request(signature, **{name: rows[at : at + size]})))
            for at in range(0, 16, size)
        ]
        for output, values in whole.items():
            found = np.concatenate([part[output] for part in parts])
            if output == "classes":
                np.testing.assert_array_equal(found[:, 0], values[:, 0])
            elif values.dtype.kind == "f":
                np.testing.assert_allclose(found, values, rtol=0, atol=rounding(values))
            elif output == "valid":
                np.testing.assert_array_equal(found, values)
