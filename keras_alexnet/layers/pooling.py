"""Overlapping max pooling (paper, section 3.4)."""

from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.distribute.towers import per_tower
from keras_alexnet.layers.tower_layers import as_list

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class OverlappingMaxPool(keras.layers.Layer):
    """Max pooling whose windows (3 x 3 pixels) are larger than their strides (2 pixels).

    Input: `[N, H, W, C]`, or a list of such tensors, one per tower. Output: the same with smaller H and W.

    Args:
      pool_size: side of the window, in pixels.
      strides: in both directions, in pixels.
      overhang: whether one more window is added at the right and the bottom where the last one does not fit exactly;
        it covers the pixels that exist, as in the 2012 code (layer.py) and in Caffe. In the paper's network all windows
        fit.

    Examples:
        >>> OverlappingMaxPool()(keras.ops.zeros((1, 55, 55, 48))).shape
        TensorShape([1, 27, 27, 48])

    References:
      - z = 3, s = 2: paper, section 3.4.
    """

    def __init__(self, pool_size: int = 3, strides: int = 2, overhang: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.pool_size, self.strides, self.overhang = pool_size, strides, overhang

    def call(self, inputs: Any) -> Any:
        return per_tower(self._pool, inputs)

    def _pool(self, maps: tf.Tensor) -> tf.Tensor:
        beyond = [self._beyond(side) for side in maps.shape[1:3]]
        padding: str | list = [[0, 0], [0, beyond[0]], [0, beyond[1]], [0, 0]]
        if not any(beyond):
            padding = "VALID"
        elif all(pixels == self._same(side) == 1 for pixels, side in zip(beyond, maps.shape[1:3], strict=True)):
            # One pixel is added at the right and the bottom. Explicit padding takes ten times as long on a CPU.
            padding = "SAME"
        return tf.nn.max_pool2d(maps, self.pool_size, self.strides, padding)

    def _same(self, side: int) -> int:
        """Pixels that SAME adds; an odd one comes after the map."""
        return max((-(-side // self.strides) - 1) * self.strides + self.pool_size - side, 0)

    def _beyond(self, side: int) -> int:
        """Pixels that the last window extends beyond the map."""
        return -(side - self.pool_size) % self.strides if self.overhang else 0

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = []
        for images, *sides, channels in as_list(input_shape):
            sides = [(side + self._beyond(side) - self.pool_size) // self.strides + 1 for side in sides]
            shapes.append((images, *sides, channels))
        return shapes if isinstance(input_shape[0], list | tuple) else shapes[0]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("pool_size", "strides", "overhang")}
