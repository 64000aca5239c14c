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
_PALETTE, _PIXELS, _EXIF = b"PLTE", b"IDAT", b"eXIf"

# The last chunk of a whole file: no data, its name, its checksum (PNG specification, 11.2.5).
END = b"\0\0\0\0IEND\xaeB`\x82"


class PngChunks(NamedTuple):
    """What `png_chunks` returns.

    Attributes:
      bare: string scalar, a PNG file with the same pixels and no metadata.
      pixels: string scalar, the compressed pixels (a zlib stream).
      is_whole: bool scalar, whether the chunks of pixels end in the file, after at most MOST_CHUNKS chunks.
      exif: int64 scalar, position of the chunk of EXIF data, before or behind the pixels; 0 if there is none.
    """

    bare: tf.Tensor
    pixels: tf.Tensor
    is_whole: tf.Tensor
    exif: tf.Tensor


class _Walk(NamedTuple):
    """Where the walk over the chunks is, and what it has found: positions, 0 where there is none."""

    position: tf.Tensor
    head: tf.Tensor
    palette: tf.Tensor
    pixels: tf.Tensor
    end: tf.Tensor
    exif: tf.Tensor
    run: tf.Tensor
    parts: tf.TensorArray


def png_chunks(encoded: tf.Tensor) -> PngChunks:
    """Finds palette, pixels and EXIF data of a PNG file.

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

    def is_unfinished(state: _Walk) -> tf.Tensor:
        return (state.position + _AROUND <= size) & ~is_type(state.head, END[4:8])

    def following(state: _Walk) -> tuple[_Walk]:
        position, head = state.position, state.head
        length = tf.reduce_sum(head[:4] * [256**3, 256**2, 256, 1])
        positions = position + (length + _AROUND) * tf.range(_RUN, dtype=tf.int64)
        equal = tf.reduce_all(heads(positions) == head, axis=1)
        count = tf.reduce_sum(tf.math.cumprod(tf.cast(equal, tf.int64)))
        following = position + count * (length + _AROUND)
        # Chunks of pixels follow each other; what comes later under their name is ignored.
        found = is_type(head, _PIXELS) & ((state.pixels == 0) | (position == state.end))
        # Positions within the file, as substr demands it; the caller learns from `is_whole` that some were not.
        starts = tf.minimum(positions[: tf.where(found, count, 0)] + _HEAD, size)
        part = tf.strings.reduce_join(tf.strings.substr(encoded, starts, tf.zeros_like(starts) + length))
        palette = tf.stack([position, length + _AROUND])
        walk = _Walk(
            position=following,
            head=heads(following[tf.newaxis])[0],
            palette=tf.where(is_type(head, _PALETTE) & (state.pixels == 0), palette, state.palette),
            pixels=tf.where((state.pixels == 0) & found, position, state.pixels),
            end=tf.where(found, following, state.end),
            exif=tf.where(is_type(head, _EXIF), position, state.exif),
            run=state.run + 1,
            parts=state.parts.write(state.run, part),
        )
        return (walk,)

    first, nowhere = tf.constant(_FIRST_CHUNK, tf.int64), tf.constant(0, tf.int64)
    start = _Walk(
        position=first,
        head=heads(first[tf.newaxis])[0],
        palette=tf.zeros([2], tf.int64),
        pixels=nowhere,
        end=nowhere,
        exif=nowhere,
        run=0,
        parts=tf.TensorArray(tf.string, 0, dynamic_size=True, element_shape=[]),
    )
    (walk,) = tf.while_loop(is_unfinished, following, (start,), maximum_iterations=MOST_CHUNKS)
    is_cut = is_type(walk.head, _PIXELS) & (walk.position == walk.end)
    is_whole = (walk.pixels > 0) & (walk.end + _AROUND <= size) & ~is_cut
    pixels, end = tf.minimum(walk.pixels, size), tf.minimum(walk.end, size)
    bare = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, _FIRST_CHUNK),
            tf.strings.substr(encoded, tf.minimum(walk.palette[0], size), walk.palette[1]),
            tf.strings.substr(encoded, pixels, end - pixels),
            END,
        ]
    )
    return PngChunks(bare, tf.strings.reduce_join(walk.parts.stack()), is_whole, walk.exif)


def inflates_to_at_most(pixels: tf.Tensor, most_bytes: tf.Tensor) -> tf.Tensor:
    """Whether a zlib stream inflates to at most `most_bytes`, as far as its first three megabytes tell: bool scalar.

    It may not consist of blocks without data either, which take zlib a second for 16 MB. At most 310 MB more than
    `most_bytes` are inflated to find out.

    Args:
      pixels: string scalar, a zlib stream, which may be cut short.
      most_bytes: float64 scalar.
    """
    measured = tf.minimum(tf.strings.length(pixels), _MEASURED_BYTES)

    def is_unfinished(length: tf.Tensor, fits: tf.Tensor) -> tf.Tensor:
        return fits & (length < measured)

    def measure(length: tf.Tensor, fits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inflated = tf.io.decode_compressed(tf.strings.substr(pixels, 0, length), "ZLIB")
        found = tf.cast(tf.strings.length(inflated), tf.float64)
        return length + _STEP_BYTES, (found <= most_bytes + _SPARE_BYTES) & is_dense(length, found)

    def is_dense(length: tf.Tensor, inflated: tf.Tensor) -> tf.Tensor:
        """Pixels cannot need more than deflate makes of them where nothing repeats."""
        return tf.cast(length, tf.float64) <= 1.125 * inflated + _SPARE_BYTES

    least = is_dense(tf.strings.length(pixels), most_bytes)
    return tf.while_loop(is_unfinished, measure, (tf.constant(_STEP_BYTES), least))[1]
