"""The layers of LeNet-5 against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import PartialConv2D, RadialBasisOutput, TrainableSubsampling, scaled_tanh

TABLE = [(0, 2), (1,), (0, 1, 2)]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_scaled_tanh_maps_one_to_one():
    np.testing.assert_allclose(scaled_tanh(np.array([-1.0, 0.0, 1.0, 100.0])), [-1, 0, 1, 1.7159], atol=3e-5)


def test_subsampling_sums_scales_and_shifts():
    maps, layer = normal(2, 6, 4, 3), TrainableSubsampling()
    layer.build(maps.shape)
    coefficients, biases = normal(3), normal(3) + 1
    layer.set_weights([coefficients, biases])
    sums = maps.reshape(2, 3, 2, 2, 2, 3).sum((2, 4))
    np.testing.assert_allclose(layer(maps), sums * coefficients + biases, atol=1e-5)
    assert layer.compute_output_shape(maps.shape) == sums.shape


def test_a_partial_convolution_reads_the_maps_of_its_table():
    maps, layer = normal(2, 7, 6, 3), PartialConv2D(TABLE, 3, bias_initializer="random_normal")
    layer.build(maps.shape)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (3, 3, 6)
    full, column = np.zeros((3, 3, 3, 3), np.float32), 0
    for index, read in enumerate(TABLE):
        for channel in read:
            full[:, :, channel, index] = kernel[:, :, column]
            column += 1
    expected = tf.nn.conv2d(maps, full, 1, "VALID") + bias
    np.testing.assert_allclose(layer(maps), expected, atol=1e-5)
    assert layer.compute_output_shape(maps.shape) == expected.shape


def test_a_table_of_maps_that_do_not_exist_is_refused():
    with pytest.raises(ValueError, match="expected maps below 2"):
        PartialConv2D(TABLE, 3).build((None, 7, 7, 2))


def test_the_output_is_the_negative_squared_distance():
    layer, values = RadialBasisOutput(["110", "001"]), normal(4, 3)
    layer.build(values.shape)
    codes = np.array([[1, 1, -1], [-1, -1, 1]])
    np.testing.assert_allclose(layer(values), -((values[:, None] - codes) ** 2).sum(-1), rtol=1e-5)
    assert not layer.trainable_weights and layer.centers.shape == (2, 3)


@pytest.mark.parametrize("codes", [["10", "1"], ["12", "10"], []])
def test_wrong_codes_are_refused(codes):
    with pytest.raises(ValueError, match="expected strings of 0 and 1 of the same length"):
        RadialBasisOutput(codes)
    with pytest.raises(ValueError, match="codes: expected 3 values, got 2"):
        RadialBasisOutput(["10"]).build((None, 3))


def test_they_are_saved_with_their_options(tmp_path):
    layers = [
        PartialConv2D(TABLE, 3, kernel_initializer="he_normal"),
        TrainableSubsampling(keras.initializers.RandomUniform(-1, 1)),
        keras.layers.Activation(scaled_tanh),
        keras.layers.Flatten(),
        RadialBasisOutput(["1" * 12, "01" * 6]),
    ]
    model = keras.Sequential([keras.Input((6, 6, 3)), *layers])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(normal(2, 6, 6, 3)), loaded(normal(2, 6, 6, 3)))
    assert [layer.get_config() for layer in loaded.layers] == [layer.get_config() for layer in model.layers]
