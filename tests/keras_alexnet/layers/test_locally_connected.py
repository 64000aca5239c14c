"""The locally connected layer against loops in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import LocallyConnected2D


def in_numpy(images, kernel, bias, size, padding):
    """Outputs, and the function that gives the gradients of the images and the kernel."""
    around = size // 2 if padding == "same" else 0
    padded = np.pad(images, [(0, 0), (around, around), (around, around), (0, 0)])
    outputs = np.empty((len(images), *bias.shape))
    for y, x in np.ndindex(*bias.shape[:2]):
        windows = padded[:, y : y + size, x : x + size].reshape(len(images), -1)
        outputs[:, y, x] = windows @ kernel[y, x] + bias[y, x]

    def gradients(of_outputs):
        of_padded, of_kernel = np.zeros_like(padded), np.zeros_like(kernel)
        for y, x in np.ndindex(*bias.shape[:2]):
            windows = padded[:, y : y + size, x : x + size]
            of_kernel[y, x] = windows.reshape(len(images), -1).T @ of_outputs[:, y, x]
            of_padded[:, y : y + size, x : x + size] += (of_outputs[:, y, x] @ kernel[y, x].T).reshape(windows.shape)
        height, width = images.shape[1:3]
        return of_padded[:, around : around + height, around : around + width], of_kernel

    return outputs, gradients


@pytest.mark.parametrize("padding, size", [("same", 3), ("valid", 3), ("same", 1), ("valid", 5)])
def test_outputs_and_gradients(padding, size):
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 6, 5, 3)).astype(np.float32)
    layer = LocallyConnected2D(4, size, padding, bias_initializer="random_normal")
    layer.build(images.shape)
    kernel, bias = layer.get_weights()
    expected, gradients = in_numpy(images, kernel, bias, size, padding)
    assert layer.compute_output_shape(images.shape) == expected.shape
    factors = random.normal(size=expected.shape).astype(np.float32)
    inputs = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs * factors)
    of_images, of_kernel, of_bias = tape.gradient(loss, [inputs, *layer.trainable_variables])
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(of_images, gradients(factors)[0], atol=1e-5)
    np.testing.assert_allclose(of_kernel, gradients(factors)[1], atol=1e-5)
    np.testing.assert_allclose(of_bias, factors.sum(0), atol=1e-5)


def test_equal_kernels_are_a_convolution():
    images = keras.random.normal((2, 6, 6, 3), seed=1)
    convolution = keras.layers.Conv2D(4, 3, padding="same")
    expected = convolution(images)
    layer = LocallyConnected2D(4, 3)
    layer.build(images.shape)
    layer.kernel.assign(np.broadcast_to(np.reshape(convolution.get_weights()[0], (27, 4)), layer.kernel.shape))
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)


def test_the_fan_in_is_that_of_a_window_and_positions_differ():
    layer = LocallyConnected2D(32, 3, kernel_initializer="he_normal")
    layer.build((None, 6, 6, 64))
    kernel = layer.get_weights()[0]
    assert kernel.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert not np.array_equal(kernel[0, 0], kernel[0, 1])
    # layers-conv-local-13pct.cfg: 6 * 6 * (9 * 64 + 1) * 32
    assert layer.count_params() == 664_704


def test_it_is_saved_with_its_options(tmp_path):
    regularizer = keras.regularizers.L2(0.002)
    layer = LocallyConnected2D(4, 3, "valid", kernel_initializer="he_normal", kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((5, 5, 2)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = keras.random.normal((1, 5, 5, 2), seed=1)
    np.testing.assert_array_equal(model(images), loaded(images))
    assert loaded.layers[-1].get_config() == layer.get_config()
    assert float(loaded.losses[0]) == pytest.approx(0.002 * float(tf.reduce_sum(layer.kernel.value**2)), rel=1e-5)


def test_it_computes_in_the_compute_dtype():
    layer = LocallyConnected2D(4, 3, dtype="mixed_bfloat16")
    assert layer(keras.ops.ones((1, 4, 4, 2))).dtype == tf.bfloat16
    assert layer.kernel.dtype == "float32"


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((0, 3), "filters=0: expected at least 1"),
        ((4, 2), "kernel_size=2: expected an odd number"),
        ((4, 3, "full"), "padding='full': expected 'same' or 'valid'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        LocallyConnected2D(*arguments)


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="kernel_size=5: larger than the image"):
        LocallyConnected2D(4, 5, "valid").build((None, 4, 4, 2))
