"""The pixels of an example of a dataset: its resized image, or a rectangle of it."""

from typing import Any

import tensorflow as tf

from pipelines.datasets.source import UNDECODABLE, Source
from pipelines.images.decode import FORMATS, resized_image_or_zeros

# As a function, the decoders are traced once per process, which takes half a second, and not once per pipeline.
_resized_image_or_zeros = tf.function(resized_image_or_zeros)


def rectangle_of_example(
    source: Source, encoded: tf.Tensor, key: tf.Tensor, resize: str, size: int, rectangle: tuple[Any, Any, Any, Any]
) -> tf.Tensor:
    """A rectangle of the resized image of a training example.

    Args:
      source: where the example comes from.
      encoded: string scalar, its file or record.
      key: string scalar, its key.
      resize: one of `choices.RESIZE_POLICIES`; without effect on prepared records.
      size: side of the resized image in pixels: `source.size` if it is prepared.
      rectangle: top row, left column, height and width in pixels.

    Returns:
      uint8 [height,width,3]; when run, an InvalidArgumentError that names `key` if an image cannot be decoded.
    """
    if source.prepared:
        return _rectangle_of_record(source, encoded, rectangle)
    image, valid = _resized_image_or_zeros(encoded, resize, FORMATS, size=size)
    with tf.control_dependencies([tf.Assert(valid, [UNDECODABLE, key])]):
        y, x, height, width = rectangle
        return tf.slice(image, [y, x, 0], [height, width, 3])


def example_or_zeros(source: Source, encoded: tf.Tensor, resize: str, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The resized image of an example, uint8 [size,size,3], and True; zeros and False if it cannot be decoded."""
    if source.prepared and source.size == size:
        image = _rectangle_of_record(source, encoded, (0, 0, size, size))
        return tf.ensure_shape(image, [size, size, 3]), tf.constant(True)
    return _resized_image_or_zeros(encoded, resize, FORMATS, size=size)


def _rectangle_of_record(source: Source, encoded: tf.Tensor, rectangle: tuple[Any, Any, Any, Any]) -> tf.Tensor:
    """A rectangle of a prepared record, which needs neither checks nor resizing."""
    (y, x, height, width), size = rectangle, source.size
    if source.encoding == "png":
        return tf.slice(tf.io.decode_png(encoded, channels=3), [y, x, 0], [height, width, 3])
    # One pixel more on each side where there is one: at the edges of the decoded area the chroma is interpolated
    # from fewer pixels, so the rectangle would differ by some pixel values from that of the whole image.
    top, left = tf.maximum(y - 1, 0), tf.maximum(x - 1, 0)
    bottom, right = tf.minimum(y + height + 1, size), tf.minimum(x + width + 1, size)
    decoded = tf.io.decode_and_crop_jpeg(
        encoded, [top, left, bottom - top, right - left], channels=3, dct_method="INTEGER_ACCURATE"
    )
    return tf.slice(decoded, [y - top, x - left, 0], [height, width, 3])
