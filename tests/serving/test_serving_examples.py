"""Classify, Regress and MultiInference: refused for photographs as TensorFlow Serving does, answered for tf.Example."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.input_pb2 import Input
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from tests.helpers import backends
from tests.helpers.backends import BACKENDS, refusal

NAMES = ["small", "large"]
CLASSIFY, REGRESS = tf.saved_model.CLASSIFY_METHOD_NAME, tf.saved_model.REGRESS_METHOD_NAME


class OnExamples(tf.Module):
    """Calls a tf.Example small or large by its number x; and doubles x."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        large = self._numbers(inputs) / 10
        names = tf.repeat(tf.constant([NAMES]), tf.shape(inputs)[0], axis=0)
        return {"classes": names, "scores": tf.stack([1 - large, large], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def double(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": 2 * self._numbers(inputs)}

    def _numbers(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]


def examples(*numbers: float) -> Input:
    found = Input()
    for number in numbers:
        found.example_list.examples.add().features.feature["x"].float_list.value.append(number)
    return found


@pytest.fixture(scope="module", params=BACKENDS)
def running(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[backends.Running]:
    base = tmp_path_factory.mktemp("examples")
    module = OnExamples()
    served = {"serving_default": module.classify, "double": module.double}
    tf.saved_model.save(module, str(base / "part"), signatures=served)
    warmup = base / "part" / "assets.extra" / "tf_serving_warmup_requests"
    warmup.parent.mkdir()
    with tf.io.TFRecordWriter(str(warmup)) as writer:
        for log in warmup_logs():
            writer.write(log.SerializeToString())
    (base / "part").rename(base / "1")
    server = backends.start(request.param, "--model_name=alexnet", f"--model_base_path={base}")
    yield server
    server.end()


def warmup_logs() -> Iterator[PredictionLog]:
    log = PredictionLog()
    log.classify_log.request.CopyFrom(classification(examples(1)))
    yield log
    log = PredictionLog()
    log.regress_log.request.CopyFrom(regression(examples(1)))
    yield log
    log = PredictionLog()
    log.multi_inference_log.request.CopyFrom(inferences((CLASSIFY, "")))
    yield log


def classification(given: Input, signature: str = "", name: str = "alexnet") -> ClassificationRequest:
    request = ClassificationRequest(input=given)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    return request


def regression(given: Input, signature: str = "double") -> RegressionRequest:
    request = RegressionRequest(input=given)
    request.model_spec.name, request.model_spec.signature_name = "alexnet", signature
    return request


def inferences(*tasks: tuple[str, str], name: str = "alexnet") -> MultiInferenceRequest:
    request = MultiInferenceRequest(input=examples(4))
    for method, signature in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
        name = "alexnet"
    return request


def test_examples_are_classified(running):
    response = running.predictions.Classify(classification(examples(2, 9)), timeout=backends.WAIT_S)
    found = [[(c.label, round(c.score, 4)) for c in row.classes] for row in response.result.classifications]
    assert found == [[("small", 0.8), ("large", 0.2)], [("small", 0.1), ("large", 0.9)]]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("alexnet", "serving_default", 1)


def test_a_context_is_part_of_each_example(running):
    given = Input()
    given.example_list_with_context.examples.add()
    given.example_list_with_context.context.features.feature["x"].float_list.value.append(9)
    (row,) = running.predictions.Classify(classification(given), timeout=backends.WAIT_S).result.classifications
    assert round(row.classes[1].score, 4) == 0.9


def test_examples_are_regressed(running):
    response = running.predictions.Regress(regression(examples(2, 9)), timeout=backends.WAIT_S)
    assert [regressed.value for regressed in response.result.regressions] == [4, 18]


def test_several_signatures_answer_about_the_same_examples(running):
    request = inferences((CLASSIFY, ""), (REGRESS, "double"))
    first, second = running.predictions.MultiInference(request, timeout=backends.WAIT_S).results
    assert first.classification_result.classifications[0].classes[0].label == "small"
    assert second.regression_result.regressions[0].value == 8
    assert (first.model_spec.version.value, second.model_spec.signature_name) == (1, "double")


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("Classify", classification(Input()), "INVALID_ARGUMENT"),
        ("Classify", classification(examples(1), "nosuch"), "INVALID_ARGUMENT"),
        ("Classify", classification(examples(1), "double"), "FAILED_PRECONDITION"),
        ("Classify", classification(examples(1), name="resnet"), "NOT_FOUND"),
        ("Classify", classification(examples(1), name=""), "INVALID_ARGUMENT"),
        ("Regress", regression(examples(1), ""), "INVALID_ARGUMENT"),
        ("MultiInference", inferences(), "INVALID_ARGUMENT"),
        ("MultiInference", inferences((CLASSIFY, ""), (CLASSIFY, "")), "INVALID_ARGUMENT"),
        ("MultiInference", inferences((tf.saved_model.PREDICT_METHOD_NAME, "")), "UNIMPLEMENTED"),
    ],
)
def test_what_does_not_fit_is_refused(running, method, request_, code):
    assert refusal(lambda: getattr(running.predictions, method)(request_, timeout=backends.WAIT_S))[0] == code


def test_tasks_of_two_models_are_refused(running):
    request = inferences((CLASSIFY, ""), (REGRESS, "double"))
    request.tasks[1].model_spec.name = "resnet"
    assert refusal(lambda: running.predictions.MultiInference(request))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("signature", ["serving_default", "features", "images"])
def test_signatures_for_photographs_refuse_examples(
    start_server: Callable, model_base: Path, tmp_path: Path, backend: str, signature: str
):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "1").symlink_to(model_base / "1")
    server = start_server(backend, "--model_name=alexnet", f"--model_base_path={tmp_path / 'models'}")
    refusals = {
        refusal(lambda: server.predictions.Classify(classification(examples(1), signature)))[0],
        refusal(lambda: server.predictions.Regress(regression(examples(1), signature)))[0],
        refusal(lambda: server.predictions.MultiInference(inferences((CLASSIFY, signature))))[0],
    }
    assert refusals <= {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}
