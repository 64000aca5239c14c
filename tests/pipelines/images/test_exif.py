import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines.images.decode import decode_rgb, resized_image_or_zeros
from pipelines.images.exif import jpeg_orientation, upright, webp_orientation
from tests.helpers.image_files import encode, photograph

PLAIN = encode(photograph(40, 60))

decode = tf.function(decode_rgb, input_signature=[tf.TensorSpec([], tf.string)])


def exif_segment(orientation: int, order: str, tags_before: int = 0, kind: int = 3, count: int | None = None) -> bytes:
    """An APP1 segment with an EXIF directory, written from the specification; `order` is "<" or ">"."""
    entries = [struct.pack(order + "HHII", 0x0100 + n, 4, 1, 6) for n in range(tags_before)]
    entries.append(struct.pack(order + "HHIHH", 0x0112, kind, 1, orientation, 0))
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    directory = struct.pack(order + "H", len(entries) if count is None else count) + b"".join(entries) + b"\0" * 4
    body = b"Exif\0\0" + tiff + directory
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def with_segments(*segments: bytes) -> bytes:
    """PLAIN without its own APP0, and with `segments` in its place."""
    (length,) = struct.unpack(">H", PLAIN[4:6])
    return PLAIN[:2] + b"".join(segments) + PLAIN[4 + length :]


APP0 = PLAIN[2 : 4 + struct.unpack(">H", PLAIN[4:6])[0]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tags_before", [0, 11])
def test_the_orientation_is_read_in_both_byte_orders(orientation, order, tags_before):
    segment = exif_segment(orientation, order, tags_before)
    comment = b"\xff\xfe" + struct.pack(">H", 12) + b"0123456789"
    for encoded in (with_segments(segment), with_segments(APP0, segment), with_segments(APP0, comment, segment)):
        assert int(jpeg_orientation(encoded)) == orientation


def exif_data(orientation: int, order: str) -> bytes:
    return exif_segment(orientation, order, tags_before=2)[10:]


def png(orientation: int, order: str, place: int, name: bytes = b"") -> bytes:
    """A PNG file with several chunks of pixels and its EXIF data at this place among all chunks."""
    data, chunks, position = name + exif_data(orientation, order), [], 8
    plain = encode(photograph(200, 300), "PNG", compress_level=0)
    while position < len(plain):
        end = position + 12 + int.from_bytes(plain[position : position + 4], "big")
        chunks.append(plain[position:end])
        position = end
    checksum = zlib.crc32(b"eXIf" + data).to_bytes(4, "big")
    chunks.insert(place, len(data).to_bytes(4, "big") + b"eXIf" + data + checksum)
    return plain[:8] + b"".join(chunks)


def webp(orientation: int, order: str, mode: str = "RGB", name: bytes = b"", **options) -> bytes:
    return encode(photograph(40, 60).convert(mode), "WEBP", exif=name + exif_data(orientation, order), **options)


ENCODERS = {
    "JPEG": lambda *exif: with_segments(APP0, exif_segment(*exif)),
    "PNG": lambda *exif: png(*exif, place=1),
    "PNG behind the pixels": lambda *exif: png(*exif, place=-1),
    "PNG with JPEG's name": lambda *exif: png(*exif, place=1, name=b"Exif\0\0"),
    "WebP": webp,
    "WebP without loss": lambda *exif: webp(*exif, lossless=True),
    "WebP with transparency": lambda *exif: webp(*exif, mode="RGBA"),
    "WebP with a profile": lambda *exif: webp(*exif, icc_profile=b"odd"),
    "WebP with JPEG's name": lambda *exif: webp(*exif, name=b"Exif\0\0"),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_images_turn_as_pillow_turns_them(kind):
    for orientation in range(1, 9):
        for order in "<>":
            encoded = ENCODERS[kind](orientation, order)
            expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
            np.testing.assert_array_equal(decode(encoded), expected, f"{orientation}{order}")


def test_a_webp_file_cut_anywhere_has_the_orientation_or_none():
    encoded = webp(6, "<", lossless=True)
    read = tf.function(webp_orientation, input_signature=[tf.TensorSpec([], tf.string)])
    found = [int(read(encoded[:end])) for end in range(0, len(encoded) + 1, 7)] + [int(read(encoded))]
    assert set(found) == {1, 6} and found == sorted(found)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        PLAIN,
        with_segments(exif_segment(0, "<")),
        with_segments(exif_segment(9, "<")),
        with_segments(exif_segment(6, "<", kind=4)),
        with_segments(exif_segment(6, "<", count=0)),
        with_segments(exif_segment(6, ">").replace(b"Exif", b"Exix")),
        with_segments(exif_segment(6, "<")[:14] + struct.pack("<I", 2**32 - 1)),
    ],
    ids=["empty", "1 byte", "2 bytes", "none", "0", "9", "a long", "no entries", "no EXIF", "a directory far away"],
)
def test_without_a_valid_orientation_an_image_is_upright(encoded):
    assert int(jpeg_orientation(encoded)) == 1


def test_the_orientation_is_found_behind_other_segments_of_any_length():
    def segment(marker: int, length: int) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", length) + b"\xff" * (length - 2)

    profile = [segment(0xE2, 65_535)] * 20
    before = [APP0, segment(0xFE, 2), segment(0xED, 5_800), *profile, b"\xff" * 30, segment(0xE1, 60_000)]
    assert int(jpeg_orientation(with_segments(*before, exif_segment(6, ">")))) == 6


@pytest.mark.parametrize("name", ["im_manykeywords_exif6.jpg", "mpo_o6.jpg", "palette8.bmp"])
def test_files_from_failed_trials(name):
    path = Path(__file__).parents[4] / "shared" / "cases" / name
    if not path.exists():
        pytest.skip(f"../shared/cases/{name} is not there")
    expected = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    np.testing.assert_array_equal(decode_rgb(path.read_bytes()), expected)


def test_a_file_cut_anywhere_does_not_fail():
    encoded = with_segments(APP0, exif_segment(6, ">", 3))
    read = tf.function(jpeg_orientation, input_signature=[tf.TensorSpec([], tf.string)])
    found = [int(read(encoded[:end])) for end in range(len(APP0) + 120)]
    assert set(found) == {1, 6} and found == sorted(found)


def test_images_turn_as_numpy_turns_them():
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(upright(tf.constant(image), tf.constant(6)), np.rot90(image, -1))
    np.testing.assert_array_equal(upright(tf.constant(image), tf.constant(8)), np.rot90(image, 1))
    np.testing.assert_array_equal(upright(tf.constant(image), tf.constant(3)), np.rot90(image, 2))


@pytest.mark.medium
def test_the_served_view_is_upright():
    turned, _ = resized_image_or_zeros(encode(photograph(256, 256), orientation=6))
    plain, _ = resized_image_or_zeros(encode(photograph(256, 256)))
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))
