"""LRN as it is compiled in this process, against TensorFlow's kernel and NumPy; and that no export is compiled."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from keras_alexnet import AlexNet
from keras_alexnet.distribute.compilation import never_exported
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


def is_compiled(function, *arguments):
    """Whether XLA compiles part of the graph of `function`."""
    graph = str(tf.function(function).get_concrete_function(*arguments).graph.as_graph_def())
    return "_XlaMustCompile" in graph or "_XlaCompile" in graph


def in_this_process(function):
    def marked(*arguments):
        with never_exported():
            return function(*arguments)

    return marked


CONSTANTS = [{}, {"bias": 1.0, "alpha": 2e-5}, {"beta": 0.6, "depth_radius": 1}, {"depth_radius": 9}]


@pytest.mark.parametrize("constants", CONSTANTS)
def test_values_and_gradients_equal_those_of_tensorflows_kernel(constants):
    layer = LocalResponseNormalization(**constants)
    outputs, gradient = outputs_and_gradient(layer, VALUES, True)
    expected, expected_gradient = outputs_and_gradient(layer, VALUES, False)
    np.testing.assert_allclose(outputs, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_inference_in_this_process_equals_tensorflows_kernel_for_every_batch_size(constants, dtype):
    layer = LocalResponseNormalization(**constants, dtype=dtype)
    function = tf.function(in_this_process(lambda maps: layer(maps, training=False)), reduce_retracing=True)
    # XLA compiles at the second call with a shape, and stops when shapes are many.
    for images in (2, 2, 2, 1, 1, 1, 3, 4, 5, 6, 7, 8, 2, 1):
        maps = tf.cast(np.resize(VALUES, (images, *VALUES.shape[1:])), layer.compute_dtype)
        found, expected = function(maps), layer(maps, training=False)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(
            tf.cast(found, "float32"), tf.cast(expected, "float32"), rtol=2e-6 if dtype == "float32" else 1e-2
        )


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


def test_only_what_stays_in_this_process_is_compiled_and_only_without_a_strategy():
    layer, maps = LocalResponseNormalization(), tf.constant(VALUES)
    assert is_compiled(lambda maps: layer(maps, training=True), maps)
    assert is_compiled(in_this_process(lambda maps: layer(maps)), maps)
    assert not is_compiled(lambda maps: layer(maps, training=False), maps)
    assert not is_compiled(lambda maps: layer(maps), maps)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        assert not is_compiled(lambda maps: layer(maps, training=True), maps)
        assert not is_compiled(in_this_process(lambda maps: layer(maps)), maps)


def test_a_call_outside_a_function_is_not_compiled():
    with never_exported():
        expected = LocalResponseNormalization()(VALUES)
    np.testing.assert_array_equal(expected, LocalResponseNormalization()(VALUES))


@pytest.mark.parametrize("method", ["predict", "evaluate", "predict_on_batch", "test_on_batch"])
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_the_methods_of_keras_are_compiled(method, steps_per_execution, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "keras_alexnet.layers.normalization.clustered_lrn", lambda maps, **_: seen.append(maps.graph) or maps
    )
    inputs = keras.Input((4, 5, 7))
    model = keras.Model(inputs, LocalResponseNormalization()(inputs))
    model.compile("sgd", "mse", steps_per_execution=steps_per_execution)
    getattr(model, method)(VALUES, *[VALUES] * (method in ("evaluate", "test_on_batch")))
    assert seen


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
@pytest.mark.parametrize("how", ["model.export", "tf.saved_model.save"])
def test_a_model_that_is_exported_does_not_need_xla(how, tmp_path):
    model = AlexNet(classes=2, width=0.05)
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = np.zeros((2, 224, 224, 3), np.float32), np.zeros(2)
    model.train_on_batch(images, labels)
    model.predict(images, verbose=0)
    model.evaluate(images, labels, verbose=0)
    if how == "model.export":
        model.export(tmp_path / "export", verbose=False)
    else:
        module = tf.Module()
        module.model = model
        module.serve = tf.function(
            lambda images: model(images, training=False), [tf.TensorSpec([None, 224, 224, 3], name="images")]
        )
        tf.saved_model.save(module, tmp_path / "export", signatures=module.serve)
    saved = SavedModel.FromString((tmp_path / "export" / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    nodes = [node for function in functions for node in function.node_def]
    assert any(node.op == "LRN" for node in nodes)
    assert not any(function.attr["_XlaMustCompile"].b for function in functions)
    assert not any("_XlaCompile" in node.attr for node in nodes)
