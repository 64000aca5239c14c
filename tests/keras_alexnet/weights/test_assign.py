"""Weights of every kind of file arrive in their places, or none does."""

import dataclasses

import numpy as np
import pytest

from keras_alexnet import VARIANTS, AlexNet
from keras_alexnet.weights import load_weights, recognise
from tests.helpers import weight_files as files
from tests.helpers.weight_files import refused, small

CAFFE = VARIANTS["caffe"]


@pytest.mark.parametrize(
    "name, between",
    [("caffe", files.ALEXNET), ("caffenet", files.CAFFENET)],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_caffemodel_is_loaded_exactly(tmp_path, name, between, legacy):
    model = small(name)
    expected = files.randomize(model)
    path = files.caffemodel(tmp_path / "w", files.foreign_blobs(expected, 2), between, legacy)
    files.randomize(model)
    load_weights(model, path, VARIANTS[name])
    assert recognise(path) == "caffemodel" and files.same_weights(model, expected)


@pytest.mark.parametrize("name", ["caffe", "caffenet"])
def test_a_npy_is_loaded_exactly(tmp_path, name):
    model = small(name)
    expected = files.randomize(model)
    path = files.npy(tmp_path / "w", files.caffe_tensorflow(files.foreign_blobs(expected, 2)))
    files.randomize(model)
    load_weights(model, path, VARIANTS[name])
    assert recognise(path) == "caffe_npy" and files.same_weights(model, expected)


@pytest.mark.parametrize("suffix, kind", [(".weights.h5", "keras_h5"), (".keras", "keras")])
def test_keras_own_files_are_loaded_exactly(tmp_path, suffix, kind):
    model = small("paper")
    expected = files.randomize(model)
    path = tmp_path / f"w{suffix}"
    model.save_weights(path) if kind == "keras_h5" else model.save(path)
    files.randomize(model)
    load_weights(model, path, VARIANTS["paper"])
    assert recognise(path) == kind and files.same_weights(model, expected)


@pytest.mark.parametrize("name", ["one_gpu", "conv6", "without_conv1", "without_conv3"])
def test_a_network_of_ones_own_takes_caffes_files_if_it_says_so(tmp_path, name):
    variant = dataclasses.replace(VARIANTS[name], weight_formats=("caffe",))
    model = small(variant)
    expected = files.randomize(model)
    path = files.caffemodel(tmp_path / "w", files.foreign_blobs(expected, variant.towers), between={})
    files.randomize(model)
    load_weights(model, path, variant)
    assert files.same_weights(model, expected)


def test_a_model_without_top_ignores_the_fully_connected_layers_of_a_file(tmp_path, weights, blobs):
    features = small("caffe", include_top=False)
    load_weights(features, files.caffemodel(tmp_path / "w", blobs), CAFFE)
    convolutions = {name: arrays for name, arrays in weights.items() if name.startswith("conv")}
    assert files.same_weights(features, convolutions)
    for name in ("fc6", "fc7", "fc8"):
        blobs.pop(name)
    files.randomize(features)
    load_weights(features, files.caffemodel(tmp_path / "w", blobs), CAFFE)
    assert files.same_weights(features, convolutions)


@pytest.mark.parametrize("has_top", [True, False])
def test_skipped_layers_stay_as_they_are(tmp_path, weights, blobs, has_top):
    model = small("caffe", classes=3)
    before = files.randomize(model)
    if not has_top:
        del blobs["fc8"]
    load_weights(model, files.caffemodel(tmp_path / "w", blobs), CAFFE, skip=("fc8",))
    assert files.same_weights(model, weights | {"fc8": before["fc8"]})


def test_skipping_a_layer_that_does_not_exist_is_refused(tmp_path, caffe, blobs):
    with pytest.raises(ValueError, match=r"skip=fc9: expected layers of conv1, .*fc8"):
        load_weights(caffe, files.caffemodel(tmp_path / "w", blobs), CAFFE, skip=("fc9",))


def test_the_last_layer_of_a_fine_tuned_caffe_network_may_have_any_name(tmp_path, caffe, weights, blobs):
    blobs["fc8_flowers"] = blobs.pop("fc8")
    load_weights(caffe, files.caffemodel(tmp_path / "w", blobs), CAFFE)
    assert files.same_weights(caffe, weights)


def test_other_classes_are_refused_with_the_ways_out(tmp_path, blobs):
    path = files.caffemodel(tmp_path / "w", blobs)
    says = ("fc8", "found (7, 256), (7,)", "expected (3, 256), (3,)", "classes=7", "include_top=False")
    refused(small("caffe", classes=3), path, CAFFE, *says)


def test_other_classes_are_refused_in_keras_files_too(tmp_path):
    small("paper").save_weights(tmp_path / "w.weights.h5")
    refused(small("paper", classes=3), tmp_path / "w.weights.h5", VARIANTS["paper"], "fc8", "(256, 7)", "classes=7")


def test_keras_weights_of_another_width_are_refused_whole(tmp_path):
    AlexNet(classes=7, width=1 / 8).save_weights(tmp_path / "w.weights.h5")
    says = ("conv1", "(11, 11, 3, 6)", "(11, 11, 3, 3)", "width")
    refused(small("paper"), tmp_path / "w.weights.h5", VARIANTS["paper"], *says)


def test_missing_groups_are_recognised(tmp_path, caffe, blobs):
    kernel, bias = blobs["conv4"]
    blobs["conv4"] = np.concatenate([kernel, kernel], 1), bias
    says = ("conv4", "(24, 24, 3, 3)", "(24, 12, 3, 3)", "OIHW", "no groups")
    refused(caffe, files.caffemodel(tmp_path / "w", blobs), CAFFE, *says)


def test_groups_where_the_variant_has_one_tower_are_recognised(tmp_path, blobs):
    variant = dataclasses.replace(CAFFE, towers=1)
    refused(small(variant), files.caffemodel(tmp_path / "w", blobs), variant, "conv2", "two groups", "one tower")


def test_another_networks_shapes_are_refused(tmp_path, caffe):
    other = files.foreign_blobs(files.randomize(AlexNet("caffe", classes=7, width=1 / 8)), 2)
    says = ("conv1", "found (12, 3, 11, 11)", "expected (6, 3, 11, 11)")
    refused(caffe, files.caffemodel(tmp_path / "w", other), CAFFE, *says)


def test_another_networks_layers_are_refused(tmp_path, caffe, blobs):
    path = files.npy(tmp_path / "w", {"conv1_2": blobs["conv1"]} | blobs)
    refused(caffe, path, CAFFE, "conv1_2", "expected conv1, conv2")


@pytest.mark.parametrize("name", ["conv1", "fc6", "fc7"])
def test_a_missing_layer_is_named(tmp_path, caffe, blobs, name):
    del blobs[name]
    refused(caffe, files.caffemodel(tmp_path / "w", blobs), CAFFE, f"{name}: found no such layer", "fc8")


def test_a_file_without_a_classifier_is_refused_if_the_model_has_one(tmp_path, caffe, blobs):
    del blobs["fc8"]
    refused(caffe, files.caffemodel(tmp_path / "w", blobs), CAFFE, "fc8: found no such layer")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, caffe, blobs, value):
    blobs["fc7"][1][3] = value
    refused(caffe, files.caffemodel(tmp_path / "w", blobs), CAFFE, "fc7", "1 value", "NaN or infinite")


def test_weights_that_are_not_finite_are_refused_in_keras_files(tmp_path):
    model = small("paper")
    values = files.randomize(model)
    values["conv3"][2][0, 0, 0, 0] = np.nan
    model.get_layer("conv3").set_weights(values["conv3"])
    model.save_weights(tmp_path / "w.weights.h5")
    refused(model, tmp_path / "w.weights.h5", VARIANTS["paper"], "conv3", "NaN")


@pytest.mark.parametrize("name", ["paper", "source2012", "torchvision", "one_gpu"])
@pytest.mark.parametrize("form", ["caffemodel", "npy"])
def test_caffes_files_are_refused_by_other_networks(tmp_path, name, form):
    """Though all shapes agree: normalization and mean do not."""
    model = small(name)
    towers = VARIANTS[name].towers
    if form == "caffemodel":
        path = files.caffemodel(tmp_path / "w", files.foreign_blobs(files.randomize(model), towers))
    else:
        blobs = files.caffe_tensorflow(files.foreign_blobs(files.randomize(model), towers))
        path = files.npy(tmp_path / "w", blobs)
    refused(model, path, VARIANTS[name], f"variant {name!r}", "variant='caffe' or 'caffenet'")


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Not found</html>", "begins with b'<!DOCTYPE html><'"),
        (b'name: "AlexNet"\nlayer {', "begins with b'name: "),
        (b"\n\n\n\nnothing of the kind", "damaged, truncated or other file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), "HDF5 file that is damaged"),
        (b"PK\x03\x04" + bytes(500), "damaged or truncated ZIP"),
        (b"\x93NUMPY\x01\x00", "damaged header"),
        (b"\x93NUMPY\x09\x00" + bytes(500), "damaged header"),
        (bytes(500), "begins with"),
    ],
)
def test_what_is_no_weight_file_is_refused(tmp_path, caffe, content, says):
    (tmp_path / "w").write_bytes(content)
    refused(caffe, tmp_path / "w", CAFFE, says)


def test_missing_files_and_folders_are_refused(tmp_path, caffe):
    refused(caffe, tmp_path / "none", CAFFE, "no such file")
    refused(caffe, tmp_path, CAFFE, "a folder")


def test_a_zip_archive_of_something_else_is_refused(tmp_path, caffe):
    np.savez(tmp_path / "w.npz", a=1)
    refused(caffe, tmp_path / "w.npz", CAFFE, "ZIP archive of a.npy")


def test_an_array_that_is_no_dictionary_is_refused(tmp_path, caffe):
    np.save(tmp_path / "w.npy", np.zeros(3))
    refused(caffe, tmp_path / "w.npy", CAFFE, "array of float64")
