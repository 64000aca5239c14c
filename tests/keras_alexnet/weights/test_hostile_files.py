"""Files that claim to be larger than they are, or name other files: refused in one line, without the memory."""

import os
import pickle
import struct
import tracemalloc
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import check_keras_file, recognise
from tests.helpers import weight_files as files
from tests.helpers.hostile_images import Cost
from tests.helpers.weight_files import refused, small

CAFFE, PAPER = VARIANTS["caffe"], VARIANTS["paper"]
CLAIMED = 256 * 2**20


@pytest.fixture(scope="module")
def caffe():
    return small("caffe")


@pytest.fixture(scope="module")
def paper():
    return small("paper")


@pytest.fixture(scope="module")
def weights_h5(paper, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.weights.h5"
    paper.save_weights(path)
    return path.read_bytes()


@pytest.fixture
def cheap():
    """Fails if the test allocates more than a fraction of what its file claims. Python's and NumPy's memory counts."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < CLAIMED / 4, f"{peak / 2**20:.0f} MiB"


# --- ZIP archives ---


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


# --- .caffemodel ---


def dense(shape, values=b""):
    dimensions = shape if isinstance(shape, bytes) else b"".join(map(files.varint, shape))
    return files.field(7, files.field(1, dimensions)) + files.field(5, values)


@pytest.mark.parametrize(
    "shape, says",
    [
        (b"\x01" * 10**6, "found a blob of 1000000 dimensions; expected 2"),
        ([2] * 33, "found a blob of 33 dimensions"),
        ((0, 2**62), "fc7: found a blob of 0 numbers; expected the shape (0, 4611686018427387904)"),
        ((2**62, 0), "fc7: found a blob of 0 numbers"),
        ((2**31, 2**31), "fc7: found a blob of 0 numbers"),
        ((), "fc7: found a blob of 0 numbers"),
    ],
)
def test_a_blob_of_impossible_shape_is_refused(tmp_path, caffe, shape, says, cheap):
    (tmp_path / "w").write_bytes(files.layer("fc7", "InnerProduct", [dense(shape), dense((1,), bytes(4))]))
    refused(caffe, tmp_path / "w", CAFFE, says)


def test_a_file_of_nothing_but_layers_is_refused(tmp_path, caffe, cheap):
    (tmp_path / "w").write_bytes(b"\x0a\x00" + files.field(100, b"") * 100_000)
    refused(caffe, tmp_path / "w", CAFFE, "found 100000 layers")


@pytest.mark.parametrize(
    "content, says",
    [
        (b"\xa2\x06\x00" * 2_000_000, "found 2000000 layers"),
        (b"\x12\x00" * 2_000_000, "found 2000000 layers"),
        (files.layer("fc7", "InnerProduct", [b""] * 2_000_000), "found 2000000 blob"),
        (files.layer("fc7", "InnerProduct", [b"\x2a\x00" * 2_000_000, b""]), "found numbers in 2000000 pieces"),
    ],
    ids=["layers", "layers of 2013", "blobs", "pieces"],
)
def test_empty_messages_are_counted_before_they_are_parsed(tmp_path, caffe, content, says):
    (tmp_path / "w").write_bytes(b"\x0a\x00" + content)
    _, megabytes = Cost().of(lambda: refused(caffe, tmp_path / "w", CAFFE, says))
    assert megabytes < 130  # parsed, they would take twice as much, or much more


def test_a_file_larger_than_protocol_buffers_is_not_read(tmp_path, caffe, cheap):
    with (tmp_path / "w").open("wb") as file:
        file.write(b"\x0a\x00")
        file.truncate(2**40)  # sparse
    refused(caffe, tmp_path / "w", CAFFE, f"claims {2**40} bytes")


# --- pickles ---


def repeated(prefix: bytes, call: bytes) -> bytes:
    """A list of the results of `call`, which copies what `prefix` has memorized, a thousand times."""
    return b"\x80\x04" + prefix + b"(" + call * 1000 + b"l."


LONG_TEXT = b"X" + struct.pack("<I", 10**6) + b"x" * 10**6 + b"q\x000"
LONG_DICTIONARY = pickle.dumps(dict.fromkeys(range(10**5)), 2)[2:-1] + b"0"


@pytest.mark.parametrize(
    "content, says",
    [
        (b"\x80\x02Nr" + struct.pack("<I", CLAIMED // 8) + b".", "not of weights"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.", "not of weights"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", "not of weights"),
        (repeated(LONG_TEXT, b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"), "pickle: claims"),
        (repeated(LONG_DICTIONARY, b"ccollections\nOrderedDict\n(h\x00tR"), "pickle: claims"),
    ],
    ids=["memo", "bytes", "frame", "text", "dictionary"],
)
def test_a_pickle_that_claims_more_than_it_has_is_refused(tmp_path, caffe, content, says, cheap):
    (tmp_path / "w").write_bytes(files.HEADER + content)
    refused(caffe, tmp_path / "w", CAFFE, says)


def test_the_operations_of_a_pickle_are_limited(tmp_path, caffe, cheap):
    (tmp_path / "w").write_bytes(files.HEADER + b"\x80\x04(" + b"]" * 3_000_000 + b"l.")
    refused(caffe, tmp_path / "w", CAFFE, "more than 500000 operations")


# --- files that are none ---


def test_special_files_are_not_opened(tmp_path, caffe):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(ValueError, match=f"{name}: found a special file; expected a weight file"):
            recognise(tmp_path / name)
