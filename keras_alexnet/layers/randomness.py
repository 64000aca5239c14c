"""Random numbers of layers: a function of the layer's seed generator, whose state counts the steps, and the replica.

The state is one of the layer's variables, so checkpoints contain it and a resumed run draws what an uninterrupted one
would. Draws are made in the forward pass only; a layer makes none at inference.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

# What shares one random factor: all images of a replica's batch, an image, a channel of an image, or nothing.
Sharing = Literal["batch", "image", "channel", "pixel"]
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)


class RandomLayer(keras.layers.Layer):
    """A layer that draws random numbers in training.

    Args:
      seed: of the draws. Every step and replica draws numbers of its own.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def next_seed(self) -> tf.Tensor:
        """The seed int32 `[2]` of this call; the next call has another."""
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        replica = tf.distribute.get_replica_context()
        if replica is None:
            return seed
        # The generator's state is mirrored: without this all replicas would draw the same numbers.
        return tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)

    def check(self, name: str, accepted: bool, expected: str) -> None:
        """Raises ValueError about the argument `name`, an attribute of the layer, unless it is accepted."""
        if not accepted:
            raise ValueError(f"{self.name}: {name}={getattr(self, name)!r}: expected {expected}")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def uniform(seed: tf.Tensor, stream: int, shape: Any, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    """Draws from U[low, high), float32; independent for each `stream` of a seed."""
    return low + (high - low) * tf.random.stateless_uniform(
        shape, tf.random.experimental.stateless_fold_in(seed, stream)
    )


def bernoulli(seed: tf.Tensor, stream: int, shape: Any, probability: float) -> tf.Tensor:
    """Draws 1.0 with `probability`, else 0.0, float32; independent for each `stream` of a seed."""
    return tf.cast(uniform(seed, stream, shape) < probability, tf.float32)


def factor_shape(values: tf.Tensor, per: Sharing) -> tf.Tensor | Sequence[int]:
    """The shape of random factors for maps `[N, H, W, C]` that are drawn `per` batch, image, channel or pixel."""
    shape = tf.shape(values)
    if per == "batch":
        return [1, 1, 1, 1]
    if per == "image":
        return [shape[0], 1, 1, 1]
    if per == "channel":
        return [shape[0], 1, 1, shape[3]]
    return shape
