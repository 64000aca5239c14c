"""Keras' own files, damaged and tampered with."""

import h5py
import keras
import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import load_weights_by_name
from tests.helpers.weight_files import refused, small


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_truncated_keras_files_are_refused(tmp_path, suffix, part):
    model = small("paper")
    path = tmp_path / f"w{suffix}"
    model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(model, path, VARIANTS["paper"])


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        file["conv1/kernel"] = np.zeros(3)
    refused(small("paper"), tmp_path / "w", VARIANTS["paper"], "without Keras' layers")


def keras_2_file(path, layers, chunked=False):
    """Layer name -> weight name -> array, as Keras 2 stores them; long lists of names in several attributes."""
    with h5py.File(path, "w") as file:
        names = [name.encode() for name in layers]
        for index, part in enumerate([names[:1], names[1:]] if chunked else [names]):
            file.attrs[f"layer_names{index}" if chunked else "layer_names"] = np.array(part)
        for name, weights in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([weight.encode() for weight in weights])
            for weight, array in weights.items():
                group.create_dataset(weight, data=array)
    return path


@pytest.mark.parametrize("chunked", [False, True])
def test_weights_of_keras_applications_are_loaded_in_their_order(tmp_path, chunked):
    """The distributed files name some layers otherwise than today's constructors."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    layers = [[np.array(weight) + 1 for weight in layer.weights] for layer in model.layers]
    named = {
        "old_fc": {f"old_fc/{index}:0": array for index, array in enumerate(layers[0])},
        "input_1": {},
        "old_bn": {f"old_bn/{index}:0": array for index, array in enumerate(layers[1])},
    }
    load_weights_by_name(model, keras_2_file(tmp_path / "w.h5", named, chunked))
    for expected, layer in zip(layers, model.layers, strict=True):
        for a, b in zip(expected, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"found \[\(4, 3\), \(3,\)\]; expected \[\(5, 3\), \(3,\)\]"):
        other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
        load_weights_by_name(other, tmp_path / "w.h5")


def test_names_of_keras_2_are_not_believed(tmp_path):
    """A name that is missing, or one array under many names."""
    path = keras_2_file(tmp_path / "w.h5", {"a": {"a/kernel:0": np.ones(3)}})
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    for names in ([b"a/kernel:0"] * 1000, [b"/elsewhere"]):
        with h5py.File(path, "a") as file:
            file["a"].attrs["weight_names"] = np.array(names)
        with pytest.raises(ValueError, match="damaged or not written by Keras"):
            load_weights_by_name(model, path)
