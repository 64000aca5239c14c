"""Versions come and go in the folder of a server that somebody else runs: what TF_SERVING_ADDRESS is for.

Against the embedded server always, so that the tests themselves are known to work.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tests.helpers import backends
from tests.helpers.backends import Running, predict_request, wait_until


@pytest.fixture(params=backends.WITH_ADDRESS)
def running(request: pytest.FixtureRequest, tmp_path: Path, export: Callable) -> Iterator[tuple[Running, Path]]:
    """A server, and a version that it serves and that the test may put others beside."""
    is_ours = request.param != "address"
    base = tmp_path if is_ours else Path(backends.ADDRESS_BASE)
    folder = export(base, max((int(path.name) for path in base.glob("[0-9]*")), default=0) + 1)
    if is_ours:
        server = backends.start(request.param, f"--model_name={backends.MODEL}", f"--model_base_path={base}")
    else:
        server = Running(backends.ADDRESS, lambda: None)
    wait_until(lambda: int(folder.name) in server.available())
    yield server, folder
    server.end()
    for path in {folder, folder.with_name(str(int(folder.name) + 1))}:
        shutil.rmtree(path, ignore_errors=True)


def probabilities_of(folder: Path, image: bytes) -> np.ndarray:
    model = tf.saved_model.load(str(folder))
    return model.signatures["serving_default"](image_bytes=tf.constant([image]))["probabilities"].numpy()


@pytest.mark.medium
def test_a_version_takes_over_and_gives_way_under_load_and_no_request_fails(running, export, photograph, tmp_path):
    server, folder = running
    image, old = photograph((200, 40, 40)), int(folder.name)
    ready = export(tmp_path / "ready", old + 1)
    expected = {old: probabilities_of(folder, image), old + 1: probabilities_of(ready, image)}
    assert np.abs(expected[old] - expected[old + 1]).max() > 0.1
    leave, answers, failures = threading.Event(), [], []

    def ask() -> None:
        while not leave.is_set():
            try:
                response = server.predict(predict_request(image_bytes=[image]))
            except Exception as error:
                failures.append(error)
            else:
                version = response.model_spec.version.value
                answers.append((version, backends.arrays(response)["probabilities"]))

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        try:
            # Beside it first: a folder that is still being copied must not be seen.
            new = Path(shutil.copytree(ready, folder.with_name(f"part-{old + 1}"))).rename(
                folder.with_name(str(old + 1))
            )
            wait_until(lambda: answers and answers[-1][0] == old + 1)
            shutil.rmtree(new)
            wait_until(lambda: answers[-1][0] == old)
        finally:
            leave.set()
        for asked in asking:
            asked.result()
    assert not failures
    for version, probabilities in answers:
        np.testing.assert_allclose(probabilities, expected[version], rtol=0, atol=1e-6)


def test_a_version_whose_warm_up_fails_is_refused_and_the_one_before_stays(running, export, photograph, tmp_path):
    server, folder = running
    old = int(folder.name)
    ready = export(tmp_path / "ready", old + 1)
    (ready / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(ready / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        log = PredictionLog()
        log.predict_log.request.CopyFrom(predict_request("nosuch", image_bytes=[b""]))
        writer.write(log.SerializeToString())
    Path(shutil.copytree(ready, folder.with_name(f"part-{old + 1}"))).rename(folder.with_name(str(old + 1)))
    wait_until(lambda: server.states().get(old + 1) == "END")
    assert server.answer(photograph((200, 40, 40)))[0] == old


@pytest.mark.numeric
@pytest.mark.parametrize("count", [1, 8, 16])
def test_a_prediction_does_not_depend_on_how_many_images_are_sent_together(running, photograph, count):
    server, _ = running
    images = [photograph((10 * n + 40, 90, 200 - 10 * n)) for n in range(count)]
    alone = [backends.arrays(server.predict(predict_request(image_bytes=[image]))) for image in images]
    together = backends.arrays(server.predict(predict_request(image_bytes=images)))
    expected = {name: np.concatenate([outputs[name] for outputs in alone]) for name in together}
    np.testing.assert_allclose(together["probabilities"], expected["probabilities"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(together["classes"][:, 0], expected["classes"][:, 0])
    np.testing.assert_array_equal(together["valid"], expected["valid"])
