"""Versions, labels and warm-up: as in TensorFlow Serving, on a server that is running."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tests.helpers import backends
from tests.helpers.backends import BACKENDS, models_config, predict_request, refusal, wait_until

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory: pytest.TempPathFactory, export: Callable) -> Path:
    """Version 1 names the colour, version 2 always says "other". Not to be written to."""
    base = tmp_path_factory.mktemp("two")
    export(base, 1)
    export(base, 2)
    return base


@pytest.fixture
def base(tmp_path: Path, two_versions: Path) -> Path:
    """A base folder of the test's own, with versions 1 and 2."""
    return Path(shutil.copytree(two_versions, tmp_path / "models"))


@pytest.fixture
def red(photograph: Callable[..., bytes]) -> bytes:
    return photograph((200, 40, 40))


@pytest.fixture
def serve(start_server: Callable, tmp_path: Path, backend: str) -> Callable[..., backends.Running]:
    """Starts the backend with a configuration."""

    def start(config: str, *arguments: str) -> backends.Running:
        (tmp_path / "models.config").write_text(config)
        return start_server(backend, f"--model_config_file={tmp_path / 'models.config'}", *arguments)

    return start


LABELS_EARLY = "--allow_version_labels_for_unavailable_models=true"
FIRST, SECOND = (1, "red"), (2, "other")


def add_warmup(folder: Path, *requests: object) -> None:
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def test_labels_and_numbers_pick_versions(serve, base, red):
    server = serve(models_config(base, (1, 2), {"stable": 1, "canary": 2}), LABELS_EARLY)
    assert server.answer(red, label="stable") == server.answer(red, version=1) == FIRST
    assert server.answer(red, label="canary") == server.answer(red) == SECOND


def test_an_unknown_label_and_a_version_that_is_not_served_are_refused(serve, base, red):
    server = serve(models_config(base, (1,), {"stable": 1}), LABELS_EARLY)
    assert refusal(lambda: server.answer(red, label="canary"))[0] == "INVALID_ARGUMENT"
    assert refusal(lambda: server.answer(red, version=2))[0] == "NOT_FOUND"
    assert refusal(lambda: server.answer(red, label="stable", name="resnet"))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("", {2}), ("latest { num_versions: 2 }", {1, 2}), ("all {}", {1, 2}), ("specific { versions: 1 }", {1})],
)
def test_the_version_policy_says_what_is_served(serve, base, policy, expected):
    config = models_config(base).replace('"tensorflow"', f'"tensorflow" model_version_policy {{ {policy} }}')
    server = serve(config)
    wait_until(lambda: server.available() == expected)


def test_a_version_whose_warm_up_passes_is_served(serve, base, red):
    add_warmup(base / "2", predict_request(name="any name", image_bytes=[red]))
    assert serve(models_config(base)).answer(red) == SECOND


@pytest.mark.parametrize(
    "requests",
    [
        [predict_request("nosuch", image_bytes=[b""])],
        [predict_request(image_bytes=[b""]), predict_request(images=[b""])],
        [predict_request(image_bytes=[b""])] * 1001,
    ],
    ids=["unknown signature", "second one has the wrong input", "too many"],
)
@pytest.mark.medium
def test_a_version_whose_warm_up_fails_is_refused_and_the_one_before_stays(serve, base, two_versions, red, requests):
    shutil.rmtree(base / "2")
    server = serve(models_config(base))
    part = Path(shutil.copytree(two_versions / "2", base / "part-2"))
    add_warmup(part, *requests)
    part.rename(base / "2")
    wait_until(lambda: server.states().get(2) == "END")
    assert server.answer(red) == FIRST
    status = server.models.GetModelStatus(
        backends.GetModelStatusRequest(model_spec=predict_request(version=2).model_spec), timeout=backends.WAIT_S
    ).model_version_status[0]
    assert status.status.error_code != 0
    assert status.status.error_message


def test_a_broken_warm_up_file_refuses_the_version(serve, base, two_versions, red):
    shutil.rmtree(base / "2")
    server = serve(models_config(base))
    part = Path(shutil.copytree(two_versions / "2", base / "part-2"))
    (part / "assets.extra").mkdir()
    (part / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"no record" * 10)
    part.rename(base / "2")
    wait_until(lambda: server.states().get(2) == "END")
    assert server.answer(red) == FIRST


def test_warm_up_can_be_switched_off(serve, base, red):
    add_warmup(base / "2", predict_request("nosuch", image_bytes=[red]))
    assert serve(models_config(base), "--enable_model_warmup=false").answer(red) == SECOND


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_server_that_was_killed_serves_again(base, red, backend, tmp_path):
    (tmp_path / "models.config").write_text(models_config(base, (1, 2), {"stable": 1}))
    command = backends.embedded_command() if backend == "embedded" else [backends.BINARY]
    arguments = (f"--model_config_file={tmp_path / 'models.config'}", LABELS_EARLY)
    port = backends.free_port()
    first = backends.start_process(command, *arguments, port=port)
    assert first.answer(red, label="stable") == FIRST
    first.kill()
    assert refusal(lambda: first.answer(red))[0] == "UNAVAILABLE"
    first.end()
    second = backends.start_process(command, *arguments, port=port)
    try:
        assert second.answer(red, label="stable") == FIRST
    finally:
        second.end()
