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
    """Subtracts the training set's mean from images and scales the result: `(image - mean) * scale`.

    Args:
      mean: RGB means `[3]` or a mean image `[S, S, 3]`, in grey levels 0..255. The 2012 code subtracts the same mean
        image, the central window of the 256 x 256 one, from every crop (convdata_jpeg.py).
      scale: one number, or one a channel. 1 in 2012. 1/64 gives natural images about unit variance, which He's
        initial values need.
      resize: how photographs become 256 x 256 for this network (`pipelines.images.crops.RESIZE_POLICIES`). Nothing here
        depends on it: it travels with the network for those who feed it, such as the exporter.
    """

    def __init__(
        self,
        mean: Sequence | np.ndarray,
        scale: float | Sequence[float] = 1.0,
        resize: str = "shorter_side",
        **kwargs,
    ):
        # Without autocast=False Keras would cast the images before `call` sees them.
        super().__init__(autocast=False, **kwargs)
        self.mean = np.asarray(mean, np.float32)
        self.scale = scale if isinstance(scale, float | int) else tuple(scale)
        self.resize = resize

    def call(self, images):
        # In float32 whatever the policy: bfloat16 cannot tell neighbouring grey levels apart above 128.
        centred = (tf.cast(images, tf.float32) - self.mean) * self.scale
        return tf.cast(centred, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        # As text a mean image would be 3 MB of digits; base64 keeps it at 0.8 MB, and exact.
        encoded = base64.b64encode(self.mean.astype("<f4").tobytes()).decode("ascii")
        return super().get_config() | {
            "mean": {"shape": self.mean.shape, "float32": encoded},
            "scale": self.scale,
            "resize": self.resize,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MeanSubtraction":
        """The inverse of `get_config`."""
        mean = np.frombuffer(base64.b64decode(config["mean"]["float32"]), "<f4").reshape(config["mean"]["shape"])
        return cls(**config | {"mean": mean})
