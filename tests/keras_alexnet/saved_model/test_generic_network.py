"""Exports of Keras classifiers that are not AlexNets."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_alexnet import export_model
from keras_alexnet.pretrained import load_network
from keras_alexnet.ten_crop import crop_probabilities
from tests.helpers.image_files import encode, photograph

NAMES = list("abcde")
RANDOM_OPS = ("Random", "Multinomial", "Dropout")


def mobilenet():
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNet(weights=None, input_shape=(64, 64, 3), classes=5, alpha=0.25)


def sequential():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((56, 56, 3)),
            layers.RandomFlip(),
            layers.Conv2D(8, 5, 4, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5),
        ]
    )


def scaled(crops):
    return crops / 255


@pytest.mark.numeric
@pytest.mark.parametrize(
    "build, preprocessing, from_logits, size, units",
    [
        (mobilenet, "tf", False, 73, 256),
        pytest.param(sequential, scaled, True, 64, 8 * 13 * 13, marks=pytest.mark.subprocess),
    ],
    ids=["MobileNet", "Sequential"],
)
def test_the_export_predicts_as_the_keras_model(tmp_path, request, build, preprocessing, from_logits, size, units):
    model = build()
    if build is mobilenet:
        # The test of every network verifies its export.
        request.getfixturevalue("unchecked")
    path = export_model(model, tmp_path, NAMES, preprocessing=preprocessing, from_logits=from_logits)
    network = load_network(tmp_path)
    assert network.resized_size == size and network.class_names == tuple(NAMES)

    images = np.random.default_rng(0).integers(0, 256, (9, size, size, 3)).astype(np.uint8)
    expected = crop_probabilities(model, images, from_logits=from_logits, preprocessing=preprocessing)
    found = network.signatures["images"](images=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)

    files = tf.constant([encode(photograph()), b"no image"])
    outputs = network.signatures["features"](image_bytes=files)
    assert outputs["features"].shape == (2, units) and outputs["valid"].numpy().tolist() == [True, False]
    assert not outputs["features"][1].numpy().any()
    check_graph(path)


def check_graph(path):
    """No random operation, and no device but in TensorFlow's own saver."""
    with open(f"{path}/saved_model.pb", "rb") as file:
        (meta_graph,) = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    library = meta_graph.graph_def.library.function
    functions = [f for f in library if not f.signature.name.startswith(("__inference__traced_",))]
    nodes = [node for function in functions for node in function.node_def]
    assert len(nodes) > 100 and {node.device for node in nodes} == {""}
    assert not [node.op for node in nodes if any(word in node.op for word in RANDOM_OPS)]
    assert not any(function.attr["_XlaMustCompile"].b for function in functions)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "^preprocessing is missing: .*'none', 'tf', 'torch', 'caffe'"),
        ({"preprocessing": "tf"}, "^from_logits is missing: expected False if .* returns probabilities"),
        ({"preprocessing": "imagenet", "from_logits": False}, "^preprocessing='imagenet': expected 'none', 'tf'"),
        ({"preprocessing": "tf", "from_logits": True}, "^from_logits=True: the last layer .* is a softmax"),
        ({"preprocessing": "tf", "from_logits": False, "precision": "bfloat16"}, "AlexNet only"),
    ],
)
def test_preprocessing_and_kind_of_output_are_never_guessed(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_model(mobilenet(), tmp_path, NAMES, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_no_image_classifier_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(5)])
    with pytest.raises(ValueError, match=r"has the input shape \(None, 10\); expected \(None, S, S, 3\)"):
        export_model(model, tmp_path, NAMES, preprocessing="none", from_logits=True)
    with pytest.raises(ValueError, match=r"received a str; expected a keras\.Model"):
        export_model("model.keras", tmp_path, NAMES)
