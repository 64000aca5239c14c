import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.images.resized import resized_file, resized_pixels
from tests.helpers.image_files import encode, photograph, pillow_resized_image, pixels


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_every_kind_becomes_the_rgb_view_pillow_gives(mode: str):
    encoded = encode(photograph(300, 400).convert(mode))
    expected = pillow_resized_image(Image.fromarray(pixels(encoded)))
    assert largest_difference(resized_pixels(encoded), expected) <= 1


@pytest.mark.parametrize(("file_format", "mode"), [("PNG", "RGBA"), ("PNG", "L"), ("PNG", "P"), ("BMP", "RGB")])
def test_other_formats_become_rgb(file_format: str, mode: str):
    encoded = encode(photograph(300, 400).convert(mode), file_format)
    assert largest_difference(resized_pixels(encoded), pillow_resized_image(Image.fromarray(pixels(encoded)))) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_set_upright_by_its_exif_tag(orientation: int, tmp_path):
    encoded = encode(photograph(256, 320), orientation=orientation)
    (tmp_path / "photo.jpg").write_bytes(encoded)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "photo.jpg"))
    assert largest_difference(resized_pixels(encoded), pillow_resized_image(upright)) <= 1


def test_an_orientation_that_does_not_exist_is_ignored():
    plain, odd = encode(photograph(256, 256)), encode(photograph(256, 256), orientation=77)
    np.testing.assert_array_equal(resized_pixels(odd), pixels(plain))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "not an image file"),
        (b"a text file named .jpg", "not an image file"),
        (encode(photograph(300, 300))[:1500], "Invalid JPEG data"),
        (encode(photograph(300, 300))[:100], "Invalid JPEG data"),
        (encode(photograph(300, 300), "PNG")[:900], "cut short"),
    ],
    ids=["empty", "text", "cut body", "cut header", "cut png"],
)
def test_what_cannot_be_decoded_is_refused_with_one_line(encoded: bytes, reason: str):
    with pytest.raises(ValueError, match=reason) as raised:
        resized_pixels(encoded)
    message = str(raised.value)
    assert "\n" not in message and "{{" not in message and "[Op" not in message


def test_a_baseline_rgb_jpeg_of_the_stored_size_is_kept_to_the_byte():
    encoded = encode(photograph(256, 256), quality=40)
    kept, decoded = resized_file(encoded)
    assert kept == encoded
    np.testing.assert_array_equal(decoded, pixels(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        encode(photograph(256, 256), progressive=True),
        encode(photograph(256, 256), orientation=3),
        encode(photograph(256, 256).convert("L")),
        encode(photograph(256, 256).convert("CMYK")),
        encode(photograph(256, 256), "PNG"),
        encode(photograph(256, 257)),
    ],
    ids=["progressive", "rotated", "grey", "cmyk", "png", "wide"],
)
def test_anything_else_is_stored_anew_as_baseline_rgb_jpeg(encoded: bytes):
    stored, decoded = resized_file(encoded)
    image = Image.open(io.BytesIO(stored))
    assert (image.format, image.mode, image.size, "progressive" in image.info) == ("JPEG", "RGB", (256, 256), False)
    np.testing.assert_array_equal(decoded, pixels(stored))
    assert np.abs(decoded.astype(int) - resized_pixels(encoded)).mean() < 3


@pytest.mark.parametrize("size", [1, 32, 64])
def test_small_images_are_stored_without_loss(size):
    encoded = encode(photograph(90, 70))
    stored, decoded = resized_file(encoded, size=size, encoding="png")
    image = Image.open(io.BytesIO(stored))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (size, size))
    np.testing.assert_array_equal(np.asarray(image), decoded)
    np.testing.assert_array_equal(decoded, resized_pixels(encoded, size=size))


def test_a_jpeg_is_kept_only_if_it_has_the_size_asked_for():
    encoded = encode(photograph(100, 100))
    assert resized_file(encoded, size=100)[0] == encoded
    stored, decoded = resized_file(encoded, size=80)
    assert Image.open(io.BytesIO(stored)).size == (80, 80)
    assert decoded.shape == (80, 80, 3)
