"""Archives and HDF5 files that claim to be larger than they are, or whose arrays are elsewhere: refused in one line."""

import os
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import check_keras_file
from tests.helpers import weight_files as files
from tests.helpers.weight_files import CLAIMED, refused, small

PAPER = VARIANTS["paper"]


@pytest.fixture(scope="module")
def paper():
    return small("paper")


@pytest.fixture(scope="module")
def weights_h5(paper, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.weights.h5"
    paper.save_weights(path)
    return path.read_bytes()


def bomb(path, entry):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(entry, "w") as file:
        for _ in range(CLAIMED // 2**20):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize("entry", ["model.weights.h5", "archive/data.pkl"])
def test_an_archive_that_inflates_more_than_weights_do_is_refused(tmp_path, paper, entry, cheap):
    path = bomb(tmp_path / "w", entry)
    assert path.stat().st_size < CLAIMED / 500
    refused(paper, path, PAPER, f"ZIP archive: claims {CLAIMED} bytes")


def test_all_entries_of_an_archive_count(tmp_path, paper, cheap):
    paper.save(tmp_path / "w.keras")
    with zipfile.ZipFile(tmp_path / "w.keras", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/x", bytes(CLAIMED // 8))
    refused(paper, tmp_path / "w.keras", PAPER, "ZIP archive: claims")
    with pytest.raises(ValueError, match="ZIP archive: claims"):
        check_keras_file(tmp_path / "w.keras")


@pytest.mark.parametrize("entry", ["model.weights.h5", "archive/data.pkl"])
def test_an_entry_that_inflates_to_more_than_the_archive_says_is_refused(tmp_path, paper, entry, cheap):
    path = bomb(tmp_path / "w", entry)
    content = bytearray(path.read_bytes())
    size = content.rindex(b"PK\x01\x02") + 24  # in the directory at the end
    content[size : size + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    refused(paper, path, PAPER, "damaged or truncated ZIP archive (Bad CRC-32")


@pytest.mark.parametrize("entry", ["config.json", "archive/data.pkl"])
def test_objects_of_an_archive_are_limited(tmp_path, paper, entry):
    paper.save(tmp_path / "w.keras")
    with zipfile.ZipFile(tmp_path / "w.keras", "a") as archive:
        archive.writestr(entry, b"]" * 5_000_000)
    refused(paper, tmp_path / "w.keras", PAPER, "objects: claims 5")


def test_an_archive_that_was_compressed_again_is_read(tmp_path, paper):
    expected = files.randomize(paper)
    paper.save(tmp_path / "w.keras")
    with (
        zipfile.ZipFile(tmp_path / "w.keras") as stored,
        zipfile.ZipFile(tmp_path / "again.keras", "w", zipfile.ZIP_DEFLATED) as deflated,
    ):
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    files.randomize(paper)
    files.load_weights(paper, tmp_path / "again.keras", PAPER)
    assert files.same_weights(paper, expected)


def test_unusual_compressions_are_refused(tmp_path, paper):
    with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model.weights.h5", b"x")
    refused(paper, tmp_path / "w", PAPER, "unusual compression")


# --- HDF5: what stands where an array should be ---


def link_to_a_pipe(folder, variables, shape):
    """Whoever follows it waits forever."""
    os.mkfifo(folder / "pipe")
    variables["0"] = h5py.ExternalLink(str(folder / "pipe"), "a")


def link_to_a_file(folder, variables, shape):
    with h5py.File(folder / "other.h5", "w") as other:
        other["a"] = np.zeros(shape, np.float32)
    variables["0"] = h5py.ExternalLink(str(folder / "other.h5"), "a")


def soft_link(folder, variables, shape):
    variables["0"] = h5py.SoftLink(variables.name + "/1")


def second_name(folder, variables, shape):
    variables["0"] = variables["1"]


def cycle(folder, variables, shape):
    variables["0"] = variables.parent


def virtual_from_a_pipe(folder, variables, shape):
    os.mkfifo(folder / "pipe")
    layout = h5py.VirtualLayout((1, *shape[1:]), "f4", maxshape=(None, *shape[1:]))
    source = h5py.VirtualSource(str(folder / "pipe"), "a", shape, maxshape=(None, *shape[1:]))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    variables.create_virtual_dataset("0", layout)


def external_storage(folder, variables, shape):
    (folder / "secret").write_bytes(bytes(4 * int(np.prod(shape))))
    variables.create_dataset("0", shape, "f4", external=str(folder / "secret"))


def unwritten(folder, variables, shape):
    variables.create_dataset("0", (10**6, 10**6), "f4")


def compressed(folder, variables, shape):
    variables.create_dataset("0", (CLAIMED // 4,), "f4", compression="gzip", fillvalue=0, chunks=(2**16,))[:10] = 1


def named_type(folder, variables, shape):
    variables["0"] = np.dtype("f4")


REPLACEMENTS = (
    *(link_to_a_pipe, link_to_a_file, soft_link, second_name, cycle, virtual_from_a_pipe, external_storage),
    *(unwritten, compressed, named_type),
)


@pytest.mark.parametrize("replace", REPLACEMENTS)
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_arrays_that_are_not_in_the_file_are_refused(tmp_path, paper, weights_h5, replace, suffix, cheap):
    path = tmp_path / "w.weights.h5"
    path.write_bytes(weights_h5)
    with h5py.File(path, "a") as file:
        variables = file["layers/tower_conv2d_1/vars"]
        shape = variables["0"].shape
        del variables["0"]
        replace(tmp_path, variables, shape)
    if suffix == ".keras":
        with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
            archive.write(path, "model.weights.h5")
        path = tmp_path / "w.keras"
        with pytest.raises(ValueError, match="HDF5 file that is damaged or not written by Keras"):
            check_keras_file(path)
    refused(paper, path, PAPER, "HDF5 file that is damaged or not written by Keras", "not")


def test_the_files_that_keras_writes_pass(tmp_path, paper):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization(), keras.layers.Flatten()])
    model.add(keras.layers.Dense(2))
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)), verbose=0)
    for saved in (model, keras.Sequential([model, keras.layers.Softmax()]), paper):
        saved.save(tmp_path / "w.keras")
        check_keras_file(tmp_path / "w.keras")
