"""Files that strangers may send: nothing fails, and no image changes what another one gives."""

import resource
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from image_files import encode, photograph
from PIL import Image

from pipelines import decode

QUICK, SLOW = 200, 2000


@pytest.fixture(scope="module")
def views():
    spec = [tf.TensorSpec([None], tf.string)]
    return tf.function(decode.stored_views_or_zeros, input_signature=spec, autograph=False)


def good_files() -> list[bytes]:
    """Every kind of file that a request may hold."""
    image = photograph(120, 160)
    sixteen_bits = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    transparent = image.copy()
    transparent.putalpha(image.convert("L"))
    return [
        encode(image),
        encode(image, progressive=True),
        encode(image, restart_marker_rows=2),
        encode(image.convert("L")),
        encode(image.convert("CMYK")),
        encode(image, orientation=6),
        encode(image, "PNG"),
        encode(image.quantize(16), "PNG"),
        encode(transparent, "PNG"),
        encode(sixteen_bits, "PNG"),
        encode(photograph(1, 1), "PNG"),
        encode(photograph(1, 900)),
    ]


def mutated(random: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """`data` with something wrong: cut, overwritten, doubled, left out, mixed with `other`, or of another size."""
    content = bytearray(data)
    first, second = sorted(int(at) for at in random.integers(0, len(content), 2))
    kind = random.integers(0, 7)
    if kind == 0:
        return bytes(content[:second])
    if kind == 1:
        for at in random.integers(0, len(content), random.integers(1, 20)):
            content[at] = random.integers(0, 256)
    elif kind == 2:
        content[first:second] = random.bytes(second - first)
    elif kind == 3:
        content[second:second] = content[first:second]
    elif kind == 4:
        del content[first:second]
    elif kind == 5:
        content[first:] = other[first:]
    else:
        # Where width and height are: JPEG in its frame header, PNG behind the eighth byte of its first chunk.
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        at, form = (frame + 5, ">HH") if frame >= 0 else (16, ">II")
        largest = 2**16 if frame >= 0 else 2 ** int(random.integers(8, 32))
        struct.pack_into(form, content, at, *(int(side) for side in random.integers(0, largest, 2)))
    return bytes(content)


def mutated_files(count: int) -> list[bytes]:
    random, files = np.random.default_rng(11), good_files()
    pairs = random.integers(0, len(files), (count, 2))
    return [mutated(random, files[one], files[other]) for one, other in pairs]


def test_no_mutated_file_fails_a_batch_or_changes_its_neighbours(views):
    neighbours = good_files()
    alone = [views([file])[0][0].numpy() for file in neighbours]
    broken = mutated_files(QUICK)
    rejected = 0
    for start in range(0, QUICK, len(neighbours)):
        part = broken[start : start + len(neighbours)]
        batch = [file for pair in zip(part, neighbours, strict=False) for file in pair]
        stored, valid = views(batch)
        for index in range(len(part)):
            assert valid[2 * index + 1]
            np.testing.assert_array_equal(stored[2 * index + 1], alone[index])
            if not valid[2 * index]:
                rejected += 1
                assert not np.any(stored[2 * index])
    assert QUICK / 3 < rejected < QUICK, "mutations that break nothing, or everything, try little"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"file_format": "PNG"}], ids=str)
def test_a_file_cut_at_any_byte_is_refused_or_complete(views, options):
    data = encode(photograph(24, 20), **options)
    whole = views([data])[0][0].numpy()
    stored, valid = views([data[:length] for length in range(len(data))])
    # The last bytes say only that the file ends there.
    assert not np.any(valid[: len(data) - 12])
    for view in tf.boolean_mask(stored, valid).numpy():
        np.testing.assert_array_equal(view, whole)
    assert not np.any(tf.boolean_mask(stored, ~valid))


def claiming(data: bytes, width: int, height: int) -> bytes:
    at, form = (16, ">II") if data.startswith(b"\x89PNG") else (data.index(b"\xff\xc0") + 5, ">HH")
    sides = (width, height) if form == ">II" else (height, width)
    return data[:at] + struct.pack(form, *sides) + data[at + struct.calcsize(form) :]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_too_short_for_its_pixels_is_refused_before_they_are_decoded(kind):
    data = claiming(encode(photograph(), kind), 7000, 7000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too short for its number of pixels"):
        decode.decode_rgb(tf.constant(data))


def test_the_emptiest_files_are_long_enough_for_their_pixels(views):
    white = Image.new("L", (3000, 2000), 255)
    files = [encode(white, "PNG"), encode(white.convert("1"), "PNG"), encode(white, quality=1, optimize=True)]
    files.append(encode(white.convert("RGB"), quality=1, optimize=True, progressive=True, subsampling="4:2:0"))
    stored, valid = views(files)
    assert valid.numpy().all() and stored.numpy().min() >= 250


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_limit_of_pixels_can_be_chosen(kind):
    data = tf.constant(encode(photograph(100, 100), kind))
    assert decode.stored_view_or_zeros(data, max_pixels=10_000)[1]
    assert not decode.stored_view_or_zeros(data, max_pixels=9_999)[1]
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 9,999 pixels"):
        decode.decode_rgb(data, max_pixels=9_999)


def test_a_batch_is_what_its_images_are_alone_and_may_be_empty(views):
    files = good_files()
    stored, valid = views(files)
    for file, view in zip(files, stored, strict=True):
        np.testing.assert_array_equal(view, decode.stored_view_or_zeros(tf.constant(file))[0])
    assert valid.numpy().all() and [part.shape[0] for part in views(tf.constant([], tf.string))] == [0, 0]


@pytest.mark.slow
def test_a_rejected_file_takes_little_time_and_memory(views):
    files = mutated_files(SLOW)
    views(good_files())
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in files:
        started = time.process_time()
        _, valid = views([file])
        if not valid[0]:
            slowest = max(slowest, time.process_time() - started)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"slowest rejected file {slowest * 1e3:.0f} ms of processor time, peak memory grew by {grown:.0f} MB")
    # Ten and twice what a rejected file should take: 100 ms and 50 MB.
    assert slowest < 1 and grown < 100
