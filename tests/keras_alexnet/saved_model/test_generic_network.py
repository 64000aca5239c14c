"""Exports of Keras classifiers that are not AlexNets."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_alexnet import export_model, networks
from keras_alexnet.classifier import resolve_inputs_and_outputs, with_image_size
from keras_alexnet.pretrained import load_network
from keras_alexnet.pretrained.resizing import resizing
from keras_alexnet.ten_crop import crop_probabilities
from tests.helpers.image_files import encode, photograph

pytestmark = pytest.mark.medium

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


def nested():
    """The classifier is in a model in the model."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(8, 5, 4), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(5, "softmax")]
    return keras.Sequential([keras.Input((64, 64, 3)), keras.Sequential(layers)])


def open_size():
    """As those of keras-hub: a backbone, and images of any size."""
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.layers.Conv2D(8, 5, 4, activation="relu"), keras.layers.Conv2D(8, 3)])
    images = keras.Input((None, None, 3))
    return keras.Model(images, keras.layers.Dense(5)(keras.layers.GlobalMaxPooling2D()(backbone(images))))


class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.last = keras.layers.Conv2D(8, 5, 4), keras.layers.Dense(5)

    def call(self, images):
        with tf.device("/CPU:0"):
            maps = self.first(images)
        return self.last(tf.reduce_mean(maps, [1, 2]))


class Noise(keras.layers.Layer):
    def call(self, images):
        return images + 1e-6 * keras.random.normal(tf.shape(images))


def scaled(crops):
    return crops / 255


@pytest.mark.numeric
@pytest.mark.parametrize(
    "build, preprocessing, from_logits, size, units, options",
    [
        pytest.param(mobilenet, "tf", False, 73, 256, {}, marks=pytest.mark.slow),
        pytest.param(sequential, scaled, True, 64, 8 * 13 * 13, {}, marks=pytest.mark.subprocess),
        pytest.param(nested, "tf", False, 73, 8, {}, marks=pytest.mark.slow),
        (open_size, scaled, True, 73, 8, {"image_size": 64}),
        (Subclassed, "torch", True, 64, 8, {"image_size": 56}),
    ],
    ids=["MobileNet", "Sequential", "nested", "open image size", "subclassed"],
)
def test_the_export_predicts_as_the_keras_model(
    tmp_path, request, build, preprocessing, from_logits, size, units, options
):
    model = build()
    if build is not sequential:
        # One is verified in a fresh process, as every network of the registry is in its own test.
        request.getfixturevalue("unchecked")
    path = export_model(model, tmp_path, NAMES, preprocessing=preprocessing, from_logits=from_logits, **options)
    model = with_image_size(model, options.get("image_size"))
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


@pytest.mark.parametrize("name", ["squeezenet_cifar", "lenet5", "keras.applications.MobileNet"])
@pytest.mark.parametrize("activation, gives_logits", [("softmax", False), (None, True), ("sigmoid", None)])
def test_networks_of_the_registry_need_no_arguments(name, activation, gives_logits):
    options = {"alpha": 0.25, "image_size": 32} if "MobileNet" in name else {}
    model = networks.create(name, len(NAMES), classifier_activation=activation, **options)
    if gives_logits is None:
        with pytest.raises(ValueError, match=r"^from_logits is missing"):
            resolve_inputs_and_outputs(model, None, None)
    else:
        assert resolve_inputs_and_outputs(model, None, None) == ("none", gives_logits)


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


@pytest.mark.parametrize(
    "build, arguments, message",
    [
        (open_size, {}, "^image_size is missing: "),
        (Subclassed, {}, "^image_size is missing: "),
        (sequential, {"image_size": 64}, "^image_size=64: .* has images of 56 pixels"),
        (open_size, {"image_size": 64, "from_logits": False}, "^from_logits=False: found outputs .*; expected 0 to 1"),
    ],
)
def test_arguments_that_do_not_fit_the_model_are_refused(tmp_path, build, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_model(build(), tmp_path, NAMES, **{"preprocessing": "none", "from_logits": True} | arguments)
    assert not list(tmp_path.iterdir())


def test_a_model_that_draws_random_numbers_is_refused(tmp_path):
    layers = [keras.Input((56, 56, 3)), Noise(), keras.layers.Flatten(), keras.layers.Dense(5)]
    with pytest.raises(ValueError, match="draws random numbers"):
        export_model(keras.Sequential(layers), tmp_path, NAMES, preprocessing="none", from_logits=True)
    assert not list(tmp_path.iterdir())


def test_an_exported_model_is_left_as_it_is(tmp_path, unchecked):
    model = nested()
    before = model.get_weights()
    export_model(model, tmp_path, NAMES, preprocessing="tf", from_logits=False)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    assert not any("call" in vars(layer) for layer in model.layers[0].layers)


def test_a_model_that_is_no_image_classifier_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(5)])
    with pytest.raises(ValueError, match=r"has the input shape \(None, 10\); expected \(None, S, S, 3\)"):
        export_model(model, tmp_path, NAMES, preprocessing="none", from_logits=True)
    with pytest.raises(ValueError, match=r"received a str; expected a keras\.Model"):
        export_model("model.keras", tmp_path, NAMES)


@pytest.mark.parametrize(
    "name, image_size, expected", [("resnet_20", None, 32), ("resnet_20", 24, 24), ("nin", None, 32)]
)
def test_a_network_of_the_registry_is_exported_with_its_own_resized_size(name, image_size, expected):
    model = networks.create(name, 3, **({"image_size": image_size} if image_size else {}))
    assert resizing(model) == ("shorter_side", expected)


@pytest.mark.parametrize("top_k", [0, -1, "5", 2.5, None, True])
def test_top_k_is_a_number_of_classes(tmp_path, top_k):
    model = networks.create("resnet_20", 3)
    with pytest.raises(ValueError, match=rf"^top_k={top_k!r}: expected an integer from 1"):
        export_model(model, tmp_path / "e", ["a", "b", "c"], top_k=top_k)


@pytest.mark.parametrize("names", [None, "abc", ["a", None, 3]])
def test_class_names_are_a_list_of_strings(tmp_path, names):
    with pytest.raises(ValueError, match=r"^class_names=.*: expected a list of strings"):
        export_model(networks.create("resnet_20", 3), tmp_path / "e", names)
