"""Predict, GetModelMetadata and GetModelStatus answer as TensorFlow Serving does, over a real channel."""

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving import signatures as wire
from serving.server import ModelServer
from tests.helpers import backends
from tests.helpers.backends import predict_request, refusal

TIMEOUT_S = backends.WAIT_S


class Served(NamedTuple):
    running: backends.Running
    folder: Path
    is_embedded: bool

    @property
    def version(self) -> int:
        return int(self.folder.name)


@pytest.fixture(scope="module", params=backends.WITH_ADDRESS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_base: Path, export: Callable
) -> Iterator[Served]:
    """A server that serves the stand-in, and the version's folder."""
    if request.param == "embedded":
        server: ModelServer = request.getfixturevalue("server")
        running = backends.Running(server.address, lambda: None)
        folder = model_base / "1"
    elif request.param == "binary":
        folder = Path(shutil.copytree(model_base / "1", tmp_path_factory.mktemp("models") / "1"))
        running = backends.start("binary", f"--model_name={backends.MODEL}", f"--model_base_path={folder.parent}")
    else:
        base = Path(backends.ADDRESS_BASE)
        folder = export(base, max((int(path.name) for path in base.glob("[0-9]*")), default=0) + 1)
        running = backends.Running(backends.ADDRESS, lambda: None)
        backends.wait_until(lambda: int(folder.name) in running.available())
    yield Served(running, folder, request.param == "embedded")
    running.end()
    if request.param == "address":
        shutil.rmtree(folder)


@pytest.mark.skipif(
    len(backends.WITH_ADDRESS) == 1, reason="no TensorFlow Serving: see tests/helpers/backends.py for how to give one"
)
def test_tensorflow_serving_itself_takes_part():
    assert set(backends.WITH_ADDRESS) & {"binary", "address"}


@pytest.fixture
def predictions(served: Served):
    return served.running.predictions


@pytest.fixture
def request_for(photograph: Callable[..., bytes]) -> Callable[..., PredictRequest]:
    def make(signature: str = "", **inputs: tf.Tensor | np.ndarray | list) -> PredictRequest:
        return predict_request(signature, **(inputs or {wire.INPUT_BYTES: [photograph((200, 40, 40))]}))

    return make


def test_the_reply_names_model_default_signature_and_version(served, predictions, request_for):
    spec = predictions.Predict(request_for(), timeout=TIMEOUT_S).model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("alexnet", "serving_default", served.version)


@pytest.mark.parametrize("signature", ["serving_default", "center_crop", "features"])
def test_answers_equal_those_of_the_model_in_process(served, predictions, request_for, photograph, signature):
    images = [photograph((200, 40, 40)), b"junk", photograph((20, 40, 90))]
    response = predictions.Predict(request_for(signature, image_bytes=images), timeout=TIMEOUT_S)
    expected = tf.saved_model.load(str(served.folder)).signatures[signature](image_bytes=tf.constant(images))
    assert set(response.outputs) == set(expected)
    for name, tensor in expected.items():
        found, wanted = tf.make_ndarray(response.outputs[name]), tensor.numpy()
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, wanted)


def test_tensors_travel_unchanged_in_both_encodings(predictions, request_for):
    images = np.random.default_rng(0).integers(0, 250, (2, 256, 256, 3)).astype(np.uint8)
    packed = request_for("images", images=images)
    assert packed.inputs["images"].tensor_content
    listed = request_for("images", images=images)
    listed.inputs["images"].ClearField("tensor_content")
    listed.inputs["images"].int_val.extend(images.ravel().tolist())
    one, other = (backends.arrays(predictions.Predict(request, timeout=TIMEOUT_S)) for request in (packed, listed))
    np.testing.assert_allclose(one["probabilities"], other["probabilities"], rtol=0, atol=1e-6)


def test_outputs_come_in_typed_fields_as_from_tensorflow_serving(predictions, request_for):
    outputs = predictions.Predict(request_for(), timeout=TIMEOUT_S).outputs
    lengths = {name: len(getattr(outputs[name], field)) for name, field in [
        ("probabilities", "float_val"), ("scores", "float_val"), ("classes", "int_val"),
        ("labels", "string_val"), ("valid", "bool_val"),
    ]}  # fmt: skip
    assert lengths == {"probabilities": 6, "scores": 5, "classes": 5, "labels": 5, "valid": 1}


def test_output_filter_picks_outputs(predictions, request_for):
    request = request_for()
    request.output_filter.extend(["labels", "scores"])
    assert set(predictions.Predict(request, timeout=TIMEOUT_S).outputs) == {"labels", "scores"}


def test_no_images_give_no_rows(predictions, request_for):
    response = predictions.Predict(request_for(image_bytes=np.zeros(0, object)), timeout=TIMEOUT_S)
    assert tf.make_ndarray(response.outputs["probabilities"]).shape == (0, 6)


def test_the_version_that_is_served_can_be_named(served, predictions, request_for):
    request = request_for()
    request.model_spec.version.value = served.version
    assert predictions.Predict(request, timeout=TIMEOUT_S).model_spec.version.value == served.version


@pytest.mark.parametrize(
    ("change", "code", "mentions"),
    [
        (lambda r: r.ClearField("model_spec"), "INVALID_ARGUMENT", "model_spec.name"),
        (lambda r: setattr(r.model_spec, "name", "resnet"), "NOT_FOUND", "resnet"),
        (lambda r: setattr(r.model_spec.version, "value", 77), "NOT_FOUND", "served versions: "),
        (lambda r: setattr(r.model_spec, "version_label", "stable"), "INVALID_ARGUMENT", "stable"),
        (lambda r: setattr(r.model_spec, "signature_name", "classify"), "FAILED_PRECONDITION", "center_crop"),
        (lambda r: r.inputs.clear(), "INVALID_ARGUMENT", "missing {image_bytes}"),
        (lambda r: r.inputs["more"].CopyFrom(r.inputs["image_bytes"]), "INVALID_ARGUMENT", "unknown {more}"),
        (lambda r: r.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([1.5])), "INVALID_ARGUMENT", "found float32"),
        (lambda r: setattr(r.inputs["image_bytes"], "dtype", 999), "INVALID_ARGUMENT", "unknown type 999"),
        (lambda r: r.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(b"x")), "INVALID_ARGUMENT", "shape (None,)"),
        (lambda r: r.inputs["image_bytes"].tensor_shape.dim.add(size=-5), "INVALID_ARGUMENT", "is not a valid tensor"),
        (lambda r: r.output_filter.append("logits"), "INVALID_ARGUMENT", "labels, probabilities"),
        (lambda r: r.output_filter.extend(["labels", "labels"]), "INVALID_ARGUMENT", "duplicate"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_refused_with_its_code(served, request_for, change, code, mentions):
    request = request_for()
    change(request)
    found, details = refusal(lambda: served.running.predict(request))
    assert found == code
    assert mentions in details or not served.is_embedded


def test_a_failure_inside_the_graph_comes_with_its_own_code(served, request_for):
    white = np.full((1, 256, 256, 3), 255, np.uint8)
    code, details = refusal(lambda: served.running.predict(request_for("images", images=white)))
    assert code == "INVALID_ARGUMENT"
    assert "a white corner" in details


def test_metadata_holds_every_signature_as_stored(served, predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "alexnet"
    response = predictions.GetModelMetadata(request, timeout=TIMEOUT_S)
    stored = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(stored)
    assert response.model_spec.version.value == served.version
    assert {"serving_default", "center_crop", "images", "features"} <= set(stored.signature_def)
    images = stored.signature_def["images"].inputs["images"]
    assert images.dtype == tf.uint8.as_datatype_enum
    assert tf.TensorShape(images.tensor_shape).as_list() == [None, 256, 256, 3]


@pytest.mark.parametrize("fields", [[], ["assets"], ["signature_def", "assets"]])
def test_other_metadata_fields_are_refused(predictions, fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "alexnet"
    assert refusal(lambda: predictions.GetModelMetadata(request))[0] == "INVALID_ARGUMENT"


def test_metadata_of_an_unknown_model_is_not_found(predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "resnet"
    assert refusal(lambda: predictions.GetModelMetadata(request))[0] == "NOT_FOUND"


def test_status_is_available_with_the_version(served):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "alexnet"
    request.model_spec.version.value = served.version
    (status,) = served.running.models.GetModelStatus(request, timeout=TIMEOUT_S).model_version_status
    assert (status.version, status.state, status.status.error_code) == (served.version, 30, 0)


@pytest.mark.parametrize(("name", "version"), [("resnet", None), ("", None), ("alexnet", 77)])
def test_status_of_what_the_server_never_had_is_not_found(served, name, version):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version:
        request.model_spec.version.value = version
    assert refusal(lambda: served.running.models.GetModelStatus(request))[0] == "NOT_FOUND"


def test_status_without_a_model_is_refused(served):
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refusal(lambda: served.running.models.GetModelStatus(request))[0] == "INVALID_ARGUMENT"


def test_two_hundred_clients_at_once_are_all_answered(served, request_for):
    request = request_for()
    expected = backends.arrays(served.running.predict(request))["probabilities"]
    channels = [
        grpc.insecure_channel(served.running.address, (("grpc.use_local_subchannel_pool", 1),)) for _ in range(20)
    ]
    try:
        stubs = [backends.PredictionServiceStub(channel) for channel in channels]
        answers = [stubs[number % 20].Predict.future(request, timeout=TIMEOUT_S) for number in range(200)]
        for answer in answers:
            np.testing.assert_allclose(backends.arrays(answer.result())["probabilities"], expected, rtol=0, atol=1e-6)
    finally:
        for channel in channels:
            channel.close()


def test_what_the_embedded_server_does_not_do_is_refused_in_one_sentence(server):
    running = backends.Running(server.address, lambda: None)
    methods = {
        running.predictions.Classify: ClassificationRequest(),
        running.predictions.Regress: RegressionRequest(),
        running.predictions.MultiInference: MultiInferenceRequest(),
        running.models.HandleReloadConfigRequest: ReloadConfigRequest(),
    }
    for method, request in methods.items():
        code, details = refusal(functools.partial(method, request, timeout=TIMEOUT_S))
        assert code == "UNIMPLEMENTED"
        assert details.startswith("This server ") and details.endswith("TensorFlow Serving.")
    running.end()
