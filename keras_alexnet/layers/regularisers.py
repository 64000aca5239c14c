"""Dropout as the paper has it (section 4.2)."""

import keras
import tensorflow as tf

from keras_alexnet.distribute.towers import on_tower, per_tower

register = keras.saving.register_keras_serializable(package="keras_alexnet")


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
