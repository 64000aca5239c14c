"""Image files to pixels, as TensorFlow graph code: for training, evaluation and the exported model alike.

Format and size are read from the first bytes before a decoder runs. So a small file that claims a gigapixel costs
nothing, and other formats are never decoded.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from pipelines.choices import MAX_PIXELS, RESIZED_SIZE
from pipelines.images.crops import resize_image
from pipelines.images.exif import jpeg_orientation, orientation_at, upright, webp_orientation
from pipelines.images.find import FIRST_BYTES
from pipelines.images.gif_blocks import first_frame
from pipelines.images.jpeg_markers import MOST_SCANS, bytes_at, fits_scans, has_end, has_few_scans
from pipelines.images.png_chunks import MOST_CHUNKS, inflates_to_at_most, png_chunks

# What image folders hold. Of an animated GIF the first frame is taken; animated WebP is refused.
FORMATS = ("jpeg", "png", "bmp", "gif", "webp")

# What a served model accepts: the two formats whose shortest possible file for a size is known.
WIRE_FORMATS = ("jpeg", "png")

# A whole file cannot hold more pixels than this. JPEG: every block of 8 x 8 pixels has a code of at least one bit
# (ITU-T T.81 F.1.2.1), in one of at least two components where a component is sampled less often. PNG: a deflate
# stream becomes at most 1,032 times as long (zlib, technical details).
_JPEG_PIXELS_PER_BYTE = 8 * 64 * 2
_PNG_DEFLATE_RATIO = 1032
_PNG_CHANNELS = (1, 0, 3, 1, 2, 0, 4)  # by colour type; 1 and 5 are none (PNG specification, 11.2.2)

# Of red, green and blue, lowest byte first, in the order B, G, R, A (BITMAPV4HEADER).
_BMP_MASKS = b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"

# So many inflated bytes of a PNG for each pixel of the limit: enough for three colours of eight bits, but for fewer
# pixels with transparency or 16 bits. An interlaced one takes twice as long.
_PNG_BYTES_PER_PIXEL = 3

# A JPEG with this many pixels is searched for its end before it is decoded. Smaller ones are decoded at once, because
# decoding one that is cut short costs little.
_LARGE = 2_000_000

# Images of a batch that are decoded at the same time; the cores share them.
_PARALLEL_IMAGES = 16

_HEADER_BYTES = 32


# AutoGraph would translate the source of all these functions in every process, which takes seconds, and change nothing.
_as_written = tf.autograph.experimental.do_not_convert


@_as_written
def decode_rgb(encoded: tf.Tensor, formats: Sequence[str] = FORMATS, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """The pixels of an image file.

    Grey, palette and CMYK images become RGB; transparency is dropped; 16-bit values keep their upper byte.
    JPEG pixels are those of Pillow and libjpeg's default, the accurate inverse DCT. JPEG, PNG and WebP are turned
    upright by their EXIF orientation.

    Args:
      encoded: string scalar, the whole file.
      formats: which of FORMATS to accept.
      max_pixels: larger images are refused before any of their pixels are decoded.

    Returns:
      uint8 [H,W,3].

    Raises:
      tf.errors.InvalidArgumentError: when run, for what is no such file, is damaged or cut short, or has more
        than max_pixels pixels.
    """
    header = _header(encoded)
    is_format = tf.stack([_starts_with(header, FIRST_BYTES[name]) for name in formats])
    encoded = _only_if(tf.reduce_any(is_format), encoded, f"not an image file ({', '.join(formats)})")
    decoders = [lambda decode=_DECODERS[name]: decode(encoded, header, max_pixels) for name in formats]
    image = tf.ensure_shape(tf.switch_case(tf.argmax(is_format, output_type=tf.int32), decoders), [None, None, 3])
    return _only_if_size(tf.shape(image)[:2], max_pixels, image)


@_as_written
def resized_image_or_zeros(
    encoded: tf.Tensor,
    resize: str = "shorter_side",
    formats: Sequence[str] = WIRE_FORMATS,
    max_pixels: int = MAX_PIXELS,
    size: int = RESIZED_SIZE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The resized image of an image file, or zeros and False if it cannot be decoded. Never fails.

    Args:
      encoded: string scalar, the whole file.
      resize: one of `crops.RESIZE_POLICIES`.
      formats: which of FORMATS to accept.
      max_pixels: larger images count as not decodable.
      size: side of the resized image in pixels.

    Returns:
      uint8 [size,size,3] and bool scalar: whether the file could be decoded.
    """

    def attempt(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return resize_image(decode_rgb(encoded, formats, max_pixels), resize, size), tf.constant(True)

    # A graph knows no try and except. A dataset does: it can leave out the elements that fail, and then the
    # first element left is the fallback.
    fallback = (tf.zeros([size, size, 3], tf.uint8), tf.constant(False))
    attempts = tf.data.Dataset.from_tensors(encoded).map(attempt).ignore_errors()
    return attempts.concatenate(tf.data.Dataset.from_tensors(fallback)).take(1).get_single_element()


@_as_written
def resized_images_or_zeros(
    encoded: tf.Tensor,
    resize: str = "shorter_side",
    formats: Sequence[str] = WIRE_FORMATS,
    max_pixels: int = MAX_PIXELS,
    size: int = RESIZED_SIZE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """`resized_image_or_zeros` of a batch, several images at a time.

    Args:
      encoded: string [N], whole files; N may be 0.
      resize, formats, max_pixels, size: as there.

    Returns:
      uint8 [N,size,size,3] and bool [N].
    """

    def resized(row: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return row, resize_image(decode_rgb(file, formats, max_pixels), resize, size)

    # One dataset for all files: one for each would prepare the graph of the decoders again for every parallel call.
    count = tf.size(encoded, tf.int64)
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), encoded))
    decoded = files.map(resized, num_parallel_calls=_PARALLEL_IMAGES, deterministic=True).ignore_errors()
    nothing = tf.data.Dataset.from_tensors((tf.zeros([0], tf.int64), tf.zeros([0, size, size, 3], tf.uint8)))
    rows, images = decoded.batch(tf.maximum(count, 1)).concatenate(nothing).take(1).get_single_element()
    rows, valid = rows[:, tf.newaxis], tf.ones_like(rows, tf.bool)
    return tf.scatter_nd(rows, images, [count, size, size, 3]), tf.scatter_nd(rows, valid, [count])


def _header(encoded: tf.Tensor) -> tf.Tensor:
    """The first 32 bytes, with zeros after a shorter file's end: int64 [32]."""
    start = tf.strings.substr(encoded, 0, _HEADER_BYTES) + b"\0" * _HEADER_BYTES
    return tf.cast(tf.io.decode_raw(tf.strings.substr(start, 0, _HEADER_BYTES), tf.uint8), tf.int64)


def _starts_with(header: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.reduce_all(header[: len(magic)] == list(magic))


def _only_if(condition: tf.Tensor, value: tf.Tensor, message: str) -> tf.Tensor:
    """`value`; when run, an InvalidArgumentError with `message` if `condition` is false."""
    with tf.control_dependencies([tf.Assert(condition, [message])]):
        return tf.identity(value)


def _only_if_size(size: tf.Tensor, max_pixels: int, value: tf.Tensor) -> tf.Tensor:
    """`value`; when run, an InvalidArgumentError if `size`, height and width, has no pixels or too many."""
    pixels = _product(size)
    return _only_if((pixels >= 1) & (pixels <= max_pixels), value, f"more than {max_pixels:,} pixels, or none")


def _product(sides: tf.Tensor) -> tf.Tensor:
    # float64, because the product of two sides that a header claims can be too large for any integer type.
    return tf.reduce_prod(tf.cast(sides, tf.float64))


def _only_if_long_enough(encoded: tf.Tensor, least_bytes: tf.Tensor) -> tf.Tensor:
    """`encoded`, unless it is shorter than any whole file with the pixels that its header claims."""
    length = tf.cast(tf.strings.length(encoded), tf.float64)
    return _only_if(length >= least_bytes, encoded, "a file too short for its number of pixels")


def _only_if_large(encoded: tf.Tensor, size: tf.Tensor, check: Callable[[], tf.Tensor], message: str) -> tf.Tensor:
    """`encoded`, unless it is a large file for which `check` is false."""
    fits = tf.cond(_product(size) < _LARGE, lambda: tf.constant(True), check)
    return _only_if(fits, encoded, message)


def _decode_jpeg(encoded: tf.Tensor, header: tf.Tensor, max_pixels: int) -> tf.Tensor:
    size = tf.io.extract_jpeg_shape(encoded)[:2]
    encoded = _only_if_size(size, max_pixels, encoded)
    encoded = _only_if_long_enough(encoded, _product(size) / _JPEG_PIXELS_PER_BYTE)
    encoded = _only_if(has_few_scans(encoded), encoded, f"more than {MOST_SCANS} scans")
    encoded = _only_if_large(encoded, size, lambda: has_end(encoded), "a file cut short")
    encoded = _only_if_large(
        encoded,
        size,
        lambda: fits_scans(encoded, _product(size), max_pixels),
        "too many pixels for its number of scans",
    )
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return upright(image, jpeg_orientation(encoded))


def _decode_png(encoded: tf.Tensor, header: tf.Tensor, max_pixels: int) -> tf.Tensor:
    # Width and height, four bytes each, highest first, bits, colour type (PNG specification, 11.2.2).
    sides = tf.reduce_sum(tf.reshape(header[16:24], [2, 4]) * [256**3, 256**2, 256, 1], axis=1)
    color_type = tf.minimum(header[25], len(_PNG_CHANNELS) - 1)
    bits = tf.cast(header[24] * tf.gather(tf.constant(_PNG_CHANNELS, tf.int64), color_type), tf.float64)
    inflated = _product(sides) * bits / 8 + tf.cast(sides[1], tf.float64)  # each row begins with a byte of its own
    effort = tf.where(header[28] == 0, inflated, 2 * inflated)
    encoded = _only_if_size(sides, max_pixels, encoded)
    encoded = _only_if(effort <= _PNG_BYTES_PER_PIXEL * max_pixels + _LARGE, encoded, "too much inflated data")
    encoded = _only_if_long_enough(encoded, inflated / _PNG_DEFLATE_RATIO)
    chunks = png_chunks(encoded)
    bare = _only_if(chunks.is_whole, chunks.bare, f"Invalid PNG data: cut short, or more than {MOST_CHUNKS} chunks")
    # The rows of an interlaced image are shorter, so that there are more of the bytes they begin with.
    bare = _only_if(inflates_to_at_most(chunks.pixels, effort), bare, "more compressed data than pixels")
    return upright(tf.io.decode_png(bare, channels=3), orientation_at(encoded, chunks.exif, 8))


def _decode_bmp(encoded: tf.Tensor, header: tf.Tensor, max_pixels: int) -> tf.Tensor:
    # BITMAPINFOHEADER: its size, width and height (negative if the rows begin at the top), bits, compression.
    header_size, bits, compression = (_little_endian(header, *field) for field in ((14, 4), (28, 2), (30, 2)))
    sides = [_little_endian(header, start, 4) for start in (18, 22)]
    sides = [tf.where(side < 2**31, side, 2**32 - side) for side in sides]
    is_plain = (compression == 0) & ((bits == 8) | (bits == 24) | (bits == 32))
    # TensorFlow ignores the masks of the channels.
    is_bgra = tf.reduce_all(bytes_at(encoded, tf.constant(54, tf.int64), 12) == list(_BMP_MASKS))
    is_known = (header_size >= 40) & (is_plain | (compression == 3) & (bits == 32) & is_bgra)
    encoded = _only_if_size(tf.stack(sides), max_pixels, encoded)
    image = _decode_image(_only_if(is_known, encoded, "a BMP that is compressed or of an unusual kind"), 3)
    # TensorFlow returns the indices of a palette image in all three channels. The palette is in order B, G, R, 0.
    palette = tf.reshape(bytes_at(encoded, 14 + header_size, 4 * 256), [256, 4])[:, 2::-1]
    colours = tf.cast(palette, tf.uint8)
    return tf.cond(bits == 8, lambda: tf.gather(colours, tf.cast(image[..., 0], tf.int32)), lambda: image)


def _decode_gif(encoded: tf.Tensor, header: tf.Tensor, max_pixels: int) -> tf.Tensor:
    # Of the logical screen (GIF89a, 18), to which TensorFlow decodes.
    sides = tf.stack([_little_endian(header, 6, 2), _little_endian(header, 8, 2)])
    encoded = _only_if_size(sides, max_pixels, encoded)
    frame = first_frame(encoded)
    file = _only_if(frame.is_whole, frame.file, "a file cut short, or of too many blocks")
    return _decode_image(_only_if_size(frame.sides, max_pixels, file), 3)


def _decode_webp(encoded: tf.Tensor, header: tf.Tensor, max_pixels: int) -> tf.Tensor:
    kinds = tf.stack([tf.reduce_all(header[12:16] == list(kind)) for kind in (b"VP8 ", b"VP8L", b"VP8X")])
    # TensorFlow 2.21 reads past its buffer, and may crash, when an animation is decoded as anything but RGBA.
    is_animated = kinds[2] & (header[20] & 2 > 0)
    encoded = _only_if(~is_animated, encoded, "animated WebP")
    packed = _little_endian(header, 21, 4)
    sides = tf.stack(
        [
            # RFC 6386, 9.1: 14 bits each, and two of a scale.
            [_little_endian(header, 26, 2) % 2**14, _little_endian(header, 28, 2) % 2**14],
            # RFC 9649, 3.4: 14 bits each, one less than the side.
            [packed % 2**14 + 1, packed // 2**14 % 2**14 + 1],
            # RFC 9649, 2.7: 24 bits each, one less than the side.
            [_little_endian(header, 24, 3) + 1, _little_endian(header, 27, 3) + 1],
        ]
    )
    sides = tf.reduce_sum(tf.where(kinds[:, tf.newaxis], sides, 0), axis=0)
    # With transparency there are four channels, and asking for three is refused.
    image = _decode_image(_only_if_size(sides, max_pixels, encoded), 0)[..., :3]
    return upright(image, webp_orientation(encoded))


def _decode_image(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.io.decode_image(encoded, channels=channels, expand_animations=False)


def _little_endian(header: tf.Tensor, start: int, count: int) -> tf.Tensor:
    """The number, int64, that `count` bytes of the header are, lowest first."""
    return tf.reduce_sum(header[start : start + count] * [256**place for place in range(count)])


# Graphs that are called and not inlined, so that a process prepares only those of the formats it meets.
_called = tf.function(autograph=False, experimental_attributes={"_noinline": True})
_DECODERS = {
    "jpeg": _called(_decode_jpeg),
    "png": _called(_decode_png),
    "bmp": _called(_decode_bmp),
    "gif": _called(_decode_gif),
    "webp": _called(_decode_webp),
}
