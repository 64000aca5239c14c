"""Caffe's files and pickles that claim to be larger than they are, and files that are none: refused in one line."""

import os
import pickle
import struct

import pytest

from keras_alexnet import VARIANTS
from keras_alexnet.weights import recognise
from tests.helpers import weight_files as files
from tests.helpers.hostile_images import Cost
from tests.helpers.weight_files import CLAIMED, refused

CAFFE = VARIANTS["caffe"]


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
    # What threads of other tests allocate meanwhile counts, too.
    megabytes = min(Cost().of(lambda: refused(caffe, tmp_path / "w", CAFFE, says))[1] for _ in range(3))
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


@pytest.mark.medium
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
