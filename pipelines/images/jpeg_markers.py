"""What the markers of a JPEG file tell before it is decoded: whether it is whole, and how many scans it has.

Markers are two bytes, the first 0xFF, and cannot occur inside the coded pixels (ITU-T T.81, B.1.1.2 and B.1.1.5).
"""

import tensorflow as tf

# Encoders write about ten scans into a progressive file, those that search for the best ones two dozen. Each of them
# costs a pass over the whole picture, however few bytes it takes: 50 scans of 50 million pixels take two seconds, and a
# small file may hold thousands.
MOST_SCANS = 50

# A camera's file has a few dozen segments before its pixels.
_SEARCHED_SEGMENTS = 200

# The third byte is the upper one of the length, which is at most 14 (B.2.3). With it the pattern is rare in whatever
# else a file holds.
_START_OF_SCAN = b"\xff\xda\x00"
_END_OF_IMAGE = b"\xff\xd9"
_MARKER, _FIRST_WITHOUT_LENGTH, _LAST_WITHOUT_LENGTH, _TEMPORARY = 0xFF, 0xD0, 0xD9, 0x01
_SCAN = 0xDA


def has_few_scans(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG file, a string scalar, has at most MOST_SCANS scans: bool scalar."""
    return tf.size(_split(encoded, _START_OF_SCAN, MOST_SCANS + 1)) <= MOST_SCANS + 1


def has_end(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the pixels of a JPEG file are followed by the marker that ends an image; any data may come after it.

    The thumbnail in a file's header has an end of its own, which does not count.

    Args:
      encoded: string scalar, the whole file. Never fails, whatever it is.

    Returns:
      bool scalar; true as well where no pixels were found, which the decoder will tell.
    """
    start = _first_scan(encoded)
    return holds(tf.strings.substr(encoded, start, tf.strings.length(encoded)), _END_OF_IMAGE) | (start == 0)


def holds(encoded: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Whether `pattern` is anywhere in `encoded`, a string scalar: bool scalar."""
    return tf.size(_split(encoded, pattern, 1)) > 1


def _split(encoded: tf.Tensor, separator: bytes, most: int) -> tf.Tensor:
    """What is between the first `most` separators, and what comes after them: string vector."""
    # tf.strings.split would make a ragged tensor first, in a dozen operations.
    return tf.raw_ops.StringSplitV2(input=encoded[tf.newaxis], sep=separator, maxsplit=most).values


def _first_scan(encoded: tf.Tensor) -> tf.Tensor:
    """Where the header of the first scan begins, int32; 0 if it is not behind the first segments."""
    length = tf.strings.length(encoded)

    def head(position: tf.Tensor) -> tf.Tensor:
        four = tf.strings.substr(encoded, tf.minimum(position, length), 4) + b"\0" * 4
        return tf.cast(tf.io.decode_raw(tf.strings.substr(four, 0, 4), tf.uint8), tf.int32)

    def goes_on(position: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
        return (head[0] == _MARKER) & (head[1] != _SCAN)

    def following(position: tf.Tensor, current: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker = current[1]
        is_alone = (marker >= _FIRST_WITHOUT_LENGTH) & (marker <= _LAST_WITHOUT_LENGTH) | (marker == _TEMPORARY)
        size = tf.where(is_alone, 2, 2 + current[2] * 256 + current[3])
        # A marker may be preceded by any number of bytes 0xFF (B.1.1.2).
        position += tf.where(marker == _MARKER, 1, size)
        return position, head(position)

    start = tf.constant(2)
    position, last = tf.while_loop(goes_on, following, (start, head(start)), maximum_iterations=_SEARCHED_SEGMENTS)
    return tf.where((last[0] == _MARKER) & (last[1] == _SCAN), position, 0)
