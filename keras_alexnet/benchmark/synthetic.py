"""Synthetic images for measurements."""

import io

import numpy as np
from PIL import Image

# Width and height of an average ImageNet photograph.
_SIZE = (500, 375)


def synthetic_jpeg(seed: int) -> bytes:
    """A JPEG file of blurred noise with the size of an average ImageNet photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(_SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
