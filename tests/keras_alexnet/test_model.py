import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_alexnet
from keras_alexnet import VARIANTS, AlexNet, features_model
from tests.helpers import reference

random = np.random.default_rng(0)


@pytest.fixture(scope="module")
def paper():
    return AlexNet("paper")


def photographs(count, size=224):
    return random.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_the_papers_network_has_60_965_224_parameters(paper):
    assert paper.count_params() == 60_965_224


def test_the_papers_network_has_maps_of_55_27_13_and_6(paper):
    shapes = {
        name: [x.shape[1:] for x in paper.get_layer(name).output] for name in ("conv1", "conv2", "conv3", "pool5")
    }
    assert shapes == {
        "conv1": [(55, 55, 48)] * 2,
        "conv2": [(27, 27, 128)] * 2,
        "conv3": [(13, 13, 192)] * 2,
        "pool5": [(6, 6, 128)] * 2,
    }


@pytest.mark.parametrize(
    "layer, kernel, bias",
    [
        ("conv1", (11, 11, 3, 48), 0),
        ("conv2", (5, 5, 48, 128), 1),
        ("conv3", (3, 3, 256, 192), 0),
        ("conv4", (3, 3, 192, 192), 1),
        ("conv5", (3, 3, 192, 128), 1),
        ("fc6", (9216, 2048), 1),
        ("fc7", (4096, 2048), 1),
        ("fc8", (4096, 1000), 0),
    ],
)
def test_initial_values_are_the_papers(paper, layer, kernel, bias):
    weights = paper.get_layer(layer).get_weights()
    for values, biases in zip(weights[0::2], weights[1::2], strict=True):
        assert values.shape == kernel
        # Gaussian, mean 0, deviation .01, not truncated: 4 standard errors, and values beyond 2 deviations.
        assert abs(values.std() - 0.01) < 0.01 * 4 / np.sqrt(2 * values.size)
        assert abs(values.mean()) < 0.01 * 4 / np.sqrt(values.size)
        assert 0.03 < np.mean(np.abs(values) > 0.02) < 0.06
        assert np.all(biases == bias)


@pytest.mark.numeric
def test_predictions_equal_the_paper_in_float64():
    random = np.random.default_rng(2012)
    mean = random.uniform(90, 140, (256, 256, 3)).astype(np.float32)
    model = AlexNet("paper", classes=17, width=0.125, mean=mean)
    # Weights of a size that keeps all layers alive, so that an error anywhere shows in the predictions.
    for layer in model.layers:
        # The logits are of the order of one: a saturated softmax would hide errors.
        scale = 0.1 if layer.name == "fc8" else 1.0
        arrays = [random.normal(size=w.shape) * scale for w in layer.get_weights()]
        layer.set_weights([a * (0.4 if a.ndim == 1 else 1.5 / np.sqrt(a[..., 0].size)) for a in arrays])
    images = random.integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    expected = reference.paper_network(images, mean[16:240, 16:240].astype(np.float64), weights)
    assert 0.1 < expected.max() < 0.9 and expected.min() > 1e-5
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=1e-3, atol=1e-6)


def test_the_features_model_gives_fc7_after_relu():
    model = AlexNet(width=1 / 32, classes=3, init="he", classifier_activation=None)
    x = photographs(2)
    features = features_model(model).predict(x, verbose=0)
    assert features.shape == (2, 128) and features.min() == 0 and features.std() > 0.01
    kernel, bias = model.get_layer("fc8").get_weights()
    np.testing.assert_allclose(model.predict(x, verbose=0), 0.5 * features @ kernel + bias, rtol=1e-4, atol=1e-4)


def test_the_features_model_knows_every_layer_of_any_model():
    model = AlexNet(width=1 / 32, classes=3)
    assert features_model(model, "pool5").output_shape == (None, 6, 6, 8)
    assert features_model(model, "conv1").predict(photographs(1), verbose=0).min() == 0
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2)])
    assert features_model(other, "hidden").output_shape == (None, 3)
    with pytest.raises(ValueError, match=r"layer='fc9': expected one of images, mean_subtraction, conv1"):
        features_model(model, "fc9")


@pytest.mark.parametrize("variant, maps", [("paper", (6, 6, 8)), ("caffe", (6, 6, 8)), ("torchvision", (6, 6, 8))])
def test_without_top_the_model_gives_the_maps_of_the_last_pooling(variant, maps):
    full = AlexNet(variant, width=1 / 32, classes=3)
    model = AlexNet(variant, width=1 / 32, include_top=False)
    for layer in model.layers:
        layer.set_weights(full.get_layer(layer.name).get_weights() if layer.weights else [])
    x = photographs(2, model.input_shape[1])
    expected = features_model(full, "pool5").predict(x, verbose=0)
    found = model.predict(x, verbose=0)
    assert found.shape == (2, *maps)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = AlexNet(variant, width=1 / 32, include_top=False, pooling=pooling)
        pooled.set_weights(model.get_weights())
        np.testing.assert_allclose(pooled.predict(x, verbose=0), reduce(found, (1, 2)), rtol=1e-4, atol=1e-5)


def test_without_activation_the_outputs_are_logits():
    keras.utils.set_random_seed(3)
    logits = AlexNet(width=1 / 16, classes=4, classifier_activation=None)
    probabilities = AlexNet(width=1 / 16, classes=4)
    probabilities.set_weights(logits.get_weights())
    x = photographs(2)
    expected = np.exp(logits.predict(x, verbose=0).astype(np.float64))
    np.testing.assert_allclose(
        probabilities.predict(x, verbose=0), expected / expected.sum(-1, keepdims=True), rtol=1e-5
    )


def test_hes_initial_values_come_with_scaled_input():
    model = AlexNet(width=0.5, classes=5, init="he")
    kernel, bias = model.get_layer("conv2").get_weights()[:2]
    assert abs(kernel.std() - np.sqrt(2 / (5 * 5 * 24))) < 0.002 and not bias.any()
    assert model.get_layer("mean_subtraction").scale == 1 / 64


def test_a_variant_is_data():
    wide = dataclasses.replace(VARIANTS["paper"], name="mine", crop_size=67)
    assert AlexNet(wide, width=1 / 16, classes=2).input_shape == (None, 67, 67, 3)


@pytest.mark.parametrize("classes", [1, 2, 11, 1000])
def test_any_number_of_classes(classes):
    assert AlexNet(width=1 / 32, classes=classes).predict(photographs(1), verbose=0).shape == (1, classes)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"variant": "vgg"}, "variant='vgg': expected one of paper"),
        ({"variant": False}, r"variant=False: expected one of paper, .*AlexNet\(include_top=False\)"),
        ({"variant": None}, "variant=None: expected one of paper"),
        ({"weights": "imagenet"}, r"weights='imagenet': nothing is downloaded.*bvlc_alexnet.caffemodel.*\.pth"),
        ({"weights": True}, "weights=True: expected the path of a weight file"),
        ({"classes": 0}, "classes=0: expected an integer, at least 1"),
        ({"classes": "10"}, "classes='10'"),
        ({"classes": 2.5}, r"classes=2\.5"),
        ({"classes": True}, "classes=True"),
        ({"include_top": "no"}, "include_top='no': expected True or False"),
        ({"classifier_activation": "sofmax"}, "classifier_activation='sofmax': expected the name"),
        ({"classifier_activation": False}, "classifier_activation=False"),
        ({"name": 3}, "name=3: expected a string"),
        ({"width": 0}, "width=0"),
        ({"width": "1"}, "width='1': expected a positive number"),
        ({"width": float("nan")}, "width=nan"),
        ({"init": "xavier"}, "init='xavier'"),
        ({"pooling": "avg"}, "pooling='avg': expected None, unless include_top=False"),
        ({"pooling": "mean", "include_top": False}, "pooling='mean': expected 'avg', 'max' or None"),
        ({"mean": np.zeros(4)}, r"mean=array of shape \(4,\): expected \(3,\)"),
        ({"mean": "rgb"}, r"mean='rgb': expected \(3,\)"),
        ({"mean": np.zeros((100, 100, 3))}, r"mean=array of shape \(100, 100, 3\): expected"),
    ],
)
def test_wrong_arguments_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        AlexNet(**arguments)


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_saved_model_loads_in_a_new_process_that_only_imports_the_package(tmp_path):
    model = AlexNet(width=1 / 16, classes=3, mean=random.uniform(0, 255, (224, 224, 3)))
    model.compile(keras_alexnet.PaperSGD(0.02), "sparse_categorical_crossentropy")
    x = photographs(2)
    model.fit(x, np.array([0, 2]), verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys, keras, numpy, keras_alexnet\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "assert type(model.optimizer).__name__ == 'PaperSGD' and float(model.optimizer.learning_rate) > 0.0199\n"
        "numpy.save(sys.argv[1] + '/y.npy', model.predict(numpy.load(sys.argv[1] + '/x.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), rtol=1e-5)


def test_weights_of_another_network_are_refused(tmp_path):
    AlexNet(width=1 / 16, classes=3).save_weights(tmp_path / "w.weights.h5")
    AlexNet(width=1 / 16, classes=3, weights=str(tmp_path / "w.weights.h5"))
    with pytest.raises(ValueError):
        AlexNet(width=1 / 16, classes=4, weights=str(tmp_path / "w.weights.h5"))
