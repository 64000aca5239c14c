"""Image files for tests, made with Pillow."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF tag


def photograph(height: int = 60, width: int = 80, seed: int = 0) -> Image.Image:
    """Smooth colours, so that JPEG changes them little; other seeds, other pictures."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, file_format: str = "JPEG", orientation: int | None = None, **options) -> bytes:
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    if file_format == "JPEG":
        options.setdefault("quality", 95)
    encoded = io.BytesIO()
    image.save(encoded, file_format, **options)
    return encoded.getvalue()


def pixels(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def pillow_resized_image(image: Image.Image) -> np.ndarray:
    """Shorter side to 256 and the centre of it, by Pillow."""
    scale = 256 / min(image.size)
    resized = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    x, y = (resized.width - 256) // 2, (resized.height - 256) // 2
    return np.asarray(resized.crop((x, y, x + 256, y + 256)))


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def image_folder(root: Path, training: int = 6, validation: int = 2) -> Path:
    """train/{cat,dog}/*.jpg and val/{cat,dog}/*.jpg, so many images a class."""
    files = {}
    for label, name in enumerate(("cat", "dog")):
        for split, count in (("train", training), ("val", validation)):
            for index in range(count):
                seed = 1000 * label + index + (100 if split == "val" else 0)
                files[f"{split}/{name}/{index}.jpg"] = encode(photograph(300, 280 + index, seed))
    return write_files(root, files)
