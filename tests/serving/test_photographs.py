"""Image files are told from others, and cut as the served model cuts them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from serving.photographs import find_photographs, read_photograph, resize_image


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def empty_png(width: int, height: int) -> bytes:
    """A small PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photograph_is_read_whatever_its_name(tmp_path, photograph, kind):
    path = tmp_path / "grün [1] 狗.txt"
    path.write_bytes(photograph((10, 200, 10), kind=kind))
    assert read_photograph(str(path)) == path.read_bytes()


def test_a_file_that_is_no_photograph_is_named_with_the_reason(tmp_path, photograph):
    good = photograph((10, 200, 10))
    for name, content, reason in [
        ("empty", b"", "the file is empty"),
        ("text", b"hello, world", "begins with b'hello, w'"),
        ("gif", b"GIF89a" + bytes(20), "begins with b'GIF89a"),
        ("junk", b"\xff\xd8\xff" + b"x" * 500, "the file is damaged"),
        ("cut", good[:100], "the file is damaged"),
        ("damaged", encoded(np.zeros((9, 9, 3), np.uint8))[:-30], "the file is damaged"),
        ("bomb", empty_png(12_000, 12_000), "at most 89,478,485 pixels"),
        ("larger bomb", empty_png(60_000, 60_000), "at most 89,478,485 pixels"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            read_photograph(str(path))
        assert str(caught.value).startswith(f"{path}: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing.jpg: No such file"):
        read_photograph(str(tmp_path / "nothing.jpg"))
    with pytest.raises(ValueError, match=f"{tmp_path}: Is a directory"):
        read_photograph(str(tmp_path))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    images = ("b.PNG", "a.jpg", ".hidden.jpg", "deep/c [1].jpeg", "deep/.git/d.jpg", "other/e.webp")
    for name in (*images, "notes.txt", "other/folder.webp/notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "argument, found",
    [
        ("photos", ["a.jpg", "b.PNG", "deep/c [1].jpeg", "other/e.webp"]),
        ("photos/deep/", ["deep/c [1].jpeg"]),
        ("photos/*.jpg", ["a.jpg"]),
        ("photos/**/*.jp*g", ["a.jpg", "deep/c [1].jpeg"]),
        ("photos/[ab].*", ["a.jpg", "b.PNG"]),
        ("photos/deep/c [1].jpeg", ["deep/c [1].jpeg"]),
        ("photos/notes.txt", ["notes.txt"]),
        ("photos/missing.jpg", ["missing.jpg"]),
        ("photos/*.tiff", ["*.tiff"]),
    ],
)
def test_arguments_stand_for_files(folder, argument, found):
    assert find_photographs([argument]) == [f"photos/{name}" for name in found]


def test_files_come_in_the_order_of_the_arguments(folder):
    assert find_photographs(["photos/b.PNG", "-", "photos/deep"]) == ["photos/b.PNG", "-", "photos/deep/c [1].jpeg"]


def test_a_folder_without_images_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no image in this folder; expected files named"):
        find_photographs(["photos", "empty"])


def test_a_view_of_256_pixels_is_the_picture_itself():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    np.testing.assert_array_equal(resize_image(encoded(pixels)), pixels)


@pytest.mark.parametrize("size", [(300, 400), (401, 299), (700, 513), (100, 31), (256, 300), (1, 40)])
def test_a_view_is_the_centre_of_the_picture_resized_to_256(size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    shorter = min(size)
    height, width = (max(256, round(side * 256 / shorter)) for side in size)
    whole = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR), np.int32)
    top, left = (height - 256) // 2, (width - 256) // 2
    expected = whole[top : top + 256, left : left + 256]
    assert np.abs(resize_image(encoded(pixels)) - expected).max() <= 1


def test_grey_pictures_become_rgb():
    view = resize_image(encoded(np.full((300, 300), 77, np.uint8)))
    np.testing.assert_array_equal(view, np.full((256, 256, 3), 77))


@pytest.mark.parametrize("form, turns", [("PNG", 0), ("JPEG", -1)])
def test_an_orientation_mark_is_followed_where_the_served_model_follows_it(form, turns):
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:128] = 200
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # "rotate by 90 degrees" (EXIF 2.3, Orientation)
    buffer = io.BytesIO()
    image.save(buffer, form, exif=exif, quality=95)
    assert np.abs(resize_image(buffer.getvalue()).astype(int) - np.rot90(pixels, turns)).max() <= 3
