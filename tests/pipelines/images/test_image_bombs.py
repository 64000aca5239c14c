"""What the cost of decoding one image rests on: limits of chunks, inflated data, scans and frames, each asserted."""

import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images import decode
from pipelines.images.jpeg_markers import fits_scans
from pipelines.images.png_chunks import MOST_CHUNKS, inflates_to_at_most, png_chunks
from tests.helpers import hostile_images as hostile
from tests.helpers.image_files import encode, photograph

pytestmark = pytest.mark.medium
MOST_EMPTY = 15_900_000
TEXT = hostile.chunk(b"zTXt", b"n\0\0" + hostile.zeros(100_000))


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decoded(file):
    return decode.decode_rgb(file)


def refused(file: bytes, why: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=why):
        decoded(file)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"sPLT", b"tEXt", b"fdAT", b"teST"])
def test_the_decoder_sees_nothing_but_size_palette_and_pixels(place, kind):
    plain = hostile.png(20, 10, 8, 3)
    file = hostile.png(20, 10, 8, 3, **{place: hostile.chunk(kind, b"n\0\0" + hostile.zeros(10_000)) * 2000})
    assert png_chunks(tf.constant(file)).bare.numpy() == plain
    assert np.all(decoded(file) == decoded(plain))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1000, 10**6])
def test_pixels_may_be_in_any_number_of_chunks_of_one_size(chunk_bytes):
    pixels = hostile.rows(40, 30, 8, 2, False, 0) + bytes(3)
    file = tf.constant(hostile.png(40, 30, pixels=pixels, chunk_bytes=chunk_bytes))
    chunks = png_chunks(file)
    assert chunks.is_whole and chunks.pixels.numpy() == pixels and chunks.bare == file


def test_more_different_chunks_than_any_encoder_writes_are_refused():
    def file(count: int) -> bytes:
        return hostile.png(before=b"".join(hostile.chunk(b"tEXt", bytes(index % 2)) for index in range(count)))

    assert decoded(file(MOST_CHUNKS - 2)).shape == (100, 100, 3)
    refused(file(MOST_CHUNKS), f"more than {MOST_CHUNKS} chunks")


@pytest.mark.parametrize("length", [0, 12, 2**31 - 1, 2**32 - 1])
def test_a_chunk_that_claims_any_length_is_refused_without_allocating_it(length):
    file = hostile.png(before=length.to_bytes(4, "big") + b"teST")
    refused(file, "cut short|Invalid PNG")


def test_data_that_inflate_beyond_the_pixels_are_refused_before_they_all_do():
    refused(hostile.png(pixels=hostile.zeros(50_000_000)), "more compressed data than pixels")
    # Long enough for the image, so that only inflating tells; the rest is not inflated.
    much = hostile.zeros(400_000_000)
    cost = hostile.Cost()
    seconds, megabytes = cost.of(lambda: refused(hostile.png(1000, 1000, pixels=much), "more compressed data than"))
    assert seconds < 5 and megabytes < 500  # 0.6 s and 210 MB where it was written


@pytest.mark.parametrize("block", [hostile.EMPTY_BLOCKS, b"\0\0\0\xff\xff"])
def test_blocks_without_data_are_refused_before_they_are_all_read(block):
    file = hostile.png(2400, 2400, pixels=b"\x78\x9c" + block * (MOST_EMPTY // len(block)))
    cost = hostile.Cost()
    seconds, _ = cost.of(lambda: refused(file, "more compressed data than pixels"))
    assert seconds < 1  # all of them took 1.9 s


def test_inflated_size_is_measured_in_steps():
    noise = np.random.default_rng(0).integers(0, 64, 1_000_000, np.uint8).tobytes()
    stream = tf.constant(zlib.compress(noise))
    for limit, fits in ((1_000_000, True), (400_000, False)):
        assert bool(inflates_to_at_most(stream, tf.constant(limit, tf.float64))) == fits


@pytest.mark.parametrize(
    "layout, fits",
    [((10, 30, 8, 2), True), ((10, 29, 16, 2), False), ((10, 15, 16, 2), True), ((10, 16, 8, 2, True), False)],
    ids=str,
)
def test_the_limit_of_inflated_data_counts_depth_and_interlacing(layout, fits, monkeypatch):
    monkeypatch.setattr(decode, "_LARGE", 0)
    file = tf.constant(hostile.png(*layout))
    if fits:
        assert decode.decode_rgb(file, max_pixels=310).shape == (layout[1], layout[0], 3)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="too much inflated data"):
            decode.decode_rgb(file, max_pixels=310)


def test_scans_times_pixels_are_limited():
    file = tf.constant(encode(photograph(64, 64), progressive=True))
    scans = file.numpy().count(b"\xff\xda")
    most = 1000
    for pixels, fits in ((5 * most / scans, True), (5 * most / scans + 1, False)):
        assert bool(fits_scans(file, tf.constant(pixels, tf.float64), most)) == fits


def test_an_image_whose_coefficients_are_kept_may_have_half_of_the_pixels():
    one_scan, most = encode(photograph(64, 64)), 1000
    frame, scan = one_scan.index(b"\xff\xc0"), one_scan.index(b"\xff\xda")
    progressive = one_scan[: frame + 1] + b"\xc2" + one_scan[frame + 2 :]
    one_component = one_scan[: scan + 4] + b"\1" + one_scan[scan + 5 :]
    for file, limit in ((one_scan, most), (progressive, most / 2), (one_component, most / 2)):
        assert fits_scans(tf.constant(file), tf.constant(limit, tf.float64), most)
        assert one_scan is file or not fits_scans(tf.constant(file), tf.constant(limit + 1, tf.float64), most)


def test_a_large_progressive_file_of_many_scans_is_refused_before_it_is_decoded():
    file = encode(photograph(2000, 1500), quality=30, progressive=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels for its number of scans"):
        decode.decode_rgb(tf.constant(hostile.with_scans(file, 30)), max_pixels=5_000_000)
    assert decode.decode_rgb(tf.constant(hostile.with_scans(file, 30))).shape == (2000, 1500, 3)


def animation(frames: int) -> bytes:
    images = [photograph(60, 80, seed).quantize(64) for seed in range(frames)]
    return encode(images[0], "GIF", save_all=True, append_images=images[1:])


def test_only_the_first_frame_of_a_gif_is_decoded():
    file = animation(3)
    first = np.asarray(Image.fromarray(np.asarray(photograph(60, 80, 0).quantize(64).convert("RGB"))))
    np.testing.assert_array_equal(decode.decode_rgb(file), first)
    second = file.index(b"\x2c", len(file) // 3)
    broken = file[:second] + bytes(20)
    np.testing.assert_array_equal(decode.decode_rgb(broken), first)


def test_a_gif_whose_first_frame_is_larger_than_the_limit_is_refused():
    file = bytearray(animation(1))
    at = file.index(b"\x2c\0\0\0\0\x50\0\x3c\0")
    file[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    refused(bytes(file), "more than 50,000,000 pixels")


@pytest.mark.slow
def test_no_hostile_file_costs_much():
    served = tf.function(decode.resized_images_or_zeros, input_signature=[tf.TensorSpec([None], tf.string)])
    cost = hostile.Cost()
    served(tf.constant([hostile.png(), encode(photograph()), b""]))
    for name, data in hostile.hostile_files(70, seed=1):
        file = tf.constant([data])
        seconds, megabytes = cost.of(lambda file=file: served(file))
        # Three times the aim of one second, for slow and busy machines.
        assert seconds < 3 and megabytes < 500, name
