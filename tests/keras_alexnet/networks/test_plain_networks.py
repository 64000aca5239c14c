"""Stacks of layers: parameters, order of the layers, shapes."""

import keras
import numpy as np
import pytest

from keras_alexnet import networks
from keras_alexnet.layers import LocallyConnected2D
from tests.helpers.layer_order import words
from tests.helpers.parameters import trainable

ORDER = {
    "convnet_13pct": """
        conv5x5/1-64 relu max3/2
        conv5x5/1-64 relu max3/2
        local3x3/1-32 relu local3x3/1-32 relu flatten fc softmax""",
    "convnet_13pct_lrn": """
        conv5x5/1-64 relu lrn max3/2
        conv5x5/1-64 relu lrn max3/2
        local3x3/1-32 relu local3x3/1-32 relu flatten fc softmax""",
    "convnet_11pct": """
        conv5x5/1-64 relu max3/2 lrn
        conv5x5/1-64 relu lrn max3/2
        local3x3/1-64 relu local3x3/1-32 relu flatten fc softmax""",
    "figure1_convnet": """
        conv5x5/1-32 max3/2 relu
        conv5x5/1-32 relu average3/2
        conv5x5/1-64 relu average3/2 flatten fc softmax""",
    "nin": """
        conv5x5/1-192 relu conv1x1/1-160 relu conv1x1/1-96 relu max3/2 dropout
        conv5x5/1-192 relu conv1x1/1-192 relu conv1x1/1-192 relu max3/2 dropout
        conv3x3/1-192 relu conv1x1/1-192 relu conv1x1/1-10 relu global softmax""",
    "nin_imagenet": """
        conv11x11/4-96 relu conv1x1/1-96 relu conv1x1/1-96 relu max3/2
        conv5x5/1-256 relu conv1x1/1-256 relu conv1x1/1-256 relu max3/2
        conv3x3/1-384 relu conv1x1/1-384 relu conv1x1/1-384 relu max3/2 dropout
        conv3x3/1-1024 relu conv1x1/1-1024 relu conv1x1/1-1000 relu global softmax""",
}
PARAMETERS = {
    "convnet_13pct": 1_116_490,
    "convnet_13pct_lrn": 1_116_490,
    "convnet_11pct": 2_112_970,
    "figure1_convnet": 89_578,
    "nin": 966_986,
    "nin_imagenet": 7_595_176,
    "vgg16_cifar": 14_724_042,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_order(name):
    model = networks.create(name, classes=1000 if name.endswith("imagenet") else 10)
    assert trainable(model) == PARAMETERS[name]
    if name in ORDER:
        assert words(model) == ORDER[name].split()


def test_windows_of_pooling_that_do_not_overlap_are_an_option():
    model = networks.create("convnet_13pct", classes=10, pool_size=2)
    assert words(model) == ORDER["convnet_13pct"].replace("max3/2", "max2/2").split()
    assert trainable(model) == PARAMETERS["convnet_13pct"]
    with pytest.raises(ValueError, match=r"^pool_size=4: expected 3, or 2"):
        networks.create("convnet_13pct", classes=10, pool_size=4)


@pytest.mark.medium
def test_zfnet():
    model = networks.create("zfnet")
    assert trainable(model) == 62_357_608
    expected = "pad conv7x7/2-96 relu max3/2 lrn conv5x5/2-256 relu max3/2 lrn conv3x3/1-384 relu conv3x3/1-384 relu "
    expected += "conv3x3/1-256 relu max3/2 flatten fc relu dropout fc relu dropout fc softmax"
    assert " ".join(words(model)) == expected
    names = ("conv1", "conv1_lrn", "conv2", "conv2_lrn", "conv5", "conv5_max")
    assert [model.get_layer(name).output.shape[1] for name in names] == [110, 55, 26, 13, 13, 6]


def test_vgg16_cifar_normalizes_before_each_relu():
    expected = []
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        expected += [f"conv3x3/1-{filters}", "bn", "relu"] * count + ["max2/2"]
    assert words(networks.create("vgg16_cifar", 10)) == [*expected, "flatten", "fc", "softmax"]


def test_lrn_is_the_only_difference_of_convnet_13pct_lrn():
    configs = []
    for name in ("convnet_13pct", "convnet_13pct_lrn"):
        layers = networks.create(name, 10).layers
        configs.append([layer.get_config() for layer in layers if "lrn" not in layer.name])
    assert configs[0] == configs[1]
    lrn = networks.create("convnet_13pct_lrn", 10).get_layer("conv1_lrn")
    assert (lrn.depth_radius, lrn.bias, lrn.alpha, lrn.beta) == (2, 1, pytest.approx(2e-4), 0.75)


def test_convnets_of_the_2012_code_decay_the_upper_layers_only_and_train_biases_at_twice_the_rate():
    decays = {layer.name: 2 * float(layer.kernel_regularizer.l2) for layer in _with_decay("convnet_13pct")}
    assert decays == pytest.approx({"local3": 0.004, "local4": 0.004, "fc10": 0.004})
    decays = {layer.name: 2 * float(layer.kernel_regularizer.l2) for layer in _with_decay("convnet_11pct")}
    assert decays == pytest.approx({"local3": 0.004, "local4": 0.004, "fc10": 0.01})
    for name in ("convnet_13pct", "convnet_13pct_lrn", "convnet_11pct"):
        assert (networks.find(name).weight_decay, networks.find(name).bias_lr_multiplier) == (0, 2)


def _with_decay(name):
    layers = networks.create(name, 10).layers
    return [layer for layer in layers if getattr(layer, "kernel_regularizer", None) is not None]


def test_figure1_takes_an_activation():
    model = networks.create("figure1_convnet", 10, activation="tanh")
    assert [word for word in words(model) if word in ("relu", "tanh")] == ["tanh"] * 3
    with pytest.raises(ValueError, match="activation='tanh': convnet_13pct has no such option"):
        networks.create("convnet_13pct", 10, activation="tanh")


def test_initialization():
    keras.utils.set_random_seed(0)
    paper, he = networks.create("convnet_13pct", 10), networks.create("convnet_13pct", 10, init="he")
    kernels = [layer.get_weights()[0].std() for layer in paper.layers if layer.weights]
    np.testing.assert_allclose(kernels, [1e-4, 0.01, 0.04, 0.04, 0.01], rtol=0.05)
    deviations = [layer.get_weights()[0].std() for layer in he.layers if layer.weights]
    fan_in = np.array([3 * 25, 64 * 25, 64 * 9, 32 * 9, 32 * 36])
    np.testing.assert_allclose(deviations, np.sqrt(2 / fan_in), rtol=0.05)
    assert isinstance(he.get_layer("local3"), LocallyConnected2D)
    assert he.get_layer("preprocessing").scale == 1 / 64
    with pytest.raises(ValueError, match="init='xavier': expected 'paper' or 'he'"):
        networks.create("nin", 10, init="xavier")


def test_nin_learns_from_both_initializations():
    """The logits vary between images: no layer is dead at the start."""
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    for init in ("paper", "he"):
        keras.utils.set_random_seed(0)
        logits = networks.create("nin", 10, classifier_activation=None, init=init).predict_on_batch(images)
        assert logits.std(0).max() > 0 and (logits > 0).any(0).sum() >= 3


@pytest.mark.parametrize("name, least", [("convnet_13pct", 8), ("nin", 8), ("zfnet", 63), ("nin_imagenet", 67)])
def test_the_smallest_image(name, least):
    options = {"classes": 3}
    assert networks.create(name, image_size=least, **options).output_shape == (None, 3)
    with pytest.raises(ValueError, match=f"image_size={least - 1}: too small for {name}; expected at least {least}"):
        networks.create(name, image_size=least - 1, **options)
