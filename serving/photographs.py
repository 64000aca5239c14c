"""Image files on the client's side: found, and told apart from other files before they travel."""

import glob
import io
import os
import warnings
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageOps

# First bytes of a file: JPEG (ITU-T T.81, SOI and the next marker), PNG (RFC 2083, section 3.1).
_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_LONGEST_FIRST_BYTES = max(map(len, _FIRST_BYTES))
_FORMATS = ("JPEG", "PNG")
# Images by name. Those that are neither JPEG nor PNG are found too: a folder's photographs are named, not passed over.
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
VIEW = 256  # side of the SIGNATURE_IMAGES input, in pixels


def read_photograph(path: str) -> bytes:
    """The bytes of a JPEG or PNG file. Its header is read, its pixels are left to the server.

    Raises:
        ValueError: the file cannot be read, or is no JPEG or PNG.
    """
    try:
        with open(path, "rb") as file:
            first = file.read(_LONGEST_FIRST_BYTES)
            # No more than that is read of a file that is none: it may be of any size.
            return checked_photograph(first + file.read() if first.startswith(_FIRST_BYTES) else first, path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; expected a JPEG or PNG file") from error


def checked_photograph(encoded: bytes, name: str) -> bytes:
    """`encoded` again, if its header is that of a JPEG or PNG file.

    Raises:
        ValueError: it is not; the message begins with `name`.
    """
    if not encoded:
        raise ValueError(f"{name}: the file is empty; expected a JPEG or PNG file")
    if not encoded.startswith(_FIRST_BYTES):
        raise ValueError(f"{name}: begins with {encoded[:8]!r}; expected a JPEG or PNG file")
    try:
        with _open(encoded) as image:
            image.verify()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, found more") from error
    except Exception as error:  # Pillow's readers raise many kinds for a broken file
        raise ValueError(f"{name}: the file is damaged; expected a whole JPEG or PNG file") from error
    return encoded


def find_photographs(arguments: Iterable[str]) -> list[str]:
    """The files that a command's arguments stand for.

    A folder stands for the image files in it and below, by their names' endings, and a pattern (`*`, `?`, `[...]`,
    `**`) for what it matches, both sorted and without hidden ones. Anything else stands for itself, also if there is
    no such file.

    Raises:
        ValueError: a folder without an image file.
    """
    return [path for argument in arguments for path in _found(argument)]


def _found(argument: str) -> list[str]:
    if os.path.isdir(argument):
        pattern = os.path.join(glob.escape(argument), "**", "*")
        found = glob.iglob(pattern, recursive=True)
        images = [path for path in found if path.lower().endswith(_ENDINGS) and not os.path.isdir(path)]
        if not images:
            raise ValueError(f"{argument}: no image in this folder; expected files named {', '.join(_ENDINGS)}")
        return sorted(images)
    if os.path.exists(argument):
        return [argument]
    return sorted(glob.glob(argument, recursive=True)) or [argument]


def resize_image(encoded: bytes) -> np.ndarray:
    """The view that SIGNATURE_IMAGES takes: shorter side to 256 pixels, centre 256 x 256; uint8 RGB [256,256,3].

    As in the served graph the other side is rounded to whole pixels, the filter is antialiased bilinear, and the EXIF
    orientation of a JPEG file is followed (not that of a PNG). Only the pixels of the view are computed.

    Raises whatever Pillow raises for an image that it cannot decode.
    """
    with _open(encoded) as opened:
        upright = ImageOps.exif_transpose(opened) if opened.format == "JPEG" else opened
        image = upright.convert("RGB")
    shorter = min(image.size)
    resized = [max(VIEW, round(side * VIEW / shorter)) for side in image.size]
    offsets = [(side - VIEW) // 2 for side in resized]
    scales = [before / after for before, after in zip(image.size, resized, strict=True)]
    left, top = (offset * scale for offset, scale in zip(offsets, scales, strict=True))
    right, bottom = ((offset + VIEW) * scale for offset, scale in zip(offsets, scales, strict=True))
    view = image.resize((VIEW, VIEW), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(view)


def _open(encoded: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow's own ceiling on pixels (Image.MAX_IMAGE_PIXELS): a small file may unfold to gigabytes.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(encoded), formats=_FORMATS)
