"""Images in the forms that `Client` accepts: files as bytes, and pixels."""

import io
import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Union

import numpy as np

from pipelines.images.find import read_image_file

if TYPE_CHECKING:
    from PIL.Image import Image

# An encoded JPEG or PNG file (its content, its path, or a file opened for reading bytes), or pixels.
ImageInput = Union[bytes, bytearray, memoryview, str, os.PathLike[str], IO[bytes], "Image", np.ndarray]
Images = Sequence[ImageInput] | np.ndarray


def as_list(images: Images) -> list[ImageInput]:
    """The single images of `images`.

    Raises:
        ValueError: a single image, or an array that is not uint8 [N,R,R,3] or [R,R,3].
    """
    if isinstance(images, np.ndarray):
        images = images[None] if images.ndim == 3 else images
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images: expected uint8 pixels [N,R,R,3] or [R,R,3], found {_described(images)}")
        return list(images)
    is_single = isinstance(images, bytes | bytearray | memoryview | str | os.PathLike) or hasattr(images, "read")
    if is_single or not hasattr(images, "__iter__"):
        raise ValueError(f"images: expected a list of images, found a single one ({type(images).__name__}): [image]")
    return list(images)


def encoded(image: Any) -> bytes:
    """The bytes of an encoded image; pixels become a PNG file."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return read_image_file(image)
    if hasattr(image, "read"):
        content = image.read()
        if not isinstance(content, bytes):
            raise ValueError(f"images: expected a file opened for reading bytes, found {type(image).__name__}")
        return content
    if hasattr(image, "save") and hasattr(image, "convert"):  # a PIL image, without importing PIL for the others
        return _png(image)
    if is_array(image):
        from PIL import Image

        return _png(Image.fromarray(pixels(image)))
    raise ValueError(
        f"images: expected bytes, paths, binary files, PIL images or uint8 arrays [R,R,3], found {type(image).__name__}"
    )


def _png(image: "Image") -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def is_array(image: Any) -> bool:
    """Whether `image` is pixels rather than a file."""
    return isinstance(image, np.ndarray) or (hasattr(image, "__array__") and not hasattr(image, "convert"))


def pixels(image: Any) -> np.ndarray:
    """`image` as an array; ValueError if it is not uint8 [R,R,3]."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(f"images: expected uint8 pixels [R,R,3], found {_described(array)}")
    return array


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
