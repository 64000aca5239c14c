"""The chunks of a PNG file, read in graph code before it is decoded (PNG specification, sections 5.3 and 11).

libpng inflates every compressed text and profile of a file, and whatever follows the last row of pixels. A few
megabytes can cost minutes and gigabytes. So the decoder gets a file with nothing but size, palette and pixels, and only
after what the pixels inflate to has been measured.
"""

from typing import NamedTuple

import tensorflow as tf

# Chunks of one type and size count as one. A file has a dozen before its pixels, and encoders write the pixels in
# chunks of one size; each step of the search takes tens of microseconds.
MOST_CHUNKS = 1000

# deflate grows at most 1,032 times (zlib, technical details): this many bytes more make at most 310 MB more.
_STEP_BYTES = 300_000

# Every step inflates from the beginning, so what lies behind is not measured: ten steps take twice as long as decoding.
_MEASURED_BYTES = 3_000_000

# Encoders may end the stream with a few bytes that are not pixels.
_SPARE_BYTES = 4096

_FIRST_CHUNK = 33  # where the first chunk after IHDR begins: signature of 8 bytes, then 4 + 4 + 13 + 4
_HEAD, _AROUND = 8, 12  # bytes of length and type; these and the checksum
_RUN = 64  # chunks looked at in one step
_PALETTE, _PIXELS = b"PLTE", b"IDAT"

# The last chunk of a whole file: no data, its name, its checksum (PNG specification, 11.2.5).
END = b"\0\0\0\0IEND\xaeB`\x82"


class PngChunks(NamedTuple):
    """What `png_chunks` returns.

    Attributes:
      bare: string scalar, a PNG file with the same pixels and no metadata.
      pixels: string scalar, the compressed pixels (a zlib stream).
      is_whole: bool scalar, whether the chunks of pixels end in the file, after at most MOST_CHUNKS chunks.
    """

    bare: tf.Tensor
    pixels: tf.Tensor
    is_whole: tf.Tensor


def png_chunks(encoded: tf.Tensor) -> PngChunks:
    """Finds palette and pixels of a PNG file.

    Args:
      encoded: string scalar, the whole file, not empty. Never fails otherwise.
    """
    content = tf.io.decode_raw(encoded, tf.uint8)
    size = tf.size(content, tf.int64)

    def heads(positions: tf.Tensor) -> tf.Tensor:
        """Length and type of the chunks at these positions, int64 [N,8]; zeros outside of the file."""
        at = positions[:, tf.newaxis] + tf.range(_HEAD, dtype=tf.int64)
        found = tf.gather(content, tf.clip_by_value(at, 0, tf.maximum(size - 1, 0)))
        return tf.where(at < size, tf.cast(found, tf.int64), 0)

    def is_type(head: tf.Tensor, name: bytes) -> tf.Tensor:
        return tf.reduce_all(head[4:] == list(name))

    def is_unfinished(
        position: tf.Tensor,
        head: tf.Tensor,
        palette: tf.Tensor,
        pixels: tf.Tensor,
        run: tf.Tensor,
        parts: tf.TensorArray,
    ) -> tf.Tensor:
        return (position + _AROUND <= size) & ((pixels == 0) | is_type(head, _PIXELS))

    def following(
        position: tf.Tensor,
        head: tf.Tensor,
        palette: tf.Tensor,
        pixels: tf.Tensor,
        run: tf.Tensor,
        parts: tf.TensorArray,
    ) -> tuple[tf.Tensor | tf.TensorArray, ...]:
        length = tf.reduce_sum(head[:4] * [256**3, 256**2, 256, 1])
        positions = position + (length + _AROUND) * tf.range(_RUN, dtype=tf.int64)
        equal = tf.reduce_all(heads(positions) == head, axis=1)
        count = tf.reduce_sum(tf.math.cumprod(tf.cast(equal, tf.int64)))
        palette = tf.where(is_type(head, _PALETTE), tf.stack([position, length + _AROUND]), palette)
        found = is_type(head, _PIXELS)
        pixels = tf.where((pixels == 0) & found, position, pixels)
        # Positions within the file, as substr demands it; the caller learns from `is_whole` that some were not.
        starts = tf.minimum(positions[: tf.where(found, count, 0)] + _HEAD, size)
        part = tf.strings.reduce_join(tf.strings.substr(encoded, starts, tf.zeros_like(starts) + length))
        position += count * (length + _AROUND)
        return position, heads(position[tf.newaxis])[0], palette, pixels, run + 1, parts.write(run, part)

    first = tf.constant(_FIRST_CHUNK, tf.int64)
    state = (
        first,
        heads(first[tf.newaxis])[0],
        tf.zeros([2], tf.int64),
        tf.constant(0, tf.int64),
        0,
        tf.TensorArray(tf.string, 0, dynamic_size=True, element_shape=[]),
    )
    end, head, palette, pixels, _, parts = tf.while_loop(
        is_unfinished, following, state, maximum_iterations=MOST_CHUNKS
    )
    is_whole = (pixels > 0) & (end + _AROUND <= size) & ~is_type(head, _PIXELS)
    end = tf.minimum(end, size)
    bare = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, _FIRST_CHUNK),
            tf.strings.substr(encoded, tf.minimum(palette[0], size), palette[1]),
            tf.strings.substr(encoded, tf.minimum(pixels, end), end - tf.minimum(pixels, end)),
            END,
        ]
    )
    return PngChunks(bare, tf.strings.reduce_join(parts.stack()), is_whole)


def inflates_to_at_most(pixels: tf.Tensor, most_bytes: tf.Tensor) -> tf.Tensor:
    """Whether a zlib stream inflates to at most `most_bytes`, as far as its first three megabytes tell: bool scalar.

    At most 310 MB more than `most_bytes` are inflated to find out.

    Args:
      pixels: string scalar, a zlib stream, which may be cut short.
      most_bytes: float64 scalar.
    """
    measured = tf.minimum(tf.strings.length(pixels), _MEASURED_BYTES)

    def is_unfinished(length: tf.Tensor, fits: tf.Tensor) -> tf.Tensor:
        return fits & (length < measured)

    def measure(length: tf.Tensor, fits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inflated = tf.io.decode_compressed(tf.strings.substr(pixels, 0, length), "ZLIB")
        fits = tf.cast(tf.strings.length(inflated), tf.float64) <= most_bytes + _SPARE_BYTES
        return length + _STEP_BYTES, fits

    # Pixels cannot need more than deflate makes of them where nothing repeats.
    least = tf.cast(tf.strings.length(pixels), tf.float64) <= 1.125 * most_bytes + _SPARE_BYTES
    return tf.while_loop(is_unfinished, measure, (tf.constant(_STEP_BYTES), least))[1]
