"""Versions, labels, changes of configuration and warm-up: as in TensorFlow Serving, on a server that is running."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tests.helpers import backends
from tests.helpers.backends import BACKENDS, arrays, models_config, predict_request, refusal, wait_until

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


def test_a_new_configuration_changes_versions_and_then_labels(serve, base, red):
    server = serve(models_config(base, (1,), {"stable": 1}), LABELS_EARLY)
    server.reload(models_config(base, (1, 2), {"stable": 1}))
    wait_until(lambda: server.available() == {1, 2})
    server.reload(models_config(base, (2,), {"stable": 2}))
    wait_until(lambda: server.available() == {2})
    assert server.answer(red, label="stable") == SECOND
    wait_until(lambda: server.states() == {1: "END", 2: "AVAILABLE"})


def test_a_label_cannot_move_to_a_version_that_is_not_served(serve, base, red):
    server = serve(models_config(base, (1,), {"stable": 1}), LABELS_EARLY)
    code, _ = refusal(lambda: server.reload(models_config(base, (1, 2), {"stable": 2})))
    assert code == "FAILED_PRECONDITION"
    assert server.answer(red, label="stable") == FIRST


def test_a_configuration_replaces_all_models(serve, base, red):
    server = serve(models_config(base))
    renamed = models_config(base).replace('"alexnet"', '"renamed"')
    server.reload(renamed)
    assert server.answer(red, name="renamed") == SECOND
    wait_until(lambda: server.available() == set())
    assert refusal(lambda: server.answer(red))[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    "config",
    [
        'model_config_list { config { name: "a" base_path: "relative" model_platform: "tensorflow" } }',
        'model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } }',
        'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } '
        'config { name: "a" base_path: "/b" model_platform: "tensorflow" } }',
        "",
    ],
)
def test_a_configuration_that_cannot_be_is_refused_and_changes_nothing(serve, base, red, config):
    server = serve(models_config(base, (1,)))
    assert refusal(lambda: server.reload(config))[0] == "INVALID_ARGUMENT"
    assert server.answer(red) == FIRST


def test_no_request_fails_while_versions_change_and_none_mixes_them(serve, base, two_versions, red):
    shutil.rmtree(base / "2")
    server = serve(models_config(base), "--enable_batching=true")
    expected = {1: "red", 2: "other"}
    leave, answers, failures = threading.Event(), [], []

    def ask() -> None:
        while not leave.is_set():
            try:
                answers.append(server.answer(red))
            except Exception as error:
                failures.append(error)

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        try:
            for _ in range(3):
                shutil.copytree(two_versions / "2", base / "part-2")
                (base / "part-2").rename(base / "2")
                wait_until(lambda: answers[-1:] == [SECOND])
                shutil.rmtree(base / "2")
                wait_until(lambda: answers[-1:] == [FIRST])
        finally:
            leave.set()
        for asked in asking:
            asked.result()
    assert not failures
    assert {answer for answer in answers if expected[answer[0]] != answer[1]} == set()


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


@pytest.fixture(scope="module")
def images(photograph: Callable[..., bytes]) -> list[bytes]:
    good = [photograph((200 - 10 * number, 40 + 10 * number, 40)) for number in range(15)]
    return [*good[:7], b"junk", *good[7:]]


@pytest.mark.parametrize("signature", ["serving_default", "features"])
def test_batches_of_1_8_and_16_give_the_same_answers(serve, base, tmp_path, images, signature):
    parameters = tmp_path / "batching.txt"
    parameters.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 50000 } max_enqueued_batches { value: 64 } "
        "allowed_batch_sizes: [8, 16]"
    )
    alone = serve(models_config(base, (1,)))
    batched = serve(models_config(base, (1,)), "--enable_batching=true", f"--batching_parameters_file={parameters}")
    expected = arrays(alone.predict(predict_request(signature, image_bytes=images)))
    for rows in (1, 8, 16):
        requests = [predict_request(signature, image_bytes=images[at : at + rows]) for at in range(0, 16, rows)]
        with ThreadPoolExecutor(16) as pool:
            answers = [arrays(response) for response in pool.map(batched.predict, requests)]
        for name, values in expected.items():
            np.testing.assert_array_equal(np.concatenate([answer[name] for answer in answers]), values)


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
