"""The pixels of an example of a dataset: its resized image, a rectangle of it, or the crop that training sees."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.datasets.source import UNDECODABLE, Source
from pipelines.images import augment
from pipelines.images.crops import crop, resize_window
from pipelines.images.decode import FORMATS, resized_image_or_zeros
from pipelines.statistics import Statistics

# As a function, the decoders are traced once per process, which takes half a second, and not once per pipeline.
_resized_image_or_zeros = tf.function(resized_image_or_zeros)


def _rectangle_of_example(
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


def cropper(
    source: Source,
    statistics: Statistics,
    epoch_seed: int,
    augmentation: str,
    resize: str,
    size: int,
    crop_size: int,
    mean_crop: str,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """The function from an example to what training sees of it, except its colours.

    Args:
      source, statistics, augmentation, resize, size, crop_size, mean_crop: as in `input.crop_batches`.
      epoch_seed: of `augment.epoch_seed`.

    Returns:
      Function of (encoded image, its key, the key of its draws), string scalars, to the crop or window, flipped or not:
      uint8 or float32 [crop_size,crop_size,3].
    """

    def pixels(encoded: tf.Tensor, key: tf.Tensor, *rectangle: Any) -> tf.Tensor:
        return _rectangle_of_example(source, encoded, key, resize, size, rectangle)

    def cut(encoded: tf.Tensor, key: tf.Tensor, crop_key: tf.Tensor) -> tf.Tensor:
        if augmentation == "random_resized":
            *window, flip = augment.random_window(crop_key, epoch_seed, size)
            image = resize_window(pixels(encoded, key, *window), crop_size)
        elif augmentation == "pad4":
            y, x, flip = augment.random_crop(crop_key, epoch_seed, size + 2 * augment.PADDING, crop_size)
            whole = pixels(encoded, key, 0, 0, size, size)
            image = crop(augment.padded(whole, statistics.rgb_mean), y, x, crop_size)
        else:
            y, x, flip = augment.random_crop(crop_key, epoch_seed, size, crop_size)
            if augmentation == "none":
                y = x = tf.constant((size - crop_size) // 2)
                flip = tf.constant(False)
            image = tf.ensure_shape(pixels(encoded, key, y, x, crop_size, crop_size), [crop_size, crop_size, 3])
            if mean_crop == "crop":
                image = tf.cast(image, tf.float32) - crop(
                    tf.constant(statistics.mean_image, tf.float32), y, x, crop_size
                )
        return tf.cond(flip, lambda: tf.reverse(image, axis=[1]), lambda: image)

    return cut


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
