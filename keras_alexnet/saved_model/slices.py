"""A function of a batch, applied to a few images at a time, so that memory does not grow with the batch."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Crops at a time: more take more memory and are no faster on a CPU.
CROPS_PER_SLICE = 80


def by_slices(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, ...]], images: tf.Tensor, size: int, widths: Sequence[int]
) -> list[tf.Tensor]:
    """Applies `function` to at most `size` rows of `images` at a time.

    Args:
      function: returns float32 `[M, width]` for M images, one tensor for each of `widths`.
      images: `[N, ...]`; N may be 0.
      size: of a slice, at least 1.
      widths: of the outputs.

    Returns:
      The outputs for all images, float32 `[N, width]`.
    """
    count = (tf.shape(images)[0] + size - 1) // size
    empty = [tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, width]) for width in widths]

    def body(index: tf.Tensor, parts: list[tf.TensorArray]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
        outputs = function(images[index * size : (index + 1) * size])
        return index + 1, [part.write(index, values) for part, values in zip(parts, outputs, strict=True)]

    _, parts = tf.while_loop(lambda index, parts: index < count, body, (0, empty), parallel_iterations=1)
    return [tf.ensure_shape(part.concat(), [None, width]) for part, width in zip(parts, widths, strict=True)]
