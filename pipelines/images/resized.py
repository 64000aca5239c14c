"""One image file to its resized image on the host, as pixels or as a file: for preparation and statistics."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

from pipelines.choices import JPEG_QUALITY, RESIZED_SIZE
from pipelines.cli import reason_of
from pipelines.images.crops import resize_image
from pipelines.images.decode import decode_rgb

# What Pillow raises for broken headers and EXIF tags. TensorFlow decides whether the image is broken.
_HEADER_ERRORS = (OSError, SyntaxError, ValueError, struct.error)


def resized_pixels(encoded: bytes, resize: str = "shorter_side", size: int = RESIZED_SIZE) -> np.ndarray:
    """The resized image, uint8 [size,size,3], of an image file, turned upright by its EXIF orientation.

    Args:
      encoded: the whole file.
      resize: one of `choices.RESIZE_POLICIES`.
      size: side of the resized image in pixels.

    Raises:
      ValueError: `encoded` cannot be decoded; the message is a one-line reason.
    """
    if not encoded:
        raise ValueError("not an image file: empty, or cannot be read")
    try:
        image = _decode(encoded)
    except tf.errors.OpError as error:
        raise ValueError(reason_of(error)) from None
    return _resize(image, resize, size).numpy()


def resized_file(
    encoded: bytes,
    resize: str = "shorter_side",
    quality: int = JPEG_QUALITY,
    size: int = RESIZED_SIZE,
    encoding: str = "jpeg",
) -> tuple[bytes, np.ndarray]:
    """The resized image as a file, and the pixels, uint8 [size,size,3], that it decodes to.

    An RGB baseline JPEG of this size is returned unchanged.

    Args:
      encoded: the whole file.
      resize: one of `choices.RESIZE_POLICIES`.
      quality: of the JPEG, 1..100.
      size: side of the resized image in pixels.
      encoding: "jpeg", or "png" for a file without loss.

    Raises:
      ValueError: `encoded` cannot be decoded; the message is a one-line reason.
    """
    pixels = resized_pixels(encoded, resize, size)
    if encoding == "png":
        return tf.io.encode_png(pixels).numpy(), pixels
    if _is_resized_jpeg(encoded, size):
        return encoded, pixels
    jpeg = tf.io.encode_jpeg(pixels, quality=quality)
    # Not decode_rgb: its checks take as long as the decoding, and this file needs none.
    return jpeg.numpy(), tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()


_decode = tf.function(decode_rgb, input_signature=[tf.TensorSpec([], tf.string)])


@tf.function(reduce_retracing=True)
def _resize(image: tf.Tensor, resize: str, size: int) -> tf.Tensor:
    return resize_image(tf.ensure_shape(image, [None, None, 3]), resize, size)


def _is_resized_jpeg(encoded: bytes, size: int) -> bool:
    with contextlib.suppress(*_HEADER_ERRORS):
        image = Image.open(io.BytesIO(encoded))
        kind = image.format, image.mode, image.size, "progressive" in image.info
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return is_upright and kind == ("JPEG", "RGB", (size, size), False)
    return False
