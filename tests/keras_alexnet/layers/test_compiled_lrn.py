"""LRN as it is compiled for training, against TensorFlow's kernel and NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from keras_alexnet.layers import LocalResponseNormalization
from tests.helpers import reference

pytestmark = [pytest.mark.numeric, pytest.mark.medium]

VALUES = np.random.default_rng(0).normal(size=(2, 4, 5, 7)).astype(np.float32) * 30


def outputs_and_gradient(layer, values, training):
    values = tf.cast(values, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(values)
        outputs = layer(values, training=training)
        # A gradient that differs between the outputs.
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * np.linspace(1, 2, VALUES.size).reshape(VALUES.shape))
    return outputs, tape.gradient(loss, values)


def compiled_functions(function, *arguments):
    """Whether XLA compiles part of the graph of `function`."""
    graph = tf.function(function).get_concrete_function(*arguments).graph.as_graph_def()
    return "_XlaMustCompile" in str(graph)


@pytest.mark.parametrize(
    "constants", [{}, {"bias": 1.0, "alpha": 2e-5}, {"beta": 0.6, "depth_radius": 1}, {"depth_radius": 9}]
)
def test_values_and_gradients_equal_those_of_tensorflows_kernel(constants):
    layer = LocalResponseNormalization(**constants)
    outputs, gradient = outputs_and_gradient(layer, VALUES, True)
    expected, expected_gradient = outputs_and_gradient(layer, VALUES, False)
    np.testing.assert_allclose(outputs, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_values_equal_the_papers_formula():
    np.testing.assert_allclose(
        LocalResponseNormalization()(VALUES, training=True), reference.response_normalization(VALUES), rtol=2e-6
    )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_16_bit_maps_are_normalized_in_float32(dtype):
    layer = LocalResponseNormalization(dtype=dtype)
    for found, expected in zip(
        outputs_and_gradient(layer, VALUES, True), outputs_and_gradient(layer, VALUES, False), strict=True
    ):
        assert found.dtype == expected.dtype == layer.compute_dtype
        np.testing.assert_allclose(tf.cast(found, "float32"), tf.cast(expected, "float32"), rtol=1e-2, atol=1e-3)


def test_the_gradient_has_a_gradient():
    layer, maps = LocalResponseNormalization(), tf.constant(VALUES)

    def penalty(training):
        with tf.GradientTape() as outer:
            outer.watch(maps)
            with tf.GradientTape() as inner:
                inner.watch(maps)
                loss = tf.reduce_sum(layer(maps, training=training) ** 2)
            slope = tf.reduce_sum(inner.gradient(loss, maps) ** 2)
        return outer.gradient(slope, maps)

    # TensorFlow's kernel has no second gradient to compare with: central differences along one direction.
    direction = np.random.default_rng(1).normal(size=VALUES.shape)

    def slope_at(values):
        values = tf.constant(values, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(layer(values, training=True) ** 2)
        return np.sum(np.asarray(tape.gradient(loss, values), np.float64) ** 2)

    step = 1e-2
    expected = (slope_at(VALUES + step * direction) - slope_at(VALUES - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(penalty(True) * direction), expected, rtol=2e-2)


def test_only_training_is_compiled_and_only_without_a_strategy():
    layer, maps = LocalResponseNormalization(), tf.constant(VALUES)
    assert compiled_functions(lambda maps: layer(maps, training=True), maps)
    assert not compiled_functions(lambda maps: layer(maps, training=False), maps)
    assert not compiled_functions(lambda maps: layer(maps), maps)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        assert not compiled_functions(lambda maps: layer(maps, training=True), maps)


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_a_model_that_keras_exports_does_not_need_xla(tmp_path):
    inputs = keras.Input((4, 5, 7))
    model = keras.Model(inputs, LocalResponseNormalization()(inputs))
    model.compile("sgd", "mse")
    model.train_on_batch(VALUES, VALUES)
    model.export(tmp_path / "export", verbose=False)
    saved = SavedModel.FromString((tmp_path / "export" / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    assert functions and not any(function.attr["_XlaMustCompile"].b for function in functions)
