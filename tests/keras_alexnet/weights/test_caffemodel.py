"""What a `.caffemodel` says beyond shapes, and the ways in which it can be broken."""

import contextlib

import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import load_weights
from tests.helpers import weight_files as files
from tests.helpers.weight_files import refused, small

CAFFE, CAFFENET = VARIANTS["caffe"], VARIANTS["caffenet"]


@pytest.mark.parametrize("values", ["packed", "unpacked", "double"])
@pytest.mark.parametrize("legacy", [False, True])
def test_numbers_may_be_packed_or_not_and_of_double_precision(tmp_path, caffe, weights, blobs, values, legacy):
    path = files.caffemodel(tmp_path / "w", blobs, legacy=legacy, values=values)
    files.randomize(caffe)
    load_weights(caffe, path, CAFFE)
    assert files.same_weights(caffe, weights)


def test_packed_numbers_may_come_in_pieces(tmp_path, caffe, weights, blobs):
    """Protocol buffers allow it."""

    def pieces(array):
        shape = files.field(7, files.field(1, b"".join(files.varint(size) for size in array.shape)))
        content = array.tobytes()
        return shape + files.field(5, content[:40]) + files.field(5, content[40:])

    kind = {4: "Convolution", 2: "InnerProduct"}
    layers = [files.layer(name, kind[pair[0].ndim], map(pieces, pair)) for name, pair in blobs.items()]
    (tmp_path / "w").write_bytes(b"".join(layers))
    files.randomize(caffe)
    load_weights(caffe, tmp_path / "w", CAFFE)
    assert files.same_weights(caffe, weights)


def test_todays_files_may_have_dense_kernels_of_four_dimensions(tmp_path, caffe, weights, blobs):
    deep = {name: tuple(a.reshape((1,) * (4 - a.ndim) + a.shape) for a in pair) for name, pair in blobs.items()}
    content = b""
    for name, pair in deep.items():
        kind = "Convolution" if name.startswith("conv") else "InnerProduct"
        content += files.layer(name, kind, map(files.blob_proto, pair))
    (tmp_path / "w").write_bytes(content)
    files.randomize(caffe)
    load_weights(caffe, tmp_path / "w", CAFFE)
    assert files.same_weights(caffe, weights)


@pytest.mark.parametrize("legacy", [False, True])
def test_alexnet_and_caffenet_are_told_apart_by_their_order(tmp_path, blobs, legacy):
    path = files.caffemodel(tmp_path / "w", blobs, files.CAFFENET, legacy)
    refused(small("caffe"), path, CAFFE, "pooling, normalization", "variant='caffenet'")
    path = files.caffemodel(tmp_path / "w", blobs, files.ALEXNET, legacy)
    refused(small("caffenet"), path, CAFFENET, "normalization, pooling", "variant='caffe'")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "constants, says",
    [
        ({"alpha": 5e-4}, "alpha=0.0001"),
        ({"k": 2.0}, "k=2"),
        ({"local_size": 3}, "n=3"),
        ({"beta": 0.5}, "beta=0.5"),
        ({"local_size": 0}, "n=0"),
    ],
)
def test_other_constants_of_normalization_are_refused(tmp_path, caffe, blobs, constants, says, legacy):
    path = files.caffemodel(tmp_path / "w", blobs, legacy=legacy, lrn=files.lrn_param(**constants))
    refused(caffe, path, CAFFE, "lrn_conv1", says, "k=1, n=5, alpha=2e-05, beta=0.75")


def test_normalization_inside_maps_is_refused(tmp_path, caffe, blobs):
    path = files.caffemodel(tmp_path / "w", blobs, lrn=files.lrn_param(region=1))
    refused(caffe, path, CAFFE, "normalization within channels")


def test_constants_that_are_the_same_are_accepted(tmp_path, caffe, weights, blobs):
    path = files.caffemodel(tmp_path / "w", blobs, lrn=files.lrn_param(k=1.0, region=0))
    files.randomize(caffe)
    load_weights(caffe, path, CAFFE)
    assert files.same_weights(caffe, weights)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_missing_blob_is_named(tmp_path, caffe, blobs, legacy):
    kernel, _ = blobs["conv2"]
    refused(
        caffe, files.caffemodel(tmp_path / "w", blobs | {"conv2": (kernel,)}, legacy=legacy), CAFFE, "conv2", "1 blob"
    )


def test_a_layer_that_comes_twice_is_refused(tmp_path, caffe, blobs):
    path = files.caffemodel(tmp_path / "w", blobs)
    again = files.layer("fc7", "InnerProduct", map(files.blob_proto, blobs["fc7"]))
    path.write_bytes(path.read_bytes() + again)
    refused(caffe, path, CAFFE, "fc7", "two layers of this name")


def test_weights_in_layers_of_other_kinds_are_refused(tmp_path, caffe, blobs):
    path = files.caffemodel(tmp_path / "w", blobs)
    path.write_bytes(path.read_bytes() + files.layer("bn1", "BatchNorm", [files.blob_proto(np.ones(6))]))
    refused(caffe, path, CAFFE, "bn1", "BatchNorm")


def test_a_network_without_weights_is_refused(tmp_path, caffe):
    (tmp_path / "w").write_bytes(files.field(1, "AlexNet") + files.layer("conv1", "Convolution"))
    refused(caffe, tmp_path / "w", CAFFE, "no layer with weights")


def test_the_format_before_the_legacy_one_is_named(tmp_path, caffe):
    (tmp_path / "w").write_bytes(files.field(1, "AlexNet") + files.field(2, files.field(1, files.field(1, "conv1"))))
    refused(caffe, tmp_path / "w", CAFFE, "2013", "upgrade_net_proto_binary")


def dense(shape_bytes, values):
    return files.field(7, files.field(1, shape_bytes)) + files.field(5, values)


@pytest.mark.parametrize(
    "shape, cut",
    [
        ((256, 255), None),
        ((256, 256), -1),
        ((256, 256), 0),
        ((2**62, 2**62), None),
        ((2**64 - 1, 2**64 - 1), 4),  # -1 in two's complement
    ],
)
def test_a_blob_that_is_not_as_large_as_it_says_is_refused(tmp_path, caffe, blobs, shape, cut):
    kernel = dense(b"".join(map(files.varint, shape)), blobs["fc7"][0].tobytes()[:cut])
    content = files.caffemodel(tmp_path / "w", {"conv1": blobs["conv1"]}).read_bytes()
    content += files.layer("fc7", "InnerProduct", [kernel, files.blob_proto(blobs["fc7"][1])])
    (tmp_path / "w").write_bytes(content)
    refused(caffe, tmp_path / "w", CAFFE, "fc7: found a blob")


def test_a_file_truncated_anywhere_is_refused(tmp_path, caffe, blobs):
    content = files.caffemodel(tmp_path / "w", blobs).read_bytes()
    cuts = [*np.random.default_rng(1).integers(1, len(content), 20), 1, 2, len(content) - 1]
    for cut in cuts:
        (tmp_path / "w").write_bytes(content[:cut])
        refused(caffe, tmp_path / "w", CAFFE)


def test_a_damaged_file_is_refused_or_gives_whole_layers(tmp_path, caffe, blobs):
    """No other error than ours, whatever is in the file."""
    content = bytearray(files.caffemodel(tmp_path / "w", blobs).read_bytes())
    random = np.random.default_rng(2)
    for _ in range(30):
        damaged = content.copy()
        for place in random.integers(0, 200, 3):
            damaged[place] = random.integers(0, 256)
        (tmp_path / "w").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            load_weights(caffe, tmp_path / "w", CAFFE)
