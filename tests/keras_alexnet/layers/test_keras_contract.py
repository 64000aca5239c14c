"""Keras' own layer test, on each layer, with a single tensor and with two towers."""

import keras
import numpy as np
import pytest
from keras.src import testing

from keras_alexnet import layers

MAPS = (2, 7, 7, 8)
TWO = [MAPS, MAPS]


class _LayerTest(testing.TestCase):
    """`keras.src.testing.TestCase` outside of unittest."""

    def runTest(self) -> None:  # noqa: N802 (unittest's name)
        pass


def run(layer_class: type, arguments: dict, input_shape, output_shape, **expected) -> None:
    counts = {"expected_num_trainable_weights": 0, "expected_num_non_trainable_variables": 0} | expected
    _LayerTest().run_layer_test(
        layer_class,
        init_kwargs=arguments,
        input_shape=input_shape,
        expected_output_shape=output_shape,
        supports_masking=False,
        **counts,
    )


@pytest.mark.parametrize(
    "name, arguments, shape, output",
    [
        ("LocalResponseNormalization", {}, MAPS, MAPS),
        ("MapResponseNormalization", {"size": 3}, MAPS, MAPS),
        ("OverlappingMaxPool", {}, MAPS, (2, 3, 3, 8)),
        ("OverlappingMaxPool", {"pool_size": 2, "strides": 2, "overhang": True}, MAPS, (2, 4, 4, 8)),
        ("TowerActivation", {"activation": "tanh"}, MAPS, MAPS),
        ("MeanSubtraction", {"mean": [1.0, 2.0, 3.0], "scale": 0.5}, (2, 4, 4, 3), (2, 4, 4, 3)),
    ],
)
def test_layers_without_weights(name, arguments, shape, output):
    run(getattr(layers, name), arguments, shape, output)


def test_normalization_across_all_channels():
    # Compiling a training step takes Keras' check of it most of a minute; the layer's default passes it.
    arguments = {"across": "all", "bias": 1.0}
    run(layers.LocalResponseNormalization, arguments, MAPS, MAPS, run_training_check=False)


def test_dropout():
    run(
        layers.TowerDropout,
        {"rate": 0.25, "seed": 1},
        MAPS,
        MAPS,
        expected_num_non_trainable_variables=1,
        expected_num_seed_generators=1,
    )


@pytest.mark.parametrize(
    "name, arguments, shape",
    [
        ("StochasticDepth", {"survival": 0.5}, MAPS),
        ("ShakeDrop", {"survival": 0.5, "per": "channel"}, MAPS),
        ("Swapout", {"keep": 0.5}, TWO),
        ("ShakeShake", {"draw": "bernoulli"}, TWO),
        ("DropPathJoin", {"columns": (0, 2)}, TWO),
    ],
)
def test_random_layers(name, arguments, shape):
    seeds = {"expected_num_non_trainable_variables": 1, "expected_num_seed_generators": 1}
    # Keras' training check takes no lists.
    run(getattr(layers, name), arguments | {"seed": 1}, shape, MAPS, run_training_check=shape is MAPS, **seeds)


def test_grouped_convolution():
    arguments = {"filters": 6, "kernel_size": 3, "groups": 2, "padding": "same"}
    run(layers.GroupedConv2D, arguments, MAPS, (2, 7, 7, 6), expected_num_trainable_weights=2)


def test_a_grouped_convolution_is_keras_own():
    convolution = keras.layers.Conv2D(8, 3, strides=2, groups=4)
    maps = np.random.default_rng(0).normal(size=(2, 7, 7, 8)).astype(np.float32)
    expected = convolution(maps)
    grouped = layers.GroupedConv2D.from_config(convolution.get_config())
    grouped.build(maps.shape)
    grouped.set_weights(convolution.get_weights())
    np.testing.assert_allclose(grouped(maps), expected, atol=1e-5)


@pytest.mark.parametrize("padding, side", [((0, 0, 0, 0), 5), ((1, 1, 1, 1), 7), ((0, 3, 0, 3), 8)])
def test_convolution_with_one_tower_maps_a_tensor_to_a_tensor(padding, side):
    arguments = {"filters": 6, "kernel_size": 3, "padding": padding, "towers": 1}
    run(layers.TowerConv2D, arguments, MAPS, (2, side, side, 6), expected_num_trainable_weights=2)


def test_dense_with_one_tower_maps_a_tensor_to_a_tensor():
    run(layers.TowerDense, {"units": 6, "towers": 1}, MAPS, (2, 6), expected_num_trainable_weights=2)


@pytest.mark.parametrize("connectivity, channels", [("grouped", 8), ("full", 16)])
def test_two_towers_map_a_list_to_a_list(connectivity, channels):
    layer = layers.TowerConv2D(6, 3, towers=2, connectivity=connectivity)
    assert layer.compute_output_shape(TWO) == [(2, 5, 5, 3)] * 2
    symbolic = layer([keras.KerasTensor(MAPS), keras.KerasTensor(MAPS)])
    assert [tensor.shape for tensor in symbolic] == [(2, 5, 5, 3)] * 2
    assert [kernel.shape for kernel in layer.kernels] == [(3, 3, channels, 3)] * 2


def test_a_grouped_layer_names_the_number_of_towers_that_it_needs():
    with pytest.raises(ValueError, match=r"conv2: connectivity='grouped': expected one input per tower, 2"):
        layers.TowerConv2D(6, 3, towers=2, name="conv2")(np.zeros(MAPS, np.float32))


@pytest.mark.parametrize("reads, connectivity", [("own", "grouped"), ("all", "full")])
def test_configs_of_saved_models_of_version_0_1_are_read(reads, connectivity):
    config = layers.TowerConv2D(6, 3).get_config()
    del config["connectivity"]
    layer = layers.TowerConv2D.from_config(config | {"reads": reads})
    assert layer.connectivity == connectivity
