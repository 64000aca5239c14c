"""Networks are found by name, take their own options only, and read pixel values 0..255."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_alexnet import VARIANTS, AlexNet, networks
from keras_alexnet.networks.keras_applications import CONSTRUCTORS

MOBILENET = "keras.applications.MobileNet"


def images(size, count=2):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def test_every_variant_and_every_constructor_of_keras_applications_has_a_name():
    in_keras = [name for name in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, name))]
    assert sorted(CONSTRUCTORS) == sorted(in_keras)
    assert {*VARIANTS, *(f"keras.applications.{name}" for name in CONSTRUCTORS)} < set(networks.names())
    assert all(networks.find(name).name == name for name in networks.names())


@pytest.mark.subprocess
def test_names_need_neither_tensorflow_nor_keras():
    # The parent package is replaced: what it imports is not this test's business.
    program = (
        "import sys, types; package = types.ModuleType('keras_alexnet'); package.__path__ = [sys.argv[1]]; "
        "sys.modules['keras_alexnet'] = package; from keras_alexnet import networks; assert networks.names(); "
        "assert networks.find('paper'); assert not {'tensorflow', 'keras', 'numpy'} & sys.modules.keys()"
    )
    folder = networks.__path__[0].rpartition("networks")[0]
    subprocess.run([sys.executable, "-c", program, folder], check=True)


@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_options_are_keywords_of_the_constructor(constructor):
    common = {"include_top", "include_preprocessing", "weights", "input_tensor", "input_shape", "pooling", "classes"}
    common |= {"classifier_activation", "name"}
    keywords = inspect.signature(getattr(keras.applications, constructor)).parameters.keys()
    assert set(networks.find(f"keras.applications.{constructor}").options) == keywords - common


@pytest.mark.parametrize(
    "name, says",
    [
        ("papier", r"expected one of paper, .*keras\.applications\.<constructor>, .*package\.module:function$"),
        ("keras.applications.VGG17", r"expected keras\.applications\.<constructor>, one of .*VGG16, VGG19, Xception$"),
    ],
)
def test_an_unknown_network_is_refused_with_the_names_that_exist(name, says):
    with pytest.raises(ValueError, match=f"^network={name}: {says}"):
        networks.create(name)


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("paper", {"alpha": 0.5}, r"alpha=0.5: paper has no such option; it accepts width, init, mean"),
        (MOBILENET, {"mean": None}, r"mean=None: .*MobileNet has no such option; it accepts alpha, depth_multiplier"),
        ("keras.applications.VGG16", {"width": 2}, r"it accepts none"),
        ("paper", {"classes": 0}, r"classes=0: expected an integer, at least 1"),
        ("paper", {"image_size": -1}, r"image_size=-1: expected an integer, at least 1"),
        ("paper", {"image_size": 63}, r"image_size=63: too small for paper; expected at least 64"),
        ("caffe", {"image_size": 4}, r"image_size=4: too small for caffe; expected at least 67"),
        (5, {}, r"network=5: expected paper, resnet_20 or another name"),
        ("resnet_20", {"classes": "10"}, r"classes='10': expected an integer, at least 1"),
        ("resnet_20", {"image_size": 32.5}, r"image_size=32.5: expected an integer, at least 1"),
        ("resnet_20", {"classifier_activation": "foo"}, r"classifier_activation='foo': expected the name of a Keras"),
        ("resnet_20", {"width": "a"}, r"network=resnet_20: cannot be built with these arguments: "),
        ("densenet_40_12", {"dropout": 2}, r"network=densenet_40_12: cannot be built .*rate=2: expected 0 <= rate < 1"),
        ("keras.applications.VGG16", {"image_size": 8}, r"network=.*VGG16: cannot be built .*at least 32x32"),
    ],
)
def test_what_a_network_does_not_accept_is_refused(name, options, says):
    with pytest.raises(ValueError, match=says):
        networks.create(name, **options)


def test_alexnet_is_the_same_by_name_and_by_its_constructor():
    mean = np.full((256, 256, 3), 100, np.float32)
    arguments = {"classes": 5, "classifier_activation": None, "width": 1 / 32, "init": "he", "mean": mean}
    keras.utils.set_random_seed(1)
    expected = AlexNet("caffe", **arguments)
    keras.utils.set_random_seed(1)
    model = networks.create("caffe", **arguments)
    assert model.name == expected.name
    assert [layer.name for layer in model.layers] == [layer.name for layer in expected.layers]
    np.testing.assert_array_equal(model.predict_on_batch(images(227)), expected.predict_on_batch(images(227)))


def test_alexnet_takes_other_image_sizes():
    model = networks.create("paper", classes=3, image_size=128, width=1 / 32)
    assert model.predict_on_batch(images(128)).shape == (2, 3)


@pytest.mark.parametrize("name", ["paper", "nin", "resnet_20", "densenet_40_12", "squeezenet_cifar", MOBILENET])
def test_images_are_channels_last_whatever_keras_is_configured_to(name):
    size = None if name in VARIANTS else 32
    options = {"width": 1 / 32} if name in VARIANTS else {}

    def outputs():
        keras.utils.set_random_seed(1)
        model = networks.create(name, 3, size, **options)
        return model(images(model.input_shape[1])).numpy()

    expected = outputs()
    keras.config.set_image_data_format("channels_first")
    try:
        np.testing.assert_array_equal(outputs(), expected)
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    "name, module",
    [
        ("MobileNet", keras.applications.mobilenet),
        ("VGG16", keras.applications.vgg16),
        ("DenseNet121", keras.applications.densenet),
    ],
)
def test_the_preprocessing_is_that_of_keras_applications(name, module):
    """One network for each mode: tf, caffe, torch."""
    model = networks.create(f"keras.applications.{name}", classes=3, image_size=32)
    preprocessing = [step for step in model.operations if step.name == "preprocessing" or "flip" in step.name]
    inside = keras.Model(model.input, preprocessing[-1].output)
    expected = module.preprocess_input(images(32))
    np.testing.assert_allclose(inside.predict_on_batch(images(32)), expected, atol=1e-4)


@pytest.mark.slow
def test_mobilenet_equals_the_constructors_model_behind_its_preprocessing(tmp_path):
    keras.utils.set_random_seed(1)
    plain = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, classes=4)
    model = networks.create(MOBILENET, classes=4, image_size=64, alpha=0.25)
    model.set_weights(plain.get_weights())
    expected = plain.predict_on_batch(keras.applications.mobilenet.preprocess_input(images(64)))
    np.testing.assert_allclose(model.predict_on_batch(images(64)), expected, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(images(64)), expected, atol=1e-6)


@pytest.mark.medium
def test_logits_and_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = networks.create(MOBILENET, 3, 32, classifier_activation=None, alpha=0.25)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.outputs[0].dtype == "float32" and model.layers[2].compute_dtype == "bfloat16"
    assert model.predict_on_batch(images(32)).min() < 0


FACTORY = """
import keras

def small(classes, image_size=48, classifier_activation="softmax", units=8):
    images = keras.Input((image_size, image_size, 3))
    features = keras.layers.Dense(units)(keras.layers.GlobalAveragePooling2D()(images))
    outputs = [keras.layers.Dense(classes, activation=classifier_activation)(features) for _ in range(2)]
    return keras.Model(images, outputs)

def wrong_classes(classes, image_size, classifier_activation):
    return small(classes + 1, image_size, classifier_activation)

def no_model(classes, image_size, classifier_activation):
    return 3

def other_signature(x):
    return None

not_callable = 3
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "users_networks.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    yield "users_networks"
    sys.modules.pop("users_networks", None)


def test_a_users_factory_is_a_network(factory):
    network = networks.find(f"{factory}:small")
    assert (network.image_size, network.options) == (48, ("units",))
    assert len(network.build(3, 48, None).outputs) == 2
    model = networks.create(f"{factory}:small", classes=3, units=5)
    assert model.predict_on_batch(images(48)).shape == (2, 3)


@pytest.mark.parametrize(
    "name, says",
    [
        ("no_such_module:small", "No module named 'no_such_module'"),
        ("users_networks:none", "no attribute 'none'; expected package.module:function"),
        ("users_networks:", "expected package.module:function"),
        (":small", "expected package.module:function"),
        ("users_networks:not_callable", "the parameters classes, image_size, classifier_activation"),
        ("users_networks:other_signature", "the parameters classes, image_size, classifier_activation"),
        ("users_networks:wrong_classes", r"\(None, 4\); expected \(None, 3\)"),
        ("users_networks:no_model", "it built a int; expected a keras.Model"),
    ],
)
def test_what_is_no_factory_is_refused(factory, name, says):
    with pytest.raises(ValueError, match=f"^network={name}: .*{says}"):
        networks.create(name, classes=3)


def open_options(classes, image_size=32, classifier_activation="softmax", *, width=1.0, **options):
    """A user's function that takes any keyword."""


def test_the_options_of_a_users_function_are_its_named_parameters():
    assert networks.find(f"{__name__}:open_options").options == ("width",)
