"""The embedded server answers as TensorFlow Serving does, over a real channel."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from serving import signatures as wire
from serving.server import ModelServer

TIMEOUT_S = 30


@pytest.fixture(scope="module")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def predictions(channel: grpc.Channel) -> PredictionServiceStub:
    return PredictionServiceStub(channel)


@pytest.fixture
def request_for(photograph: Callable[..., bytes]) -> Callable[..., PredictRequest]:
    def make(signature: str = "", name: str = "alexnet", **inputs: tf.Tensor | np.ndarray | list) -> PredictRequest:
        request = PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        for key, value in (inputs or {wire.INPUT_BYTES: [photograph((200, 40, 40))]}).items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        return request

    return make


def refusal(method: Callable, request: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=TIMEOUT_S)
    return caught.value.code(), caught.value.details()


def test_the_reply_names_model_default_signature_and_version(predictions, request_for):
    spec = predictions.Predict(request_for(), timeout=TIMEOUT_S).model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("alexnet", "serving_default", 1)


@pytest.mark.parametrize("signature", ["serving_default", "center_crop", "features"])
def test_answers_equal_those_of_the_model_in_process(predictions, request_for, photograph, model_base: Path, signature):
    images = [photograph((200, 40, 40)), b"junk", photograph((20, 40, 90))]
    response = predictions.Predict(request_for(signature, image_bytes=images), timeout=TIMEOUT_S)
    expected = tf.saved_model.load(str(model_base / "1")).signatures[signature](image_bytes=tf.constant(images))
    assert set(response.outputs) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tf.make_ndarray(response.outputs[name]), tensor.numpy())


def test_tensors_travel_unchanged_in_both_encodings(predictions, request_for):
    images = np.random.default_rng(0).integers(0, 250, (2, 256, 256, 3)).astype(np.uint8)
    packed = request_for("images", images=images)
    assert packed.inputs["images"].tensor_content
    listed = request_for("images", images=images)
    listed.inputs["images"].ClearField("tensor_content")
    listed.inputs["images"].int_val.extend(images.ravel().tolist())
    one, other = (predictions.Predict(request, timeout=TIMEOUT_S) for request in (packed, listed))
    assert one == other


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


def test_the_version_that_is_served_can_be_named(predictions, request_for):
    request = request_for()
    request.model_spec.version.value = 1
    assert predictions.Predict(request, timeout=TIMEOUT_S).model_spec.version.value == 1


@pytest.mark.parametrize(
    ("change", "code", "mentions"),
    [
        (lambda r: r.ClearField("model_spec"), "INVALID_ARGUMENT", "model_spec.name"),
        (lambda r: setattr(r.model_spec, "name", "resnet"), "NOT_FOUND", "resnet"),
        (lambda r: setattr(r.model_spec.version, "value", 7), "NOT_FOUND", "served versions: 1"),
        (lambda r: setattr(r.model_spec, "version_label", "stable"), "INVALID_ARGUMENT", "stable"),
        (lambda r: setattr(r.model_spec, "signature_name", "classify"), "FAILED_PRECONDITION", "center_crop"),
        (lambda r: r.inputs.clear(), "INVALID_ARGUMENT", "missing {image_bytes}"),
        (lambda r: r.inputs["more"].CopyFrom(r.inputs["image_bytes"]), "INVALID_ARGUMENT", "unknown {more}"),
        (lambda r: r.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([1.5])), "INVALID_ARGUMENT", "found float32"),
        (lambda r: setattr(r.inputs["image_bytes"], "dtype", 999), "INVALID_ARGUMENT", "unknown type 999"),
        (lambda r: r.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(b"x")), "INVALID_ARGUMENT", "shape (None,)"),
        (lambda r: r.inputs["image_bytes"].tensor_shape.dim.add(size=-5), "INVALID_ARGUMENT", "is no tensor"),
        (lambda r: r.output_filter.append("logits"), "INVALID_ARGUMENT", "labels, probabilities"),
        (lambda r: r.output_filter.extend(["labels", "labels"]), "INVALID_ARGUMENT", "duplicate"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_refused_with_its_code(predictions, request_for, change, code, mentions):
    request = request_for()
    change(request)
    found, details = refusal(predictions.Predict, request)
    assert found.name == code
    assert mentions in details


def test_a_failure_inside_the_graph_comes_with_its_own_code(predictions, request_for):
    white = np.full((1, 256, 256, 3), 255, np.uint8)
    code, details = refusal(predictions.Predict, request_for("images", images=white))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "a white corner" in details


def test_metadata_holds_every_signature_as_stored(predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "alexnet"
    response = predictions.GetModelMetadata(request, timeout=TIMEOUT_S)
    stored = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(stored)
    assert response.model_spec.version.value == 1
    assert {"serving_default", "center_crop", "images", "features"} <= set(stored.signature_def)
    images = stored.signature_def["images"].inputs["images"]
    assert images.dtype == tf.uint8.as_datatype_enum
    assert tf.TensorShape(images.tensor_shape).as_list() == [None, 256, 256, 3]


@pytest.mark.parametrize("fields", [[], ["assets"], ["signature_def", "assets"]])
def test_other_metadata_fields_are_refused(predictions, fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "alexnet"
    assert refusal(predictions.GetModelMetadata, request)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_of_an_unknown_model_is_not_found(predictions):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "resnet"
    assert refusal(predictions.GetModelMetadata, request)[0] == grpc.StatusCode.NOT_FOUND


def test_status_is_available_with_the_version(channel):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "alexnet"
    (status,) = ModelServiceStub(channel).GetModelStatus(request, timeout=TIMEOUT_S).model_version_status
    assert (status.version, status.state, status.status.error_code) == (1, 30, 0)


def test_status_of_an_unknown_model_is_not_found(channel):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "resnet"
    assert refusal(ModelServiceStub(channel).GetModelStatus, request)[0] == grpc.StatusCode.NOT_FOUND
