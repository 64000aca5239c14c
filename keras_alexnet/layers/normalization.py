"""Response normalisation, across the channels (the paper's) and inside a map (of the 2012 code only)."""

import keras
import tensorflow as tf

from keras_alexnet.distribute.towers import per_tower

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each activation by `(bias + alpha * sum of squares over 2 * depth_radius + 1 channels) ** beta`.

    The defaults are those printed in the paper (section 3.3). alpha multiplies the plain sum, as in the paper and in
    TensorFlow; Caffe, PyTorch and the 2012 code divide it by the window's size first.
    Computed in float32 under any dtype policy.

    Args:
      depth_radius, bias, alpha, beta: as above; the paper's n = 5 channels are a radius of 2, its k is `bias`.
      across: "tower" keeps the window of channels inside its tower, as on the two GPUs of 2012; "all" lets it run on
        into the neighbouring towers, as in Caffe.

    Raises:
      ValueError: if `across` is neither.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        across: str = "tower",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if across not in ("tower", "all"):
            raise ValueError(f"{self.name}: across={across!r}; expected 'tower' or 'all'")
        self.depth_radius, self.bias, self.alpha, self.beta = depth_radius, bias, alpha, beta
        self.across = across

    def call(self, inputs):
        if self.across == "tower" or not isinstance(inputs, list | tuple):
            return per_tower(self._normalize, inputs)
        # All maps at once: cutting out just the neighbours' nearest channels takes half as long again on CPU.
        return tf.split(self._normalize(tf.concat(inputs, -1)), [maps.shape[-1] for maps in inputs], -1)

    def _normalize(self, maps):
        constants = (self.depth_radius, self.bias, self.alpha, self.beta)
        normalized = tf.nn.local_response_normalization(tf.cast(maps, tf.float32), *constants)
        return tf.cast(normalized, self.compute_dtype)


@register
class MapResponseNormalization(keras.layers.Layer):
    """Divides each activation by `(bias + alpha * sum of squares over size x size pixels of its map) ** beta`.

    The released 2012 code has one behind its second normalisation, with 5 x 5 pixels (layers-145.cfg); the paper does
    not mention it. Pixels beyond the map count as 0. Computed in float32 under any dtype policy.
    """

    def __init__(self, size: int = 5, bias: float = 1.0, alpha: float = 1e-3 / 25, beta: float = 0.75, **kwargs):
        super().__init__(**kwargs)
        self.size, self.bias, self.alpha, self.beta = size, bias, alpha, beta

    def call(self, inputs):
        return per_tower(self._normalize, inputs)

    def _normalize(self, maps):
        maps = tf.cast(maps, tf.float32)
        # Padded by hand: average pooling with SAME divides by the number of pixels inside the map.
        low, high = (self.size - 1) // 2, self.size // 2
        squares = tf.pad(tf.square(maps), [[0, 0], [low, high], [low, high], [0, 0]])
        means = tf.nn.avg_pool2d(squares, self.size, 1, "VALID")
        scales = self.bias + self.alpha * self.size**2 * means
        roots = tf.sqrt(scales)
        # Powers are slower than roots, and their last bit depends on how the work was divided.
        powers = roots * tf.sqrt(roots) if self.beta == 0.75 else tf.pow(scales, self.beta)
        return tf.cast(maps / powers, self.compute_dtype)
