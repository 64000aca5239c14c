import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images import crops, decode

WIDTH, HEIGHT = 400, 300


def photograph() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int) -> bytes:
    small = encoded(photograph(), "JPEG")
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", height, width) + small[at + 4 :]


def transparent() -> Image.Image:
    image = photograph()
    image.putalpha(image.convert("L"))
    return image


def flicker() -> list[Image.Image]:
    """Two pictures that differ everywhere, in colours a GIF can hold."""
    return [photograph().quantize(64), photograph().transpose(Image.Transpose.ROTATE_180).quantize(64)]


GOOD = {
    "jpeg": lambda: encoded(photograph(), "JPEG", quality=95),
    "progressive jpeg": lambda: encoded(photograph(), "JPEG", progressive=True),
    "grey jpeg": lambda: encoded(photograph().convert("L"), "JPEG"),
    "cmyk jpeg": lambda: encoded(photograph().convert("CMYK"), "JPEG"),
    "jpeg with bytes after its end": lambda: encoded(photograph(), "JPEG") + b"more",
    "one pixel jpeg": lambda: encoded(photograph().crop((0, 0, 1, 1)), "JPEG"),
    "png": lambda: encoded(photograph(), "PNG"),
    "grey png": lambda: encoded(photograph().convert("L"), "PNG"),
    "palette png": lambda: encoded(photograph().quantize(16), "PNG"),
    "transparent png": lambda: encoded(transparent(), "PNG"),
    "wide png": lambda: encoded(Image.new("RGB", (10_000, 1), (9, 8, 7)), "PNG"),
    "bmp": lambda: encoded(photograph(), "BMP"),
    "gif": lambda: encoded(flicker()[0], "GIF"),
    "animated gif": lambda: encoded(flicker()[0], "GIF", save_all=True, append_images=flicker()[1:]),
    "transparent gif": lambda: encoded(flicker()[0], "GIF", transparency=3),
    "webp": lambda: encoded(photograph(), "WEBP"),
    "transparent webp": lambda: encoded(transparent(), "WEBP", lossless=True, exact=True),
}
ON_THE_WIRE = [name for name in GOOD if "jpeg" in name or "png" in name]
OFF_THE_WIRE = [name for name in GOOD if name not in ON_THE_WIRE]

BAD = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "text": lambda: b"no image at all, but a text with more letters than a header has",
    "a jpeg's first bytes": lambda: b"\xff\xd8\xff",
    "a jpeg's first bytes, then junk": lambda: b"\xff\xd8\xff" + b"x" * 500,
    "jpeg cut in its header": lambda: GOOD["jpeg"]()[:100],
    "jpeg cut in its body": lambda: GOOD["jpeg"]()[: len(GOOD["jpeg"]()) // 2],
    "jpeg cut near its end": lambda: GOOD["jpeg"]()[:-100],
    "jpeg without pixels": lambda: jpeg_that_claims(0, 0),
    "png cut in its header": lambda: GOOD["png"]()[:20],
    "png cut in its body": lambda: GOOD["png"]()[:20_000],
    "gif cut": lambda: GOOD["gif"]()[:500],
    "bmp cut": lambda: GOOD["bmp"]()[:5000],
    "webp cut": lambda: GOOD["webp"]()[:500],
    "animated webp": lambda: encoded(photograph(), "WEBP", save_all=True, append_images=[transparent()]),
    "tiff": lambda: encoded(photograph(), "TIFF"),
}

TOO_LARGE = {
    "png of 256 million pixels": lambda: png_that_claims(16_000, 16_000),
    "png of more pixels than an int32 holds": lambda: png_that_claims(65_536, 65_536),
    "png of more pixels than an int64 holds": lambda: png_that_claims(2**32 - 1, 2**32 - 1),
    "jpeg of 256 million pixels": lambda: jpeg_that_claims(16_000, 16_000),
    "jpeg of more pixels than an int32 holds": lambda: jpeg_that_claims(65_500, 65_500),
}


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_in_graph(data):
    return decode.decode_rgb(data)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decode_batch(data):
    signature = (tf.TensorSpec([256, 256, 3], tf.uint8), tf.TensorSpec([], tf.bool))
    return tf.map_fn(decode.resized_image_or_zeros, data, fn_output_signature=signature)


@pytest.mark.parametrize("name", GOOD)
def test_pixels_are_those_pillow_sees(name):
    data = GOOD[name]()
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_in_graph(data), expected)
    np.testing.assert_array_equal(decode.decode_rgb(tf.constant(data)), expected)


def test_16_bit_png_keeps_the_upper_byte():
    values = np.random.default_rng(0).integers(0, 2**16, (20, 30), np.uint16)
    pixels = decode_in_graph(encoded(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(pixels, np.repeat(values[..., None] // 256, 3, axis=2))


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_whole_image_raises(name):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_in_graph(BAD[name]())


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_gigantic_image_is_refused_by_its_header(name):
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 50,000,000 pixels"):
        decode_in_graph(TOO_LARGE[name]())


def test_formats_that_were_not_asked_for_are_refused():
    for name in OFF_THE_WIRE:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"not an image file \(jpeg, png\)"):
            decode.decode_rgb(tf.constant(GOOD[name]()), decode.WIRE_FORMATS)


@pytest.mark.medium
def test_bad_images_become_zeros_and_change_no_other():
    bad = [make() for make in (BAD | TOO_LARGE).values()] + [GOOD[name]() for name in OFF_THE_WIRE]
    good = [GOOD[name]() for name in ON_THE_WIRE]
    data = [image for pair in zip(bad, good, strict=False) for image in pair] + bad[len(good) :]

    views, valid = decode_batch(data)

    np.testing.assert_array_equal(valid, [image in good for image in data])
    for image, view in zip(data, views.numpy(), strict=True):
        expected = np.zeros((256, 256, 3))
        if image in good:
            expected = crops.resize_image(decode.decode_rgb(tf.constant(image))).numpy()
        np.testing.assert_array_equal(view, expected)


@pytest.mark.medium
def test_the_guarded_view_follows_the_resize_policy_and_the_formats():
    data = tf.constant(GOOD["bmp"]())
    view, valid = decode.resized_image_or_zeros(data, "warp", decode.FORMATS)
    assert valid
    np.testing.assert_array_equal(view, crops.resize_image(decode.decode_rgb(data), "warp"))


@pytest.mark.medium
def test_the_guard_survives_in_a_saved_model(tmp_path):
    module = tf.Module()
    module.decode = decode_batch
    tf.saved_model.save(module, str(tmp_path))
    data = [GOOD["jpeg"](), b"", GOOD["png"]()]

    views, valid = tf.saved_model.load(str(tmp_path)).decode(tf.constant(data))

    np.testing.assert_array_equal(valid, [True, False, True])
    np.testing.assert_array_equal(views, decode_batch(data)[0])


HEADERS = {
    "gif": lambda: encoded(photograph(), "GIF"),
    "bmp": lambda: encoded(photograph(), "BMP"),
    "bmp from the top": lambda: (
        GOOD["bmp"]()[:22] + (-photograph().height).to_bytes(4, "little", signed=True) + b"?" * 9
    ),
    "lossy webp": lambda: encoded(photograph(), "WEBP"),
    "lossless webp": lambda: encoded(photograph(), "WEBP", lossless=True),
    "extended webp": lambda: encoded(transparent(), "WEBP"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_size_in_a_header_decides_before_anything_is_decoded(name):
    only_header, pixels = HEADERS[name]()[:32], photograph().width * photograph().height
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {pixels - 1:,} pixels"):
        decode.decode_rgb(tf.constant(only_header), max_pixels=pixels - 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"^(?!.*more than)"):
        decode.decode_rgb(tf.constant(only_header), max_pixels=pixels)


@pytest.mark.parametrize("colours", [256, 7])
def test_a_palette_bmp_has_its_colours(colours):
    file = encoded(photograph().quantize(colours), "BMP")
    expected = Image.open(io.BytesIO(file)).convert("RGB")
    np.testing.assert_array_equal(decode.decode_rgb(file), expected)


def bmp_with_masks(masks: bytes) -> bytes:
    pixels = np.asarray(photograph().convert("RGBA"))[..., [2, 1, 0, 3]][::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header + pixels


def test_a_bmp_of_other_masks_is_refused():
    usual = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    np.testing.assert_array_equal(decode.decode_rgb(bmp_with_masks(usual)), photograph())
    with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP that is compressed or of an unusual kind"):
        decode.decode_rgb(bmp_with_masks(usual[::-1]))


@pytest.mark.parametrize("field", [(28, 4), (28, 16), (30, 1)], ids=["4 bits", "16 bits", "run-length"])
def test_unusual_kinds_of_bmp_are_refused(field):
    position, value = field
    file = bytearray(encoded(photograph().quantize(256), "BMP"))
    file[position] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP that is compressed or of an unusual kind"):
        decode.decode_rgb(bytes(file))
