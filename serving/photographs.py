"""Image files on the client's side: told apart from other files before they travel."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipelines.command import InputError

# First bytes of a file: JPEG (ITU-T T.81, SOI and the next marker), PNG (RFC 2083, section 3.1).
_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_FORMATS = ("JPEG", "PNG")
_VIEW = 256  # side of the SIGNATURE_IMAGES input, in pixels


def read_photograph(path: str) -> bytes:
    """The bytes of a JPEG or PNG file. Its header is read, its pixels are left to the server.

    Raises:
        InputError: the file cannot be read, or is no JPEG or PNG.
    """
    try:
        encoded = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a JPEG or PNG file") from error
    if not encoded:
        raise InputError(f"{path}: the file is empty; expected a JPEG or PNG file")
    if not encoded.startswith(_FIRST_BYTES):
        raise InputError(f"{path}: begins with {encoded[:8]!r}; expected a JPEG or PNG file")
    try:
        with _open(encoded) as image:
            image.verify()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, found more") from error
    except Exception as error:  # Pillow's readers raise many kinds for a broken file
        raise InputError(f"{path}: the file is damaged; expected a whole JPEG or PNG file") from error
    return encoded


def stored_view(encoded: bytes) -> np.ndarray:
    """The view that SIGNATURE_IMAGES takes: shorter side to 256 pixels, centre 256 x 256; uint8 RGB [256,256,3].

    As in the served graph the other side is rounded to whole pixels, the filter is antialiased bilinear, and the EXIF
    orientation of a JPEG file is followed (not that of a PNG). Only the pixels of the view are computed.

    Raises whatever Pillow raises for an image that it cannot decode.
    """
    with _open(encoded) as opened:
        upright = ImageOps.exif_transpose(opened) if opened.format == "JPEG" else opened
        image = upright.convert("RGB")
    shorter = min(image.size)
    resized = [max(_VIEW, round(side * _VIEW / shorter)) for side in image.size]
    offsets = [(side - _VIEW) // 2 for side in resized]
    scales = [before / after for before, after in zip(image.size, resized, strict=True)]
    left, top = (offset * scale for offset, scale in zip(offsets, scales, strict=True))
    right, bottom = ((offset + _VIEW) * scale for offset, scale in zip(offsets, scales, strict=True))
    view = image.resize((_VIEW, _VIEW), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(view)


def _open(encoded: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow's own ceiling on pixels (Image.MAX_IMAGE_PIXELS): a small file may unfold to gigabytes.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(encoded), formats=_FORMATS)
