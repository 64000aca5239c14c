import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.preparation.prepare import prepare
from tests.helpers.image_files import encode, image_folder, photograph, pillow_resized_image, pixels, write_files


def folder_source(root: Path) -> Source:
    return open_source(f"folder:{root}")


def records(source: Source, split: str) -> dict[str, tuple[bytes, int]]:
    return {key.decode(): (encoded, label) for encoded, label, key in source.encoded(split).as_numpy_iterator()}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "images")


def png_that_claims(width: int, height: int) -> bytes:
    start = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + start + struct.pack(">I", zlib.crc32(start))


def jpeg_that_claims(width: int, height: int) -> bytes:
    small = encode(photograph())
    at = small.index(b"\xff\xc0") + 5
    return small[:at] + struct.pack(">HH", height, width) + small[at + 4 :]


def test_files_of_many_kinds_are_stored_and_the_broken_ones_named_and_skipped(tmp_path, capsys):
    frames = {"save_all": True, "append_images": [photograph(seed=9)]}
    sixteen_bits = Image.fromarray(np.asarray(photograph().convert("L")).astype(np.uint16) * 257)
    good = {
        "grey.jpg": encode(photograph().convert("L")),
        "cmyk.JPEG": encode(photograph().convert("CMYK")),
        "alpha.png": encode(photograph().convert("RGBA"), "PNG"),
        "16bit.png": encode(sixteen_bits, "PNG"),
        "png.JPEG": encode(photograph(), "PNG"),
        "gif.JPEG": encode(photograph(), "GIF"),
        "webp.JPEG": encode(photograph(), "WEBP", quality=95),
        "bmp.JPEG": encode(photograph(), "BMP"),
        "animated.gif": encode(photograph(), "GIF", **frames),
        "dot.jpg": encode(photograph(1, 1)),
        "strip.jpg": encode(photograph(10, 10_000)),
    }
    broken = {
        "cut.jpg": (encode(photograph(300, 300))[:2000], "Invalid JPEG data"),
        "empty.png": (b"", "not an image file"),
        "text.jpg": (b"hello", "not an image file"),
        "bomb.png": (png_that_claims(60_000, 60_000), "more than 50,000,000 pixels"),
        "bomb.jpg": (jpeg_that_claims(60_000, 60_000), "more than 50,000,000 pixels"),
        "bomb.gif": (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(30), "more than 50,000,000 pixels"),
        "animated.webp": (encode(photograph(), "WEBP", **frames), "animated WebP"),
    }
    turned = {"turned.jpg": encode(photograph(256, 320), orientation=6)}
    images = write_files(
        tmp_path / "images/train/cat", good | turned | {n: content for n, (content, _) in broken.items()}
    )
    summary = prepare(folder_source(tmp_path / "images"), tmp_path / "out", max_bad_fraction=0.5)
    stored = records(open_source(str(tmp_path / "out")), "train")
    assert set(stored) == {f"train/cat/{name}" for name in good | turned}
    errors = capsys.readouterr().err
    for name, (_, reason) in broken.items():
        assert reason in summary["bad_images"].pop(f"train/cat/{name}")
        assert f"skipped train/cat/{name}: " in errors
    assert summary["bad_images"] == {}
    for name in good:
        # 16 bits are more than Pillow's conversion to RGB can do.
        original = photograph().convert("L").convert("RGB") if name == "16bit.png" else Image.open(images / name)
        difference = pixels(stored[f"train/cat/{name}"][0]).astype(int) - pillow_resized_image(original.convert("RGB"))
        assert np.abs(difference).mean() < 3, name
    # Orientation 6 is shown turned clockwise: what was the left edge is now on top.
    upright = np.rot90(np.asarray(photograph(256, 320))[:, 32:288], 3)
    assert np.abs(pixels(stored["train/cat/turned.jpg"][0]).astype(int) - upright).mean() < 3


def test_more_bad_images_than_allowed_publish_nothing(images, tmp_path):
    write_files(images, {"train/cat/bad1.jpg": b"1", "val/dog/bad2.jpg": b"2"})
    with pytest.raises(ValueError, match=r"max_bad_fraction=0.1: 2 of 18 images .*bad1.jpg, .*bad2.jpg"):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.incomplete"]
    prepare(folder_source(images), tmp_path / "out", max_bad_fraction=2 / 18)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]


def test_too_many_bad_images_stop_the_preparation_before_all_are_read(images, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.preparation.prepare._IMAGES_PER_SHARD", 4)
    for path in images.glob("train/*/*"):
        path.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"max_bad_fraction=0.1: 4 of the first 4 images .*, too many for all 16$"):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=0.1)
    assert not (tmp_path / "out").exists()


def test_a_split_without_a_single_good_image_publishes_nothing(images, tmp_path):
    for path in images.glob("val/*/*"):
        path.write_bytes(b"text")
    with pytest.raises(ValueError, match="none of 4 validation images can be decoded"):
        prepare(folder_source(images), tmp_path / "out", max_bad_fraction=1)
    assert not (tmp_path / "out").exists()
