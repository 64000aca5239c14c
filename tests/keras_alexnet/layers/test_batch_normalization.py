"""Batch normalization in one operation, against NumPy float64 and against Keras' own layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import layers
from tests.helpers.processor import needs_bfloat16

pytestmark = pytest.mark.numeric

MOMENTUM, EPSILON = 0.75, 1e-3
RANDOM = np.random.default_rng(0)
MAPS = RANDOM.normal(3, 2, (6, 5, 4, 8)).astype(np.float32)
COTANGENT = RANDOM.normal(size=MAPS.shape).astype(np.float32)


def built(layer_class=layers.BatchNormalization, shape=MAPS.shape, **arguments):
    layer = layer_class(momentum=MOMENTUM, epsilon=EPSILON, **arguments)
    layer.build(shape)
    random = np.random.default_rng(1)
    layer.set_weights([random.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    return layer


def trained(layer, maps=MAPS, **call):
    """Outputs, and the gradients of the maps and of the trainable weights, of a call in training."""
    maps = tf.cast(maps, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        outputs = layer(maps, training=True, **call)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * COTANGENT.reshape(maps.shape))
    gradients = tape.gradient(loss, [maps, *(weight.value for weight in layer.trainable_weights)])
    return [tf.cast(value, tf.float32).numpy() for value in (outputs, *gradients)]


def operations(layer, shape=MAPS.shape, **call):
    function = tf.function(lambda maps: layer(maps, **call))
    graph = function.get_concrete_function(tf.TensorSpec(shape, layer.compute_dtype)).graph
    return {operation.type for operation in graph.get_operations()}


def close(values, expected, tolerance=2e-5):
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=0, atol=tolerance * np.abs(other).max())


def test_a_training_step_against_the_definition():
    layer = built()
    gamma, beta, moving_mean, moving_variance = (weight.astype(np.float64) for weight in layer.get_weights())
    maps, cotangent, axes = MAPS.astype(np.float64), COTANGENT.astype(np.float64), (0, 1, 2)
    mean, variance = maps.mean(axes), maps.var(axes)
    deviation = np.sqrt(variance + EPSILON)
    normalized = (maps - mean) / deviation
    to_gamma, to_beta = (cotangent * normalized).sum(axes), cotangent.sum(axes)
    count = maps[..., 0].size
    to_maps = gamma / deviation * (cotangent - (to_beta + normalized * to_gamma) / count)
    close(trained(layer), [normalized * gamma + beta, to_maps, to_gamma, to_beta])
    expected = [moving_mean * MOMENTUM + mean * (1 - MOMENTUM), moving_variance * MOMENTUM + variance * (1 - MOMENTUM)]
    close(layer.get_weights()[2:], expected)


@pytest.mark.parametrize(
    "arguments, tolerance",
    [
        ({}, 2e-5),
        ({"scale": False}, 2e-5),
        ({"center": False}, 2e-5),
        pytest.param({"dtype": "mixed_bfloat16"}, 2e-2, marks=needs_bfloat16),
        ({"dtype": "mixed_float16"}, 2e-3),
        ({"dtype": "float16"}, 2e-3),
        pytest.param({"dtype": "bfloat16"}, 2e-2, marks=needs_bfloat16),
    ],
)
def test_equals_keras_layer(arguments, tolerance):
    ours, keras_layer = built(**arguments), built(keras.layers.BatchNormalization, **arguments)
    assert "FusedBatchNormV3" in operations(ours, training=True)
    close(trained(ours), trained(keras_layer), tolerance)
    close(ours.get_weights(), keras_layer.get_weights())


@pytest.mark.parametrize(
    "shape, arguments, call",
    [
        (MAPS.shape, {}, {"training": False}),
        (MAPS.shape, {"trainable": False}, {"training": True}),
        (MAPS.shape, {"axis": 1}, {"training": True}),
        (MAPS.shape, {"dtype": "float64"}, {"training": True}),
        ((8, 5, 3, 4, 2), {}, {"training": True}),
        ((12, 80), {}, {"training": True}),
        ((10, 4, 4, 6), {}, {"training": True}),
    ],
    ids=["inference", "frozen", "axis", "float64", "five axes", "features", "six channels"],
)
def test_other_calls_are_keras_own(shape, arguments, call):
    ours, keras_layer = (
        built(kind, shape, **arguments) for kind in (layers.BatchNormalization, keras.layers.BatchNormalization)
    )
    assert "FusedBatchNormV3" not in operations(ours, shape, **call)
    maps = MAPS.reshape(shape).astype(ours.compute_dtype)
    np.testing.assert_array_equal(ours(maps, **call), keras_layer(maps, **call))
    close(ours.get_weights(), keras_layer.get_weights(), 0)


def test_integers_are_keras_own():
    maps = MAPS.astype(np.uint8)
    ours, keras_layer = (
        built(kind, autocast=False) for kind in (layers.BatchNormalization, keras.layers.BatchNormalization)
    )
    np.testing.assert_array_equal(ours(maps, training=True), keras_layer(maps, training=True))


def test_arrays_without_a_tensor():
    layer = built()
    variables = [
        [variable.value for variable in kind] for kind in (layer.trainable_variables, layer.non_trainable_variables)
    ]
    outputs, _ = layer.stateless_call(*variables, MAPS, training=True)
    np.testing.assert_allclose(outputs, built()(MAPS, training=True), rtol=1e-6)


def test_a_mask_is_applied():
    ours, keras_layer = built(), built(keras.layers.BatchNormalization)
    mask = RANDOM.uniform(size=MAPS.shape[:3]) < 0.5
    np.testing.assert_array_equal(*(layer(MAPS, training=True, mask=mask) for layer in (ours, keras_layer)))


def test_a_single_value_has_no_variance():
    layer = built(shape=(1, 1, 1, 8))
    before = layer.get_weights()[3]
    layer(MAPS[:1, :1, :1], training=True)
    close([layer.get_weights()[3]], [before * MOMENTUM])
