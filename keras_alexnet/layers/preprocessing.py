"""Preprocessing inside the network: mean subtraction and scaling of RGB images."""

import base64
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class MeanSubtraction(keras.layers.Layer):
    """Subtracts the mean of the training set and scales: `(image - mean) * scale`, in float32 under any dtype policy.

    Input: RGB images `[N, S, S, 3]`, pixel values 0..255, any numeric type. Output: the same shape, the compute dtype.

    Args:
      mean: RGB means `[3]` or a mean image `[S, S, 3]`, pixel values 0..255. The 2012 code subtracts the same mean
        image, the central crop of the 256 x 256 one, from every crop (convdata_jpeg.py).
      scale: one number, or one per channel. 1 in 2012; 1/64 gives natural images about unit variance, which He's
        initialization needs.
      resize: resize policy of this network's images (`pipelines.images.crops.RESIZE_POLICIES`). The layer does not
        use it: it is stored with the network for the exporter and for `preprocess_input`.
      resized_size: side in pixels that this network's images are resized to before they are cropped; None for the
        network's own. Stored like `resize`.

    Examples:
        >>> MeanSubtraction([127.0, 118.0, 103.0])(keras.ops.zeros((1, 2, 2, 3)))[0, 0, 0].numpy().tolist()
        [-127.0, -118.0, -103.0]
    """

    def __init__(
        self,
        mean: Sequence | np.ndarray,
        scale: float | Sequence[float] = 1.0,
        resize: str = "shorter_side",
        resized_size: int | None = None,
        **kwargs: Any,
    ):
        # Without autocast=False Keras would cast the images before `call` sees them.
        super().__init__(autocast=False, **kwargs)
        self.mean = np.asarray(mean, np.float32)
        self.scale = scale if isinstance(scale, float | int) else tuple(scale)
        self.resize, self.resized_size = resize, resized_size

    def call(self, images: Any) -> tf.Tensor:
        # In float32 under any policy: bfloat16 does not represent all pixel values above 128.
        return tf.cast(centered(tf.cast(images, tf.float32), self.mean, self.scale), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        # As decimal text a mean image would take 3 MB; base64 takes 0.8 MB and is exact.
        encoded = base64.b64encode(self.mean.astype("<f4").tobytes()).decode("ascii")
        return super().get_config() | {
            "mean": {"shape": self.mean.shape, "float32": encoded},
            "scale": self.scale,
            "resize": self.resize,
            "resized_size": self.resized_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MeanSubtraction":
        """The inverse of `get_config`."""
        mean = np.frombuffer(base64.b64decode(config["mean"]["float32"]), "<f4").reshape(config["mean"]["shape"])
        return cls(**config | {"mean": mean})


def centered(images: tf.Tensor, mean: np.ndarray, scale: float | Sequence[float] | np.ndarray) -> tf.Tensor:
    """`(images - mean) * scale`.

    Args:
      images: float32 `[N, H, W, C]`.
      mean: `[C]` or `[H, W, C]`.
      scale: one number, or one per channel.
    """
    scales = np.asarray(scale, np.float32)
    if images.shape.rank != 4 or None in images.shape[1:]:
        return (images - mean) * scales
    # Row by row: TensorFlow's CPU kernel is several times slower at broadcasting over the three channels only.
    height, width, channels = images.shape[1:]
    by_row = [-1, height, width * channels]
    # A mean for each channel is repeated for one row only: constants are stored in the exported graph.
    means = np.tile(mean, width) if mean.ndim == 1 else np.broadcast_to(mean, (height, width, channels))
    rows = tf.reshape(images, by_row) - means.reshape(-1, width * channels)
    if not np.all(scales == 1):
        rows *= np.broadcast_to(scales, (width, channels)).reshape(-1)
    return tf.reshape(rows, [-1, height, width, channels])
