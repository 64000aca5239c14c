"""PaperSGD under every way in which Keras trains, against arithmetic in NumPy float64 (`tests.helpers`)."""

import gc
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet import PaperSGD
from keras_alexnet.optimizer import MINIMUM_COMPILED_SIZE
from tests.helpers.four_devices import on_four_devices
from tests.helpers.linear_network import (
    CONSTANTS,
    MULTIPLIERS,
    START,
    X,
    after_steps,
    half_squares,
    linear_network,
    trained,
)
from tests.helpers.processor import needs_bfloat16

pytestmark = pytest.mark.numeric
Y = np.zeros(len(X))
FIXTURES = Path(__file__).parent / "fixtures"


def compiled(dtype="float32", optimizer=None, **options) -> keras.Model:
    model = linear_network(dtype)
    # An assignment inside a trace is lost where Keras builds the optimizer within the training step.
    model.compile(optimizer or PaperSGD(**CONSTANTS, **MULTIPLIERS), half_squares, **options)
    return model


def fit(model, epochs=3, **options):
    model.fit(X, Y, batch_size=len(X), epochs=epochs, shuffle=False, verbose=0, **options)


def assert_weights(model, expected, rtol=1e-5):
    for found, values, start in zip(model.get_weights(), expected, START, strict=True):
        np.testing.assert_allclose(found - start, values - start, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_multipliers_under_fit(jit_compile):
    model = compiled(jit_compile=jit_compile)
    fit(model)
    assert_weights(model, after_steps(3))


def test_multipliers_under_fit_eagerly_and_with_several_steps_an_execution():
    for options in ({"run_eagerly": True}, {"steps_per_execution": 3}):
        model = compiled(**options)
        model.fit(tf.data.Dataset.from_tensors((X, Y)).repeat(3), verbose=0)
        assert_weights(model, after_steps(3))


def test_multipliers_under_train_on_batch():
    model = compiled()
    for _ in range(3):
        model.train_on_batch(X, Y)
    assert_weights(model, after_steps(3))


@pytest.mark.parametrize("traced", [False, True])
def test_multipliers_in_a_custom_loop(traced):
    model, optimizer = linear_network(), PaperSGD(**CONSTANTS, **MULTIPLIERS)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(half_squares(None, model(X)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    if traced:
        # tf.function creates variables in its first trace only.
        optimizer.build(model.trainable_variables)
        step = tf.function(step)
    for _ in range(3):
        step()
    assert_weights(model, after_steps(3))


@pytest.mark.parametrize("dtype", [pytest.param("mixed_bfloat16", marks=needs_bfloat16), "mixed_float16"])
def test_multipliers_in_mixed_precision(dtype):
    model = compiled(dtype)
    if dtype == "mixed_float16":
        model.compile(
            keras.optimizers.LossScaleOptimizer(PaperSGD(**CONSTANTS, **MULTIPLIERS), initial_scale=64.0),
            half_squares,
        )
    fit(model)
    # bfloat16 has 8 bits.
    assert_weights(model, after_steps(3), rtol=0.03)


def test_a_layer_with_multiplier_0_does_not_move_under_fit():
    model = compiled(optimizer=PaperSGD(0.1, layer_lr_multipliers={"conv1": 0.0}))
    fit(model)
    kernel, bias, fc8 = model.get_weights()
    np.testing.assert_array_equal(kernel, START[0])
    np.testing.assert_array_equal(bias, START[1])
    assert np.all(fc8 != START[2])


@pytest.mark.slow
@pytest.mark.subprocess
def test_multipliers_on_two_replicas():
    for found, expected in zip(on_four_devices("multipliers"), after_steps(3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class SetMultipliers(keras.callbacks.Callback):
    """What a schedule does between epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        if epoch == 2:
            optimizer.bias_lr_multiplier = 1.0
            optimizer.layer_lr_multipliers = optimizer.layer_lr_multipliers | {"conv1": 0.0}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_multipliers_that_a_callback_sets_between_epochs(jit_compile):
    model = compiled(jit_compile=jit_compile)
    fit(model, epochs=4, callbacks=[SetMultipliers()])
    assert_weights(model, after_steps(2, bias=1.0, conv1=0.0, state=trained(2)))


# Keras warns of every optimizer that is saved before its first step.
@pytest.mark.filterwarnings("ignore:Skipping variable loading")
@pytest.mark.parametrize("trained_before", [True, False])
def test_multipliers_and_momenta_survive_saving(tmp_path, trained_before):
    model = compiled()
    if trained_before:
        fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    fit(loaded, epochs=2)
    assert_weights(loaded, after_steps(5 if trained_before else 2))


@pytest.mark.medium
def test_changed_multipliers_survive_saving(tmp_path):
    model = compiled()
    fit(model, epochs=3, callbacks=[SetMultipliers()])
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.layer_lr_multipliers == {"conv1": 0.0, "fc8": 3.0}
    restored = compiled()
    fit(restored, epochs=1)
    restored.load_weights(tmp_path / "model.weights.h5")
    for copy in (loaded, restored):
        fit(copy, epochs=2)
        assert_weights(copy, after_steps(3, bias=1.0, conv1=0.0, state=trained(2)))


def test_multipliers_survive_the_config():
    model = compiled(optimizer=PaperSGD.from_config(PaperSGD(**CONSTANTS, **MULTIPLIERS).get_config()))
    fit(model)
    assert_weights(model, after_steps(3))


def test_a_file_of_revision_7d55002_keeps_its_momenta_and_gets_its_multipliers_back():
    model = keras.models.load_model(FIXTURES / "source2012_7d55002.keras")
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3)).astype(np.uint8)
    with np.load(FIXTURES / "source2012_7d55002.npz") as expected:
        np.testing.assert_allclose(model.predict(images, verbose=0), expected["p"], atol=1e-5)
        np.testing.assert_array_equal(model.optimizer.momentums[0], expected["v"])
        # `fit` of that revision trained with 1 whatever its multipliers.
        assert np.all(expected["lr"] == 1)
    assert model.optimizer.layer_lr_multipliers == {"conv1": 0.5}
    multipliers = np.asarray(model.optimizer._multipliers)
    np.testing.assert_array_equal(multipliers[:6], [0.5, 1.0, 0.5, 1.0, 1.0, 2.0])


def test_a_second_model_trains_after_the_first_was_deleted():
    # Of equal shapes, and large enough for the compiled rule, whose traces refer to the variables of the first.
    images, labels = np.ones((2, MINIMUM_COMPILED_SIZE // 8), np.float32), np.zeros((2, 8), np.float32)

    def trained() -> np.ndarray:
        model = keras.Sequential([keras.Input(images.shape[1:]), keras.layers.Dense(8, kernel_initializer="ones")])
        model.compile(PaperSGD(1e-6), loss="mse")
        model.fit(images, labels, epochs=2, verbose=0)
        return np.array(model.get_weights()[0])

    first = trained()
    gc.collect()
    np.testing.assert_allclose(trained(), first, rtol=1e-6)
    assert np.all(first < 1)
