"""How a camera was held: the EXIF orientation of a JPEG file, read and followed in graph code.

Cameras and telephones store the pixels as the sensor saw them, with a mark that says how to turn them for display.
Training, evaluation and the served graph all follow it, so that they see the same photograph.
"""

import tensorflow as tf

# The mark is in one of the first segments of the file; thumbnails and colour profiles come after it.
_SEARCHED_BYTES = 4096
_SEARCHED_SEGMENTS = 3
_SEARCHED_ENTRIES = 32

_EXIF_SEGMENT = list(b"\xff\xe1")
_EXIF_NAME = list(b"Exif\0\0")
_LITTLE_ENDIAN = ord("I")
_ORIENTATION, _SHORT = 0x0112, 3  # tag and type of its value (Exif 2.3, sections 4.6.4 A and 4.6.2)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """`image` [H,W,C], turned and mirrored as `orientation`, int32 1..8, says (Exif 2.3, section 4.6.4 A)."""

    def turned(transpose: bool, reversed_axes: list[int]) -> tf.Tensor:
        return tf.reverse(_transposed(image) if transpose else image, reversed_axes)

    branches = (
        lambda: image,
        lambda: turned(False, [1]),
        lambda: turned(False, [0, 1]),
        lambda: turned(False, [0]),
        lambda: turned(True, []),
        lambda: turned(True, [1]),
        lambda: turned(True, [0, 1]),
        lambda: turned(True, [0]),
    )
    return tf.switch_case(orientation - 1, branches)


def jpeg_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG file, int32 scalar 1..8; 1 where there is no mark, or none that makes sense.

    Args:
      encoded: string scalar, the whole file. Never fails, whatever it is.
    """
    start = tf.strings.substr(encoded, 0, _SEARCHED_BYTES)
    data = tf.cast(tf.io.decode_raw(start + b"\0", tf.uint8), tf.int64)
    tiff = _tiff_header(data)
    is_little = _bytes(data, tiff, 1)[0] == _LITTLE_ENDIAN
    directory = tiff + _number(_bytes(data, tiff + 4, 4), is_little)
    count = _number(_bytes(data, directory, 2), is_little)
    # Entries of twelve bytes: tag, type, count, value.
    entries = _bytes(data, directory + 2, 12 * _SEARCHED_ENTRIES)
    entries = tf.reshape(entries, [_SEARCHED_ENTRIES, 12])
    tags, types = _number(entries[:, 0:2], is_little), _number(entries[:, 2:4], is_little)
    values = _number(entries[:, 8:10], is_little)
    is_mark = (tags == _ORIENTATION) & (types == _SHORT) & (tf.range(_SEARCHED_ENTRIES, dtype=tf.int64) < count)
    is_mark &= (tiff > 0) & (values >= 1) & (values <= 8)
    # At most one entry is the mark; without one this is 1.
    return tf.cast(1 + tf.reduce_max(tf.where(is_mark, values - 1, tf.zeros_like(values))), tf.int32)


def _transposed(image: tf.Tensor) -> tf.Tensor:
    # Not tf.transpose: oneDNN greets each transposition of integers with an error message, and leaves it to others.
    height, width = tf.unstack(tf.shape(image)[:2])
    order = tf.range(height)[tf.newaxis] * width + tf.range(width)[:, tf.newaxis]
    return tf.gather(tf.reshape(image, [height * width, image.shape[-1]]), order)


def _tiff_header(data: tf.Tensor) -> tf.Tensor:
    """Where the EXIF data begin, or 0 if they are in none of the first segments."""
    tiff, segment = tf.zeros([], tf.int64), tf.constant(2, tf.int64)
    for _ in range(_SEARCHED_SEGMENTS):
        header = _bytes(data, segment, 10)
        is_exif = tf.reduce_all(header[:2] == _EXIF_SEGMENT) & tf.reduce_all(header[4:] == _EXIF_NAME)
        tiff = tf.where((tiff == 0) & is_exif, segment + 10, tiff)
        segment += 2 + header[2] * 256 + header[3]
    return tiff


def _bytes(data: tf.Tensor, position: tf.Tensor, count: int) -> tf.Tensor:
    """`count` bytes from `position` on; zeros beyond the end of `data`."""
    indices = position + tf.range(count, dtype=tf.int64)
    end = tf.size(data, tf.int64)
    return tf.where(indices < end, tf.gather(data, tf.minimum(indices, end - 1)), tf.zeros([count], tf.int64))


def _number(digits: tf.Tensor, is_little: tf.Tensor) -> tf.Tensor:
    """Unsigned numbers from the bytes in the last dimension, lowest first if `is_little`."""
    powers = 256 ** tf.range(digits.shape[-1], dtype=tf.int64)
    return tf.reduce_sum(digits * tf.where(is_little, powers, powers[::-1]), -1)
