"""The `.npy` of Caffe weights: every way in which they have been written, and nothing of them executed."""

import collections
import contextlib
import pickle

import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import load_weights
from tests.helpers import weight_files as files
from tests.helpers.weight_files import refused

CAFFE = VARIANTS["caffe"]


@pytest.fixture
def blobs(blobs):
    return files.caffe_tensorflow(blobs)


def as_lists(blobs):
    return {name: list(pair) for name, pair in blobs.items()}


FORMS = {
    "lists": as_lists,
    "tuples": dict,
    "dictionaries": lambda blobs: {name: {"weights": pair[0], "biases": pair[1]} for name, pair in blobs.items()},
    "bytes": lambda blobs: {name.encode(): list(pair) for name, pair in blobs.items()},
    "bytes all through": lambda blobs: {
        name.encode(): {b"biases": pair[1], b"weights": pair[0]} for name, pair in blobs.items()
    },
    "ordered": lambda blobs: collections.OrderedDict(as_lists(blobs)),
    "fortran": lambda blobs: {name: [np.asfortranarray(a) for a in pair] for name, pair in blobs.items()},
    "big-endian": lambda blobs: {name: [a.astype(">f4") for a in pair] for name, pair in blobs.items()},
    "double": lambda blobs: {name: [a.astype(np.float64) for a in pair] for name, pair in blobs.items()},
}


def arrives(model, path, weights):
    files.randomize(model)
    load_weights(model, path, CAFFE)
    return files.same_weights(model, weights)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_python_3_has_written_is_read_exactly(tmp_path, caffe, weights, blobs, form, protocol):
    assert arrives(caffe, files.npy(tmp_path / "w", FORMS[form](blobs), protocol), weights)


@pytest.mark.parametrize("protocol", [1, 2, 3])
def test_what_numpy_1_has_written_is_read_exactly(tmp_path, caffe, weights, blobs, protocol):
    assert arrives(caffe, files.npy(tmp_path / "w", as_lists(blobs), protocol, numpy1=True), weights)


@pytest.mark.parametrize("form", ["lists", "dictionaries"])
@pytest.mark.parametrize("text", [True, False])
def test_what_python_2_has_written_is_read_exactly(tmp_path, caffe, weights, blobs, form, text):
    path = files.python2_npy(tmp_path / "w.npy", FORMS[form](blobs), text)
    as_numpy_reads_it = np.load(path, allow_pickle=True, encoding="latin1").item()
    assert as_numpy_reads_it.keys() == blobs.keys()
    assert arrives(caffe, path, weights)


def test_what_numpy_saves_itself_is_read_exactly(tmp_path, caffe, weights, blobs):
    np.save(tmp_path / "w.npy", as_lists(blobs), allow_pickle=True)
    assert arrives(caffe, tmp_path / "w.npy", weights)


def executes(module_and_name: bytes, argument: bytes) -> bytes:
    return b"c" + module_and_name + b"\n(" + argument + b"tR"


@pytest.mark.parametrize("place", ["instead", "value", "key", "array"])
def test_a_hostile_pickle_is_not_executed(tmp_path, caffe, blobs, place):
    trap = tmp_path / "executed"
    hostile = files.Hostile(trap)
    content = as_lists(blobs)
    if place == "instead":
        content = hostile
    elif place == "value":
        content["conv1"] = hostile
    elif place == "key":
        content[hostile] = content.pop("conv1")
    else:
        content["conv1"][0] = np.array([hostile], object)
    refused(caffe, files.npy(tmp_path / "w", content), CAFFE, "builtins.eval", "not")
    assert not trap.exists()
    # It would have been.
    pickle.loads(pickle.dumps(hostile)).close()
    assert trap.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os system",
        "numpy load",
        "numpy.core.multiarray scalar",
        "builtins getattr",
        "copyreg _reconstructor",
        "numpy.testing._private.utils runstring",
    ],
)
def test_whatever_weights_do_not_need_is_refused_by_its_name(tmp_path, caffe, name):
    module_and_name = name.replace(" ", "\n").encode()
    (tmp_path / "w").write_bytes(files.HEADER + executes(module_and_name, b"S'x'\n") + b".")
    refused(caffe, tmp_path / "w", CAFFE, name.replace(" ", "."))


def test_text_is_encoded_as_latin_1_only(tmp_path, caffe):
    (tmp_path / "w").write_bytes(files.HEADER + executes(b"_codecs\nencode", b"Vx\nVrot13\n") + b".")
    refused(caffe, tmp_path / "w", CAFFE, "rot13")


@pytest.mark.parametrize(
    "content, says",
    [
        ({"conv1": [np.zeros(3)]}, "conv1: expected two arrays"),
        ({"conv1": {"weights": np.zeros(3)}}, "conv1: expected two arrays"),
        ({"conv1": [np.zeros(3), None]}, "conv1: expected two arrays"),
        ({"conv1": "text"}, "conv1: expected two arrays"),
        ({"conv1": np.zeros(3)}, "conv1: expected two arrays"),
        ({"conv1": [np.zeros(3, int)] * 2}, "dtype 'i8'"),
        ({"conv1": [np.zeros(3, [("a", "f4")])] * 2}, "dtype 'V4'"),
        ({"conv1": [np.zeros(3, complex)] * 2}, "dtype 'c16'"),
        ({"conv1": [np.zeros(3)] * 2, b"conv1": [np.zeros(3)] * 2}, "conv1: found two layers"),
        ({}, "an empty dictionary"),
        ([1, 2], "pickled list"),
        (None, "pickled NoneType"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, caffe, content, says):
    refused(caffe, files.npy(tmp_path / "w", content), CAFFE, says)


def test_a_file_truncated_anywhere_is_refused(tmp_path, caffe, blobs):
    content = files.npy(tmp_path / "w", as_lists(blobs)).read_bytes()
    for cut in [*np.random.default_rng(1).integers(1, len(content), 20), 9, 127, 128, len(content) - 1]:
        (tmp_path / "w").write_bytes(content[:cut])
        refused(caffe, tmp_path / "w", CAFFE)


def test_a_damaged_file_gives_no_other_error_than_ours(tmp_path, caffe, blobs):
    content = bytearray(files.npy(tmp_path / "w", as_lists(blobs)).read_bytes())
    random = np.random.default_rng(2)
    for _ in range(40):
        damaged = content.copy()
        damaged[int(random.integers(128, 400))] = random.integers(0, 256)
        (tmp_path / "w").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            load_weights(caffe, tmp_path / "w", CAFFE)
