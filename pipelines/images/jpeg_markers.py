"""The markers of a JPEG file, read before it is decoded: whether it is complete, how many scans and which segments.

Markers are two bytes, the first 0xFF, and cannot occur inside the coded pixels (ITU-T T.81, B.1.1.2 and B.1.1.5).
"""

from collections.abc import Sequence

import tensorflow as tf

# Encoders write about ten scans into a progressive file, optimizing ones two dozen. Each costs a pass over the whole
# image, however few bytes it has: 50 scans of 50 million pixels take two seconds, and a small file may have thousands.
MOST_SCANS = 50

# Of several scans, relative to the most pixels of an image: what all of them may pass over, and what the image may
# have, because its coefficients are kept in memory, two bytes for each sample.
_SCANS_OVER_ALL_PIXELS, _PIXELS_IN_SEVERAL_SCANS = 5, 0.5

# Metadata of 64 MB. A camera's file has a few dozen segments before its pixels.
_SEARCHED_SEGMENTS = 1000
# Marker, length, and the beginning of the content.
_HEAD_BYTES = 10

# The third byte is the upper one of the length, which is at most 14 (B.2.3). With it the pattern is rare in the other
# data of a file.
_SCAN_HEADER = b"\xff\xda\x00"
_END_OF_IMAGE = b"\xff\xd9"
_MARKER, _FIRST_WITHOUT_LENGTH, _LAST_WITHOUT_LENGTH, _TEMPORARY = 0xFF, 0xD0, 0xD9, 0x01
START_OF_SCAN = 0xDA
# Of Huffman-coded frames: baseline, extended, progressive (B.1.1.3). Others are not decoded.
_FRAMES, _PROGRESSIVE = (0xC0, 0xC1, 0xC2), 0xC2


def has_few_scans(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG file, a string scalar, has at most MOST_SCANS scans: bool scalar."""
    return _scans(encoded) <= MOST_SCANS


def fits_scans(encoded: tf.Tensor, pixels: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Whether an image of several scans is small enough for all passes over it and for keeping its coefficients.

    Args:
      encoded: string scalar, a JPEG file. Never fails, whatever it is.
      pixels: float64 scalar, how many it has.
      max_pixels: the most of an image in one scan.

    Returns:
      bool scalar.
    """
    scans = tf.cast(_scans(encoded), tf.float64)
    frame = bytes_at(encoded, find_segment(encoded, _FRAMES), _HEAD_BYTES)
    scan = bytes_at(encoded, find_segment(encoded, (START_OF_SCAN,)), _HEAD_BYTES)
    # The number of components is the tenth byte of the frame's segment, and the fifth of the scan's.
    is_one_scan = (scans <= 1) & (frame[1] != _PROGRESSIVE) & (scan[4] == frame[9])
    fits = (scans * pixels <= _SCANS_OVER_ALL_PIXELS * max_pixels) & (pixels <= _PIXELS_IN_SEVERAL_SCANS * max_pixels)
    return is_one_scan | fits


def has_end(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the pixels of a JPEG file are followed by the marker that ends an image; any data may come after it.

    The thumbnail in a file's header has an end of its own, which does not count.

    Args:
      encoded: string scalar, the whole file. Never fails, whatever it is.

    Returns:
      bool scalar; also true where no pixels were found; the decoder will refuse that.
    """
    start = tf.cast(find_segment(encoded, (START_OF_SCAN,)), tf.int32)
    return holds(tf.strings.substr(encoded, start, tf.strings.length(encoded)), _END_OF_IMAGE) | (start == 0)


def holds(encoded: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Whether `pattern` is anywhere in `encoded`, a string scalar: bool scalar."""
    return tf.size(_split(encoded, pattern, 1)) > 1


def _scans(encoded: tf.Tensor) -> tf.Tensor:
    """How many scans a JPEG file has; MOST_SCANS + 1 if there are more."""
    return tf.size(_split(encoded, _SCAN_HEADER, MOST_SCANS + 1)) - 1


def _split(encoded: tf.Tensor, separator: bytes, most: int) -> tf.Tensor:
    """What is between the first `most` separators, and what comes after them: string vector."""
    # tf.strings.split would make a ragged tensor first, in a dozen operations.
    return tf.raw_ops.StringSplitV2(input=encoded[tf.newaxis], sep=separator, maxsplit=most).values


def find_segment(encoded: tf.Tensor, markers: Sequence[int], content: bytes = b"") -> tf.Tensor:
    """Where the first segment with one of these markers and this content is, up to the header of the first scan.

    Args:
      encoded: string scalar, the whole file. Never fails, whatever it is.
      markers: second bytes of markers.
      content: first bytes after the length of the segment, at most six.

    Returns:
      int64 scalar: position of the marker; 0 if there is no such segment.
    """

    def head(position: tf.Tensor) -> tf.Tensor:
        return bytes_at(encoded, position, _HEAD_BYTES)

    def is_found(head: tf.Tensor) -> tf.Tensor:
        # Content up to the wanted length only; an empty content matches every segment.
        return tf.reduce_any(head[1] == list(markers)) & tf.reduce_all(
            head[4 : 4 + len(content)] == tf.constant(list(content), tf.int64)
        )

    def is_unfinished(position: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
        return (head[0] == _MARKER) & (head[1] != START_OF_SCAN) & ~is_found(head)

    def following(position: tf.Tensor, current: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        code = current[1]
        has_no_length = (code >= _FIRST_WITHOUT_LENGTH) & (code <= _LAST_WITHOUT_LENGTH) | (code == _TEMPORARY)
        size = tf.where(has_no_length, tf.constant(2, tf.int64), 2 + current[2] * 256 + current[3])
        # A marker may be preceded by any number of bytes 0xFF (B.1.1.2).
        position += tf.where(code == _MARKER, tf.constant(1, tf.int64), size)
        return position, head(position)

    start = tf.constant(2, tf.int64)
    position, last = tf.while_loop(
        is_unfinished, following, (start, head(start)), maximum_iterations=_SEARCHED_SEGMENTS
    )
    return tf.where((last[0] == _MARKER) & is_found(last), position, tf.zeros_like(position))


def bytes_at(encoded: tf.Tensor, position: tf.Tensor, count: int) -> tf.Tensor:
    """`count` bytes of a string scalar from `position`, int64, on: int64 [count], zeros beyond its end."""
    position = tf.minimum(position, tf.cast(tf.strings.length(encoded), tf.int64))
    piece = tf.strings.substr(encoded, position, tf.constant(count, tf.int64))
    return tf.cast(tf.io.decode_raw(piece, tf.uint8, fixed_length=count), tf.int64)
