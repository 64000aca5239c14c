"""Dropout as in the paper (section 4.2)."""

from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf

from keras_alexnet.distribute.towers import on_tower, per_tower
from keras_alexnet.layers.randomness import RandomLayer

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class TowerDropout(RandomLayer):
    """Dropout as printed in the paper: a 0/1 mask in training, outputs times `1 - rate` at inference.

    Inverted dropout (`rescale="training"`, as in `keras.layers.Dropout`, Caffe and PyTorch) divides by `1 - rate` in
    training instead.

    Input and output: a tensor, or a list of tensors, one per tower.

    Args:
      rate: share of the units that a mask sets to zero, 0 <= rate < 1; 0.5 in the paper.
      rescale: "inference" (as printed) or "training" (inverted dropout).
      seed: seed of the masks. Every step, replica and tower draws a mask of its own.

    Raises:
      ValueError: if `rate` is outside [0, 1), or `rescale` is neither of the two.

    Examples:
        >>> TowerDropout(0.5)(keras.ops.array([[4.0]]), training=False).numpy().tolist()
        [[2.0]]
    """

    def __init__(
        self,
        rate: float = 0.5,
        rescale: Literal["inference", "training"] = "inference",
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"{self.name}: rate={rate}: expected 0 <= rate < 1")
        if rescale not in ("inference", "training"):
            raise ValueError(f"{self.name}: rescale={rescale!r}: expected 'inference' or 'training'")
        self.rate, self.rescale = rate, rescale

    def call(self, inputs: Any, training: bool = False) -> Any:
        keep = 1.0 - self.rate
        if not training:
            return per_tower(lambda values: values * keep if self.rescale == "inference" else values, inputs)
        if not isinstance(inputs, list | tuple):
            return self.call([inputs], training)[0]
        seed = self.next_seed()
        return [on_tower(index, self._masked(seed, index), values) for index, values in enumerate(inputs)]

    def _masked(self, seed: tf.Tensor, index: int) -> Callable[[tf.Tensor], tf.Tensor]:
        keep = 1.0 - self.rate

        def mask(values: tf.Tensor) -> tf.Tensor:
            draws = tf.random.stateless_uniform(tf.shape(values), tf.random.experimental.stateless_fold_in(seed, index))
            masked = values * tf.cast(draws < keep, values.dtype)
            return masked if self.rescale == "inference" else masked / keep

        return mask

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("rate", "rescale", "seed")}
