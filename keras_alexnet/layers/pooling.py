"""Overlapping max pooling (paper, section 3.4)."""

import keras
import tensorflow as tf

from keras_alexnet.distribute.towers import per_tower

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class OverlappingMaxPool(keras.layers.Layer):
    """Max pooling whose windows (3 x 3) are larger than their strides (2) (paper, section 3.4).

    Args:
      pool_size: side of the window.
      strides: in both directions.
      overhang: whether there is one more window at the right and the bottom if the last one does not fit exactly; it
        sees what there is, as in the 2012 code (layer.py) and in Caffe. In the paper's network all windows fit.
    """

    def __init__(self, pool_size: int = 3, strides: int = 2, overhang: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.pool_size, self.strides, self.overhang = pool_size, strides, overhang

    def call(self, inputs):
        return per_tower(self._pool, inputs)

    def _pool(self, maps):
        beyond = [-(side - self.pool_size) % self.strides if self.overhang else 0 for side in maps.shape[1:3]]
        padding = [[0, 0], [0, beyond[0]], [0, beyond[1]], [0, 0]] if any(beyond) else "VALID"
        return tf.nn.max_pool2d(maps, self.pool_size, self.strides, padding)
