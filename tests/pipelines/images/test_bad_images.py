"""Files that strangers may send: nothing fails, and no image changes what another one gives."""

import resource
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images import decode
from pipelines.images.jpeg_markers import MOST_SCANS, has_end, has_few_scans
from tests.helpers.image_files import encode, photograph

pytestmark = pytest.mark.medium

QUICK, SLOW = 200, 2000


@pytest.fixture(scope="module")
def views():
    spec = [tf.TensorSpec([None], tf.string)]
    return tf.function(decode.resized_images_or_zeros, input_signature=spec, autograph=False)


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


def with_thumbnail(data: bytes) -> bytes:
    """`data`, a JPEG file, with a small JPEG in its header, as cameras write it."""
    thumbnail = b"Exif\0\0" + encode(photograph(8, 8))
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_a_large_photograph_cut_short_is_refused_before_it_is_decoded(options):
    data = with_thumbnail(encode(photograph(1600, 1300), **options))
    for length in (len(data) - 1, len(data) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError, match="cut short"):
            decode.decode_rgb(tf.constant(data[:length]))
    for length in (data.rindex(b"\xff\xda") + 20, data.index(b"\xff\xda") + 20, 40):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode.decode_rgb(tf.constant(data[:length]))


def test_a_large_png_cut_short_is_refused_before_it_is_decoded(views):
    data = encode(photograph(1600, 1300), "PNG")
    for length in (len(data) - 1, len(data) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError, match="cut short"):
            decode.decode_rgb(tf.constant(data[:length]))
    stored, valid = views([data, data + bytes(1000)])
    assert valid.numpy().all()
    np.testing.assert_array_equal(stored[0], stored[1])


def test_what_comes_after_a_large_photograph_is_not_looked_at(views):
    data = with_thumbnail(encode(photograph(1600, 1300)))
    other = encode(photograph(64, 64))
    files = [data, data + bytes(1000), data + np.random.default_rng(0).bytes(10**6), data + other[:-50]]
    files.append(data[:2] + b"\xff" * 300 + data[2:])
    stored, valid = views(files)
    assert valid.numpy().all()
    for view in stored[1:]:
        np.testing.assert_array_equal(view, stored[0])


def test_a_file_of_too_many_scans_is_refused_before_it_is_decoded(views):
    data = encode(photograph(64, 64), progressive=True)
    scans, last = data.count(b"\xff\xda"), data[data.rindex(b"\xff\xda") : -2]
    most = data[:-2] + last * (MOST_SCANS - scans) + data[-2:]
    assert views([most])[1][0]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {MOST_SCANS} scans"):
        decode.decode_rgb(tf.constant(most[:-2] + last + most[-2:]))


def test_looking_at_markers_never_fails_and_refuses_nothing_that_can_be_decoded(views):
    files = [file for file in mutated_files(QUICK) if file.startswith(b"\xff\xd8\xff")]
    looks = tf.function(
        lambda file: (has_end(file), has_few_scans(file)), input_signature=[tf.TensorSpec([], tf.string)]
    )
    answers = [all(looks(file)) for file in files]
    valid = views(files)[1].numpy()
    assert all(answer for answer, decoded in zip(answers, valid, strict=True) if decoded)
    assert not all(answers) and any(valid)
    for junk in (b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"\xff" * 1000, b"\xff\xd8" * 1000):
        assert len(looks(junk)) == 2


def test_the_emptiest_files_are_long_enough_for_their_pixels(views):
    white = Image.new("L", (3000, 2000), 255)
    files = [encode(white, "PNG"), encode(white.convert("1"), "PNG"), encode(white, quality=1, optimize=True)]
    files.append(encode(white.convert("RGB"), quality=1, optimize=True, progressive=True, subsampling="4:2:0"))
    stored, valid = views(files)
    assert valid.numpy().all() and stored.numpy().min() >= 250


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_limit_of_pixels_can_be_chosen(kind):
    data = tf.constant(encode(photograph(100, 100), kind))
    assert decode.resized_image_or_zeros(data, max_pixels=10_000)[1]
    assert not decode.resized_image_or_zeros(data, max_pixels=9_999)[1]
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 9,999 pixels"):
        decode.decode_rgb(data, max_pixels=9_999)


def test_a_batch_is_what_its_images_are_alone_and_may_be_empty(views):
    files = good_files()
    stored, valid = views(files)
    spec = [tf.TensorSpec([], tf.string)]
    alone = tf.function(decode.resized_image_or_zeros, input_signature=spec, autograph=False)
    for file, view in zip(files, stored, strict=True):
        np.testing.assert_array_equal(view, alone(file)[0])
    assert valid.numpy().all() and [part.shape[0] for part in views(tf.constant([], tf.string))] == [0, 0]


@pytest.mark.slow
def test_a_rejected_file_takes_little_time_and_memory(views):
    large = with_thumbnail(encode(photograph(8000, 6000)))
    files = [*mutated_files(SLOW), large[:-2], large[: len(large) // 2]]
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
