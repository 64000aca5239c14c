import keras
import numpy as np
import pytest

from keras_alexnet import AlexNet
from keras_alexnet.layers.locally_connected import LocallyConnected2D
from keras_alexnet.visualize import trace

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def alexnet() -> keras.Model:
    return AlexNet(width=1 / 32, classes=4)


def nested() -> keras.Model:
    """A model in a model, whose first convolution is not among the outer layers."""
    inner = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, strides=2), keras.layers.ReLU()])
    layers = [inner, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((16, 16, 3)), *layers], name="outer")


def test_the_kernels_of_a_tower_network_are_its_own(alexnet):
    found = trace.first_convolution(alexnet)
    expected = alexnet.get_layer("conv1").kernels
    assert len(found) == 2 and all(np.array_equal(a, b.numpy()) for a, b in zip(found, expected, strict=True))


def test_kernels_of_networks_that_read_bgr_are_shown_as_rgb():
    model = nested()
    kernel = model.layers[0].layers[0].kernel.numpy()
    (rgb,) = trace.first_convolution(model, "none")
    (bgr,) = trace.first_convolution(model, "caffe")
    assert np.array_equal(rgb, kernel) and np.array_equal(bgr, kernel[:, :, ::-1])


def test_a_network_without_a_convolution_of_rgb_is_refused():
    dense = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="found no convolution"):
        trace.first_convolution(dense)
    images = keras.Input((4, 4, 3))
    many = keras.layers.Conv2D(2, 1)(keras.layers.Concatenate()([images, images]))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(many)))
    with pytest.raises(ValueError, match="reads 6 channels"):
        trace.first_convolution(model)


def test_the_blocks_are_the_layers_with_weights(alexnet):
    blocks = {block.name: block for block in trace.blocks(alexnet)}
    assert list(blocks) == ["image", *(f"conv{n}" for n in range(1, 6)), "fc6", "fc7", "fc8"]
    conv1, conv2, fc8 = blocks["conv1"], blocks["conv2"], blocks["fc8"]
    assert (conv1.towers, conv1.shape, conv1.kernel, conv1.strides) == (2, (55, 55, 2), (11, 11), 4)
    assert (conv1.connectivity, conv2.connectivity, conv2.after) == ("full", "grouped", "LRN, max pooling")
    assert (fc8.towers, fc8.shape, fc8.kernel) == (1, (4,), None)


def test_nested_models_have_blocks():
    image, conv, dense = trace.blocks(nested())
    assert image.shape == (16, 16, 3) and conv.shape == (7, 7, 4) and conv.strides == 2 and dense.shape == (3,)
    assert conv.after == "global average pooling"


def test_locally_connected_layers_have_the_kernels_of_their_windows():
    layers = [LocallyConnected2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    _, local, dense = trace.blocks(keras.Sequential([keras.Input((6, 6, 3)), *layers]))
    assert (local.shape, local.kernel, dense.kernel) == ((6, 6, 4), (3, 3), None)


def test_activations_are_those_after_the_activation(alexnet):
    crop = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    calls = trace.trace(alexnet, crop)
    found = trace.activations(calls)
    assert list(found) == [*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7"]
    assert found["conv1"].shape == (55, 55, 4) and found["fc7"].shape == (128,)
    assert min(values.min() for values in found.values()) >= 0
    assert (trace.activations(calls, "conv1")["conv1"] == found["conv1"]).all()
    with pytest.raises(ValueError, match=r"^layer=conv9: expected one of .*conv1"):
        trace.activations(calls, "conv9")


def test_of_many_layers_some_are_chosen():
    layers = [keras.layers.Conv2D(2, 3, padding="same", strides=1 + (n == 5), name=f"c{n}") for n in range(10)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(2)])
    calls = trace.trace(model, np.zeros((1, 8, 8, 3), np.float32))
    assert list(trace.activations(calls, most=4)) == ["c4", "c9"]
