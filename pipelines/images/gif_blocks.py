"""The blocks of a GIF file, read in graph code before it is decoded (GIF89a, sections 12 and 15 to 27).

TensorFlow decodes every frame of an animation before it returns the first. So the decoder gets only that one.
"""

from typing import NamedTuple

import tensorflow as tf

from pipelines.images.jpeg_markers import bytes_at

# Sub-blocks of one size count as one; a frame's are of 255 bytes, up to its last. Extensions come before it.
_MOST_BLOCKS = 1000
_RUN = 64  # sub-blocks looked at in one step
_HEADER, _EXTENSION, _IMAGE = 13, 0x21, 0x2C
_END = b"\x3b"


class FirstFrame(NamedTuple):
    """What `first_frame` returns.

    Attributes:
      file: string scalar, a GIF file with the first frame and nothing else.
      sides: int64 [2], its width and height.
      is_whole: bool scalar, whether there is a frame that ends in the file, without thousands of odd blocks.
    """

    file: tf.Tensor
    sides: tf.Tensor
    is_whole: tf.Tensor


def first_frame(encoded: tf.Tensor) -> FirstFrame:
    """Finds the first frame of a GIF file.

    Args:
      encoded: string scalar, the whole file, not empty. Never fails otherwise.
    """
    size = tf.cast(tf.strings.length(encoded), tf.int64)
    start = _HEADER + _table(bytes_at(encoded, tf.constant(10, tf.int64), 1)[0])

    def code(position: tf.Tensor) -> tf.Tensor:
        return bytes_at(encoded, position, 1)[0]

    # Extension: introducer, label, sub-blocks.
    image = tf.while_loop(
        lambda position: code(position) == _EXTENSION,
        lambda position: (_after_sub_blocks(encoded, position + 2),),
        (start,),
        maximum_iterations=_MOST_BLOCKS,
    )[0]
    # Separator, position, size, flags; then a table of colours, the size of codes, and sub-blocks.
    descriptor = bytes_at(encoded, image, 10)
    sides = tf.stack([descriptor[5] + 256 * descriptor[6], descriptor[7] + 256 * descriptor[8]])
    end = _after_sub_blocks(encoded, image + 10 + _table(descriptor[9]) + 1)
    # Without the extensions, one of which names a colour that TensorFlow would draw black, as transparent.
    frame, stop = tf.minimum(image, size), tf.minimum(end, size)
    file = tf.strings.join(
        [
            tf.strings.substr(encoded, tf.constant(0, tf.int64), tf.minimum(start, size)),
            tf.strings.substr(encoded, frame, stop - frame),
            _END,
        ]
    )
    return FirstFrame(file, sides, (descriptor[0] == _IMAGE) & (end <= size))


def _table(flags: tf.Tensor) -> tf.Tensor:
    """The bytes of a colour table: three for each of 2 to 256 colours, or none."""
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)


def _after_sub_blocks(encoded: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Where the sub-blocks from `position` on end; beyond the file if they do not."""
    content = tf.io.decode_raw(encoded, tf.uint8)
    size = tf.size(content, tf.int64)

    def lengths(positions: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(content, tf.clip_by_value(positions, 0, tf.maximum(size - 1, 0))), tf.int64)

    def following(position: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        positions = position + (length + 1) * tf.range(_RUN, dtype=tf.int64)
        equal = (lengths(positions) == length) & (positions < size)
        position += (length + 1) * tf.reduce_sum(tf.math.cumprod(tf.cast(equal, tf.int64)))
        return position, lengths(position[tf.newaxis])[0]

    position, length = tf.while_loop(
        lambda position, length: (length > 0) & (position < size),
        following,
        (position, lengths(position[tf.newaxis])[0]),
        maximum_iterations=_MOST_BLOCKS,
    )
    return tf.where(length == 0, position + 1, size + 1)
