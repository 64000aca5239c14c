import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import (
    LocalResponseNormalization,
    MeanSubtraction,
    OverlappingMaxPool,
    TowerConv2D,
    TowerDense,
    TowerDropout,
)
from tests.helpers import reference

pytestmark = pytest.mark.numeric

random = np.random.default_rng(0)


def maps(*shape, scale=30.0):
    return (random.normal(size=shape) * scale).astype(np.float32)


def test_response_normalization_is_the_papers_formula_and_stays_in_its_tower():
    towers = [maps(2, 4, 5, 7), maps(2, 4, 5, 7)]
    for got, values in zip(LocalResponseNormalization()(towers), towers, strict=True):
        np.testing.assert_allclose(got, reference.response_normalization(values), rtol=1e-5)
    # At this scale the sum matters: a wrong alpha or n could not pass.
    assert np.abs(reference.response_normalization(towers[0], alpha=2e-5) / np.asarray(got) - 1).max() > 0.05


def test_response_normalization_is_computed_in_float32_under_a_16_bit_policy():
    layer = LocalResponseNormalization(dtype="mixed_bfloat16")
    values = maps(1, 3, 3, 8)
    (got,) = layer([values])
    assert got.dtype == "bfloat16"
    np.testing.assert_allclose(keras.ops.cast(got, "float32"), reference.response_normalization(values), rtol=2e-2)


@pytest.mark.parametrize("stride, padding", [(1, (1, 1, 1, 1)), (4, (0, 3, 0, 3)), (2, (0, 0, 0, 0))])
def test_convolution_that_reads_its_own_tower_is_one_convolution_a_tower(stride, padding):
    layer = TowerConv2D(6, 5, stride, padding, towers=2, connectivity="grouped", bias_initializer="normal")
    towers = [maps(2, 12, 12, 3), maps(2, 12, 12, 3)]
    outputs = layer(towers)
    kernel_0, bias_0, kernel_1, bias_1 = layer.get_weights()
    assert kernel_0.shape == (5, 5, 3, 3)
    for got, x, k, b in zip(outputs, towers, (kernel_0, kernel_1), (bias_0, bias_1), strict=True):
        np.testing.assert_allclose(got, reference.convolution(x, k, b, stride, padding), atol=5e-4)


def test_convolution_that_reads_all_towers_sees_them_concatenated():
    layer = TowerConv2D(8, 3, towers=2, connectivity="full")
    towers = [maps(1, 6, 6, 3), maps(1, 6, 6, 3)]
    outputs = layer(towers)
    assert layer.get_weights()[0].shape == (3, 3, 6, 4)
    both = np.concatenate(towers, -1)
    for index, got in enumerate(outputs):
        kernel, bias = layer.get_weights()[2 * index : 2 * index + 2]
        np.testing.assert_allclose(got, reference.convolution(both, kernel, bias), atol=5e-4)


def test_dense_rows_are_in_tower_height_width_channel_order():
    layer = TowerDense(10, towers=2, connectivity="full")
    towers = [maps(3, 2, 4, 5), maps(3, 2, 4, 5)]
    outputs = layer(towers)
    rows = np.array(
        [[x[n, y, z, c] for x in towers for y in range(2) for z in range(4) for c in range(5)] for n in range(3)]
    )
    for index, got in enumerate(outputs):
        kernel, bias = layer.get_weights()[2 * index : 2 * index + 2]
        np.testing.assert_allclose(got, rows.astype(np.float64) @ kernel + bias, atol=1e-3)


@pytest.mark.numeric
def test_gradients_of_dense_layers_do_not_depend_on_the_routine_for_training():
    random = np.random.default_rng(0)
    rows, upstream = (tf.constant(random.normal(size=size), tf.float32) for size in ((7, 40), (7, 6)))
    dense = TowerDense(6, towers=1)
    dense.build((7, 40))

    def gradients(training):
        with tf.GradientTape() as tape:
            tape.watch(rows)
            outputs = dense(rows, training=training)
        weights = [weight.value for weight in dense.trainable_variables]
        return tape.gradient(outputs, [rows, *weights], upstream)

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    # What is exported is a plain product.
    graph = tf.function(lambda: dense(rows, training=False)).get_concrete_function().graph
    assert {"MatMul", "BiasAdd"} <= {operation.type for operation in graph.get_operations()}
    assert "IdentityN" not in {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("mean", [[1.5, 2.0, 3.0], np.arange(4 * 5 * 3).reshape(4, 5, 3) / 7])
@pytest.mark.parametrize("scale", [1.0, 1 / 64, (0.5, 1.0, 2.0)])
def test_mean_subtraction_row_by_row_is_the_plain_arithmetic(mean, scale):
    images = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, 3)).astype(np.float32)
    expected = (images - np.asarray(mean, np.float32)) * np.asarray(scale, np.float32)
    np.testing.assert_array_equal(MeanSubtraction(mean, scale)(images), expected)
    np.testing.assert_array_equal(MeanSubtraction(mean, scale)(images[0]), expected[0])


def test_towers_start_with_different_values():
    layer = TowerConv2D(8, 3, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01))
    layer.build([(None, 6, 6, 3)] * 2)
    assert np.abs(layer.get_weights()[0] - layer.get_weights()[2]).max() > 1e-3


def test_pooling_windows_overlap_and_are_not_padded():
    towers = [maps(2, 13, 13, 3), maps(2, 13, 13, 3)]
    for got, values in zip(OverlappingMaxPool()(towers), towers, strict=True):
        assert got.shape == (2, 6, 6, 3)
        np.testing.assert_array_equal(got, reference.max_pool(values))


def test_mean_subtraction_survives_its_config_to_the_last_bit():
    mean = random.uniform(0, 255, (8, 8, 3)).astype(np.float32)
    layer = MeanSubtraction.from_config(MeanSubtraction(mean, 1 / 64).get_config())
    images = random.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(layer(images), (images.astype(np.float32) - mean) / 64)


def test_dropout_as_printed_masks_in_training_and_halves_at_test_time():
    layer = TowerDropout(0.5, seed=1)
    ones = np.ones((50, 400), np.float32)
    first, second = (np.asarray(x) for x in layer([ones, ones], training=True))
    assert set(np.unique(first)) == {0.0, 1.0}
    # 20,000 draws: five standard deviations are 0.018.
    assert abs(first.mean() - 0.5) < 0.018 and abs(second.mean() - 0.5) < 0.018
    assert np.mean(first == second) < 0.6, "both towers drew the same mask"
    assert np.mean(first == np.asarray(layer([ones, ones], training=True)[0])) < 0.6, "two steps drew the same mask"
    np.testing.assert_array_equal(layer([ones * 3, ones], training=False)[0], ones * 1.5)


def test_inverted_dropout_rescales_in_training_only():
    layer = TowerDropout(0.25, rescale="training", seed=1)
    ones = np.ones((10, 100), np.float32)
    (masked,) = layer([ones], training=True)
    assert set(np.unique(masked)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_array_equal(layer([ones], training=False)[0], ones)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: TowerConv2D(7, 3, towers=2, name="c"), "c: towers=2: expected a divisor of the 7 outputs"),
        (lambda: TowerDense(8, connectivity="some", name="d"), "d: connectivity='some'"),
        (lambda: TowerDropout(1.0, name="e"), "e: rate=1.0"),
        (lambda: TowerDropout(0.5, rescale="never", name="f"), "f: rescale='never'"),
    ],
)
def test_impossible_arguments_are_named(make, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        make()


def test_a_single_tensor_counts_as_one_tower():
    x = maps(2, 12, 12, 4)
    np.testing.assert_allclose(LocalResponseNormalization()(x), reference.response_normalization(x), rtol=1e-5)
    np.testing.assert_array_equal(OverlappingMaxPool()(x), reference.max_pool(x))
    np.testing.assert_array_equal(TowerDropout()(x, training=False), x / 2)
    assert TowerDropout()(x, training=True).shape == x.shape
    convolution, dense = TowerConv2D(6, 3, towers=2, connectivity="full"), TowerDense(5, towers=1)
    outputs = convolution(x)
    kernel, bias = convolution.get_weights()[2:]
    np.testing.assert_allclose(outputs[1], reference.convolution(x, kernel, bias), atol=5e-4)
    assert tuple(dense(x).shape) == (2, 5)


@pytest.mark.parametrize("size, strides", [(3, 2), (2, 2), (5, 3), (3, 1)])
@pytest.mark.parametrize("side", [5, 6, 7, 8])
def test_an_overhanging_window_covers_the_pixels_that_exist(size, strides, side):
    maps = np.random.default_rng(side).normal(size=(2, side, side + 1, 3)).astype(np.float32)
    rows, columns = (-(-(length - size) // strides) + 1 for length in (side, side + 1))
    expected = [
        [maps[:, y : y + size, x : x + size].max((1, 2)) for x in range(0, columns * strides, strides)]
        for y in range(0, rows * strides, strides)
    ]
    layer = OverlappingMaxPool(size, strides, overhang=True)
    np.testing.assert_array_equal(layer(maps), np.moveaxis(expected, 2, 0))
