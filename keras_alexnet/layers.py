"""The network's layers. Between them travels a list with one tensor `[N, H, W, channels / towers]` per tower.

A layer that `reads="own"` connects each tower to itself; one that `reads="all"` connects each tower to every tower. A
single tensor counts as one tower. `layer.get_weights()` gives kernel and bias of tower 0, then of tower 1. Where a
layer has no `get_config`, Keras makes it of the constructor's arguments. The layers that have weights are written in
`keras_alexnet.connections`.
"""

import base64
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.connections import TowerConv2D, TowerDense
from keras_alexnet.placement import per_tower, tower

__all__ = [
    "LocalResponseNormalization",
    "MeanSubtraction",
    "OverlappingMaxPool",
    "TowerActivation",
    "TowerConv2D",
    "TowerDense",
    "TowerDropout",
]

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class MeanSubtraction(keras.layers.Layer):
    """Subtracts the training set's mean from images and scales the result: `(image - mean) * scale`.

    Args:
      mean: RGB means `[3]` or a mean image `[S, S, 3]`, in grey levels 0..255. The 2012 code subtracts the same mean
        image, the central window of the 256 x 256 one, from every crop (convdata_jpeg.py).
      scale: 1 in 2012. 1/64 gives natural images about unit variance, which He's initial values need.
    """

    def __init__(self, mean: Sequence | np.ndarray, scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.mean = np.asarray(mean, np.float32)
        self.scale = scale

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
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MeanSubtraction":
        """The inverse of `get_config`."""
        mean = np.frombuffer(base64.b64decode(config["mean"]["float32"]), "<f4").reshape(config["mean"]["shape"])
        return cls(**config | {"mean": mean})


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each activation by `(bias + alpha * sum of squares over 2 * depth_radius + 1 channels) ** beta`.

    The defaults are those printed in the paper (section 3.3). alpha multiplies the plain sum, as in the paper and in
    TensorFlow; Caffe, PyTorch and the 2012 code divide it by the window's size first.
    The window never leaves its tower, as on the two GPUs of 2012. Computed in float32 under any dtype policy.
    """

    def __init__(self, depth_radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **kwargs):
        super().__init__(**kwargs)
        self.depth_radius, self.bias, self.alpha, self.beta = depth_radius, bias, alpha, beta

    def call(self, inputs):
        def normalize(maps):
            constants = (self.depth_radius, self.bias, self.alpha, self.beta)
            normalized = tf.nn.local_response_normalization(tf.cast(maps, tf.float32), *constants)
            return tf.cast(normalized, self.compute_dtype)

        return per_tower(normalize, inputs)


@register
class OverlappingMaxPool(keras.layers.Layer):
    """Max pooling whose windows (3 x 3) are larger than their strides (2), without padding (paper, section 3.4)."""

    def __init__(self, pool_size: int = 3, strides: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.pool_size, self.strides = pool_size, strides

    def call(self, inputs):
        return per_tower(lambda maps: tf.nn.max_pool2d(maps, self.pool_size, self.strides, "VALID"), inputs)


@register
class TowerActivation(keras.layers.Layer):
    """An elementwise activation ("relu", "tanh", ...), tower by tower."""

    def __init__(self, activation: str, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, inputs):
        return per_tower(self.activation, inputs)


@register
class TowerDropout(keras.layers.Layer):
    """Dropout as printed in the paper (section 4.2): a 0/1 mask in training, outputs times `keep` otherwise.

    Keras' own (inverted) dropout divides by `keep` in training instead; see `rescale="training"`.

    Args:
      rate: share of the units that a mask silences; `keep` is 1 - rate.
      rescale: "inference" (as printed) or "training" (inverted dropout).
      seed: of the masks. Every step, replica and tower draws its own mask from it.

    Raises:
      ValueError: for a rate outside [0, 1), or another `rescale`.
    """

    def __init__(self, rate: float = 0.5, rescale: str = "inference", seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"{self.name}: rate={rate}; expected 0 <= rate < 1")
        if rescale not in ("inference", "training"):
            raise ValueError(f"{self.name}: rescale={rescale!r}; expected 'inference' or 'training'")
        self.rate, self.rescale, self.seed = rate, rescale, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training: bool = False):
        keep = 1.0 - self.rate
        if not training:
            return per_tower(lambda values: values * keep if self.rescale == "inference" else values, inputs)
        if not isinstance(inputs, list | tuple):
            return self.call([inputs], training)[0]
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        replica = tf.distribute.get_replica_context()
        if replica is not None:
            # The generator's state is mirrored: without this all replicas would draw the same mask.
            seed = tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
        outputs = []
        for index, values in enumerate(inputs):
            with tower(index):
                draws = tf.random.stateless_uniform(
                    tf.shape(values), tf.random.experimental.stateless_fold_in(seed, index)
                )
                mask = tf.cast(draws < keep, values.dtype)
                outputs.append(values * mask if self.rescale == "inference" else values * mask / keep)
        return outputs
