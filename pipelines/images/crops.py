"""Geometry: the resized image of an image file, and the crops of it that the network reads.

Training, evaluation and the exported graph all cut here, so they agree to the pixel.
"""

import tensorflow as tf

from pipelines.choices import EVALUATION_CROPS, RESIZE_POLICIES, RESIZED_SIZE


def check_resize(resize: str) -> None:
    """Raises ValueError unless `resize` is one of RESIZE_POLICIES."""
    if resize not in RESIZE_POLICIES:
        raise ValueError(f"resize={resize}: expected one of {', '.join(RESIZE_POLICIES)}")


def resize_image(image: tf.Tensor, resize: str = "shorter_side", size: int = RESIZED_SIZE) -> tf.Tensor:
    """Resizes an image to a square, as it is stored, evaluated and served.

    The resize is bilinear with antialiasing, as Pillow's BILINEAR. Only the part of the image that remains
    is read, so a 10,000 x 1 image costs no more than a square one. An image of the right size is not changed.

    Args:
      image: uint8 [H,W,3], at least one pixel.
      resize: one of RESIZE_POLICIES.
      size: side of the result in pixels.

    Returns:
      uint8 [size,size,3].

    Raises:
      ValueError: unknown policy.
    """
    check_resize(resize)
    is_resized = tf.reduce_all(tf.shape(image)[:2] == size)
    resized = tf.cond(is_resized, lambda: image, lambda: _resized(image, resize, size))
    return tf.ensure_shape(resized, [size, size, 3])


def crop(image: tf.Tensor, y: tf.Tensor, x: tf.Tensor, size: int) -> tf.Tensor:
    """The `size` x `size` crop of `image` [H,W,3] whose upper left corner is y, x: [size,size,3], same type."""
    return tf.slice(image, [y, x, 0], [size, size, 3])


def resize_window(window: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes all of an image, whatever its shape, to a square.

    The resize is bilinear with antialiasing, as Pillow's BILINEAR and as `resize_image`.

    Args:
      window: uint8 [H,W,3], at least one pixel.
      size: side of the result in pixels.

    Returns:
      uint8 [size,size,3].
    """
    shape = tf.cast(tf.shape(window)[:2], tf.float32)
    return tf.ensure_shape(_scaled(window, size, size / shape, tf.zeros([2])), [size, size, 3])


def center_crop(images: tf.Tensor, size: int = 224) -> tf.Tensor:
    """The central `size` x `size` crop of square `images` [N,R,R,3]: [N,size,size,3], same type."""
    start = (images.shape[1] - size) // 2
    return images[:, start : start + size, start : start + size]


def five_corners(size: int = 224, resized_size: int = RESIZED_SIZE) -> tuple[tuple[int, int], ...]:
    """Where five of the ten test crops begin, (row, column) in the resized image; the others are their flips."""
    end, middle = resized_size - size, (resized_size - size) // 2
    return (0, 0), (0, end), (middle, middle), (end, 0), (end, end)


def ten_crops(images: tf.Tensor, size: int = 224) -> tf.Tensor:
    """The ten test crops of square `images` [N,R,R,3]: [N,10,size,size,3], same type.

    Order of the 2012 code: top left, top right, centre, bottom left, bottom right, then the same five flipped
    left to right.
    """
    corners = five_corners(size, images.shape[1])
    five = tf.stack([images[:, y : y + size, x : x + size] for y, x in corners], axis=1)
    return tf.concat([five, tf.reverse(five, axis=[3])], axis=1)


def nine_crops(images: tf.Tensor, size: int = 224) -> tf.Tensor:
    """A grid of 3 x 3 crops of square `images` [N,R,R,3], row by row, not flipped: [N,9,size,size,3], same type.

    References:
      - cuda-convnet, convdata.py: the test of the CIFAR-10 networks with `--multiview-test=1`.
    """
    end = images.shape[1] - size
    starts = (0, end // 2, end)
    return tf.stack([images[:, y : y + size, x : x + size] for y in starts for x in starts], axis=1)


def select_crops(images: tf.Tensor, which: str, size: int = 224) -> tf.Tensor:
    """The crops of square `images` [N,R,R,3] that `which`, one of EVALUATION_CROPS, names: [N,V,size,size,3].

    V is 1, 10 or 9.

    Raises:
      ValueError: unknown `which`.
    """
    if which == "center":
        return center_crop(images, size)[:, tf.newaxis]
    if which == "ten":
        return ten_crops(images, size)
    if which == "nine":
        return nine_crops(images, size)
    raise ValueError(f"crops={which}: expected one of {', '.join(EVALUATION_CROPS)}")


def _resized(image: tf.Tensor, resize: str, target: int) -> tf.Tensor:
    # float64: a side times 256 has to stay exact for sides of many million pixels.
    size = tf.cast(tf.shape(image)[:2], tf.float64)
    if resize == "warp":
        resized = tf.constant([target, target], tf.float64)
    else:
        # torchvision rounds the longer side down and halves to even (transforms.functional: resize, center_crop).
        exact = size * target / tf.reduce_min(size)
        resized = tf.floor(exact) if resize == "torchvision" else tf.round(exact)
    scale = resized / size
    margin = (resized - target) / 2
    offset = tf.round(margin) if resize == "torchvision" else tf.floor(margin)
    # The pixels the filter can reach: a triangle one output pixel, or at least one input pixel, to each side.
    reach = tf.maximum(1 / scale, 1) + 1
    start = tf.floor(tf.maximum(offset / scale - reach, 0))
    end = tf.minimum(tf.math.ceil((offset + target) / scale + reach), size)
    first, last = tf.cast(start, tf.int32), tf.cast(end, tf.int32)
    pixels = image[first[0] : last[0], first[1] : last[1]]
    return _scaled(pixels, target, tf.cast(scale, tf.float32), tf.cast(start * scale - offset, tf.float32))


def _scaled(image: tf.Tensor, size: int, scale: tf.Tensor, translation: tf.Tensor) -> tf.Tensor:
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=[size, size],
        scale=scale,
        translation=translation,
        kernel_type="triangle",
        antialias=True,
    )
    return tf.cast(tf.round(pixels[0]), tf.uint8)
