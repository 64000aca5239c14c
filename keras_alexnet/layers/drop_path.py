"""FractalNet's drop-path (Larsson, Maire, Shakhnarovich, ICLR 2017, section 3)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.layers.randomness import RandomLayer, bernoulli, uniform

register = keras.saving.register_keras_serializable(package="keras_alexnet")

# What `DropPathColumn` gives for a batch with local drop-path.
LOCAL = -1


@register
class DropPathColumn(RandomLayer):
    """Draws for each batch which column of a FractalNet is the only one, for all its joins together.

    Input: any tensor; its values are not used. Output: int32 `[]`, a column from 0, or -1 for local drop-path; always
    -1 at inference, without a random operation.

    Args:
      columns: number of columns of the network.
      global_share: share of the batches with a single column, 0 to 1; half of them in the paper.
      seed: of the draws.

    Examples:
        >>> int(DropPathColumn(3)(keras.ops.zeros((1, 1)), training=False))
        -1
    """

    def __init__(self, columns: int, global_share: float = 0.5, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.columns, self.global_share = columns, global_share
        self.check("columns", columns >= 1, "at least 1")
        self.check("global_share", 0 <= global_share <= 1, "0 to 1")

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        if not training or not self.global_share:
            return tf.constant(LOCAL)
        seed = self.next_seed()
        column = tf.cast(uniform(seed, 0, [], 0, self.columns), tf.int32)
        return tf.where(bernoulli(seed, 1, [], self.global_share) > 0, column, LOCAL)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        return keras.KerasTensor((), "int32")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("columns", "global_share", "seed")}


@register
class DropPathJoin(RandomLayer):
    """The join of a fractal block: the mean of the paths that have not been dropped; of all paths at inference.

    Local drop-path drops each path with probability `rate`, once for the whole batch; if that drops all, one of them is
    restored at random (drop_path.py of the authors' code). Global drop-path keeps the path of one column;
    `DropPathColumn` draws it. A join without a path of that column takes the mean of all: nothing reads its output.

    Input: a list of tensors of one shape, and optionally `column`, the output of a `DropPathColumn`. Output: a tensor.
    Batch normalization on a dropped path still updates its moving averages.

    Args:
      rate: probability of dropping a path, 0 <= rate < 1; 0.15 in the paper.
      columns: the column of each input; 0, 1, 2, ... by default.
      seed: of the draws.

    Examples:
        >>> paths = [keras.ops.array([[2.0]]), keras.ops.array([[6.0]])]
        >>> DropPathJoin()(paths, training=False).numpy().tolist()
        [[4.0]]
    """

    def __init__(
        self, rate: float = 0.15, columns: Sequence[int] | None = None, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(seed, **kwargs)
        self.rate, self.columns = rate, None if columns is None else tuple(columns)
        self.check("rate", 0 <= rate < 1, "0 <= rate < 1")

    def call(self, inputs: Sequence[Any], column: Any = None, training: bool = False) -> tf.Tensor:
        count = len(inputs)
        if not training:
            return tf.add_n(list(inputs)) / count
        kept = self._local(count)
        if column is not None:
            columns = self.columns or tuple(range(count))
            own = tf.cast(tf.equal(columns, column), tf.float32)
            kept = tf.where(column == LOCAL, kept, tf.where(tf.reduce_any(own > 0), own, tf.ones(count)))
        shares = tf.unstack(kept / tf.reduce_sum(kept))
        return tf.add_n([tf.cast(share, path.dtype) * path for share, path in zip(shares, inputs, strict=True)])

    def _local(self, count: int) -> tf.Tensor:
        """1.0 for each path that is kept, at least one of them, else 0.0."""
        seed = self.next_seed()
        kept = bernoulli(seed, 0, [count], 1 - self.rate)
        restored = tf.one_hot(tf.cast(uniform(seed, 1, [], 0, count), tf.int32), count)
        return tf.where(tf.reduce_any(kept > 0), kept, restored)

    def compute_output_spec(self, inputs: Any, column: Any = None, training: bool = False) -> Any:
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("rate", "columns", "seed")}
