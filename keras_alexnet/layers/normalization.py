"""Local response normalization: across channels (the paper's) and within a map (of the 2012 code only)."""

import functools
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_alexnet.distribute.compilation import compiles_inference, compiles_small_functions
from keras_alexnet.distribute.towers import per_tower
from keras_alexnet.layers.compiled_lrn import clustered_lrn, compiled_lrn

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each activation by `(bias + alpha * sum of squares over 2 * depth_radius + 1 channels) ** beta`.

    This is `tf.nn.local_response_normalization`, computed in float32 under any dtype policy. alpha multiplies the plain
    sum, as in the paper and in TensorFlow; Caffe, PyTorch and the 2012 code divide it by the size of the window first.
    On a CPU without a distribution strategy, `fit`, `evaluate` and `predict` use operations compiled by XLA, which are
    equal within 1e-6. Exported graphs never do.

    Input and output: `[N, H, W, C]`, or a list of such tensors, one per tower.

    Args:
      depth_radius: channels on each side of the window; the paper's n = 5 channels are a radius of 2.
      bias: k = 2 in the paper.
      alpha: 1e-4 in the paper.
      beta: 0.75 in the paper.
      across: "tower": the window stays within the channels of its tower, as on the two GPUs of 2012; "all": it
        continues in the next tower, as in Caffe.

    Raises:
      ValueError: if `across` is neither "tower" nor "all".

    Examples:
        >>> LocalResponseNormalization()(keras.ops.ones((1, 55, 55, 48))).shape
        TensorShape([1, 55, 55, 48])

    References:
      - The defaults: paper, section 3.3.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        across: Literal["tower", "all"] = "tower",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if across not in ("tower", "all"):
            raise ValueError(f"{self.name}: across={across!r}: expected 'tower' or 'all'")
        self.depth_radius, self.bias, self.alpha, self.beta = depth_radius, bias, alpha, beta
        self.across = across

    @property
    def constants(self) -> tuple[int, float, float, float]:
        """`depth_radius`, `bias`, `alpha` and `beta`, in the order of `tf.nn.local_response_normalization`."""
        return self.depth_radius, self.bias, self.alpha, self.beta

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        # What may be exported must not need XLA.
        if training is True and compiles_small_functions():
            normalize = compiled_lrn(*self.constants, self.compute_dtype)
        else:
            function = clustered_lrn if compiles_inference() else _kernel
            normalize = functools.partial(function, constants=self.constants, dtype=self.compute_dtype)
        if self.across == "tower" or not isinstance(inputs, list | tuple):
            return per_tower(normalize, inputs)
        # All channels at once: slicing only the nearest channels of the neighbours is half as fast again on a CPU.
        return tf.split(normalize(tf.concat(inputs, -1)), [maps.shape[-1] for maps in inputs], -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        names = ("depth_radius", "bias", "alpha", "beta", "across")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _kernel(maps: tf.Tensor, constants: tuple[int, float, float, float], dtype: str) -> tf.Tensor:
    """TensorFlow's own kernel, which takes float32 only on a CPU."""
    return tf.cast(tf.nn.local_response_normalization(tf.cast(maps, tf.float32), *constants), dtype)


@register
class MapResponseNormalization(keras.layers.Layer):
    """Divides each activation by `(bias + alpha * sum of squares over size x size pixels of its map) ** beta`.

    Pixels beyond the map count as 0. Computed in float32 under any dtype policy.

    Input and output: `[N, H, W, C]`, or a list of such tensors, one per tower.

    Args:
      size: side of the window, in pixels.
      bias, alpha, beta: as for `LocalResponseNormalization`; alpha multiplies the sum of squares, not their mean.

    References:
      - layers-145.cfg of the released 2012 code, layer cnorm2 (5 x 5 pixels, scale 1e-3 divided by 25). The paper does
        not mention this layer.
    """

    def __init__(self, size: int = 5, bias: float = 1.0, alpha: float = 1e-3 / 25, beta: float = 0.75, **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.bias, self.alpha, self.beta = size, bias, alpha, beta

    def call(self, inputs: Any) -> Any:
        return per_tower(self._normalize, inputs)

    def _normalize(self, maps: tf.Tensor) -> tf.Tensor:
        maps = tf.cast(maps, tf.float32)
        # Padded explicitly: average pooling with SAME divides by the number of pixels within the map.
        low, high = (self.size - 1) // 2, self.size // 2
        squares = tf.pad(tf.square(maps), [[0, 0], [low, high], [low, high], [0, 0]])
        means = tf.nn.avg_pool2d(squares, self.size, 1, "VALID")
        scales = self.bias + self.alpha * self.size**2 * means
        roots = tf.sqrt(scales)
        # Square roots are faster than a power.
        powers = roots * tf.sqrt(roots) if self.beta == 0.75 else tf.pow(scales, self.beta)
        return tf.cast(maps / powers, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("size", "bias", "alpha", "beta")}
