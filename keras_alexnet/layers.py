"""The network's layers. Between them travels a list with one tensor `[N, H, W, channels / towers]` per tower.

A layer that `reads="own"` connects each tower to itself; one that `reads="all"` connects each tower to every tower. A
single tensor counts as one tower. `layer.get_weights()` gives kernel and bias of tower 0, then of tower 1. Where a
layer has no `get_config`, Keras makes it of the constructor's arguments. The layers that have weights are written in
`keras_alexnet.connections`, response normalisation in `keras_alexnet.normalization`.
"""

import base64
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.connections import TowerConv2D, TowerDense
from keras_alexnet.normalization import LocalResponseNormalization, MapResponseNormalization
from keras_alexnet.towers import on_tower, per_tower

__all__ = [
    "LocalResponseNormalization",
    "MapResponseNormalization",
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
      scale: one number, or one a channel. 1 in 2012. 1/64 gives natural images about unit variance, which He's
        initial values need.
      resize: how photographs become 256 x 256 for this network (`pipelines.crops.RESIZE_POLICIES`). Nothing here
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
        return [on_tower(index, self._dropped(seed, index), values) for index, values in enumerate(inputs)]

    def _dropped(self, seed, index):
        keep = 1.0 - self.rate

        def drop(values):
            draws = tf.random.stateless_uniform(tf.shape(values), tf.random.experimental.stateless_fold_in(seed, index))
            mask = tf.cast(draws < keep, values.dtype)
            return values * mask if self.rescale == "inference" else values * mask / keep

        return drop
