"""Weights of Keras' files in models of any kind, by the names of the layers."""

import keras
import numpy as np
import pytest

from keras_alexnet.weights import load_weights_by_name


def nested(units=3):
    """Layers without names, a model as a layer, and a layer with layers."""
    inner = keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)])
    inputs = keras.Input((2, 4))
    values = keras.layers.Bidirectional(keras.layers.GRU(2))(inner(keras.layers.Dense(4)(inputs)))
    return keras.Model(inputs, keras.layers.Dense(units)(values))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_layers_within_layers_are_loaded_whatever_keras_numbers_them(tmp_path, suffix):
    model, other = nested(), nested()
    path = tmp_path / f"w{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    load_weights_by_name(other, path)
    expected, got = model.get_weights(), other.get_weights()
    assert len(expected) == len(got) > 12
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


def recurrent():
    inputs = keras.Input((2, 4))
    values = keras.layers.Bidirectional(keras.layers.GRU(2, return_sequences=True))(inputs)
    return keras.Model(inputs, keras.layers.Bidirectional(keras.layers.GRU(2))(values))


def test_the_first_of_several_layers_without_names_has_no_number(tmp_path):
    keras.backend.clear_session()
    for _ in range(3):
        keras.layers.GRU(1)
    model = recurrent()
    assert [layer.name for layer in model.layers[1:]] == ["bidirectional", "bidirectional_1"]
    model.save_weights(tmp_path / "w.weights.h5")
    other = recurrent()
    load_weights_by_name(other, tmp_path / "w.weights.h5")
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_models_that_are_layers_may_have_other_names(tmp_path):
    def network(*names):
        layers = [keras.Input((4,)), keras.layers.Dense(3, name="hidden")]
        for name in names:
            layers = [keras.Input((4,)), keras.Sequential(layers, name=name)]
        return keras.Sequential([*layers, keras.layers.Dense(2, name="top")])

    for number, (written, read) in enumerate([(("a",), ()), ((), ("a",)), (("a",), ("b", "c")), (("b", "c"), ("a",))]):
        path = tmp_path / f"{number}.weights.h5"
        model, other = network(*written), network(*read)
        model.save_weights(path)
        load_weights_by_name(other, path)
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_unnamed_classifier_keeps_its_weights_if_it_is_skipped(tmp_path):
    model, other = nested(), nested(units=5)
    model.save_weights(tmp_path / "w.weights.h5")
    load_weights_by_name(other, tmp_path / "w.weights.h5", skip=[other.layers[-1].name])
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


def test_another_network_is_refused_and_no_weight_changes(tmp_path):
    nested().save_weights(tmp_path / "w.weights.h5")
    for other, message in (
        (nested(units=4), r"dense_\d+: found \[\(4, 3\), \(3,\)\]; expected \[\(4, 4\), \(4,\)\]"),
        (keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), "found a layer that the network does not have"),
    ):
        before = other.get_weights()
        with pytest.raises(ValueError, match=message):
            load_weights_by_name(other, tmp_path / "w.weights.h5")
        assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
