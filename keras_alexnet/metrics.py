"""Top-1 and top-5 error, as Keras metrics and as counts."""

from typing import Any

import keras
import tensorflow as tf

TOP = 5


def label_ranks(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Number of classes that are ranked before the right one.

    Among equal scores the class with the smaller index comes first, so that a network with equal scores for all
    classes is not counted as right. Where a score is NaN or infinite, the right class comes last.

    Args:
      scores: `[N, classes]` probabilities or logits.
      labels: int `[N]`.

    Returns:
      int32 `[N]`: 0 means that the right class is the best one; top-k is in error if the rank is k or more.
    """
    classes = tf.shape(scores)[-1]
    labels = tf.cast(labels, tf.int32)[:, None]
    of_label = tf.gather(scores, labels, batch_dims=1)
    ahead = (scores > of_label) | ((scores == of_label) & (tf.range(classes)[None] < labels))
    ranks = tf.reduce_sum(tf.cast(ahead, tf.int32), -1)
    is_number = tf.reduce_all(tf.math.is_finite(scores), -1)
    return tf.where(is_number, ranks, classes)


def error_counts(scores: tf.Tensor, labels: tf.Tensor, counted: tf.Tensor | bool = True) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers of top-1 and of top-5 errors among `scores` `[N, classes]`, int32; where `counted` `[N]` is true only."""
    ranks = label_ranks(scores, labels)
    top1, top5 = (tf.reduce_sum(tf.cast((ranks >= _first_wrong(scores, k)) & counted, tf.int32)) for k in (1, TOP))
    return top1, top5


def _first_wrong(scores: tf.Tensor, k: int) -> tf.Tensor:
    # With k classes or fewer, only a score that is not finite is in error at top-k.
    return tf.minimum(k, tf.shape(scores)[-1])


class _TopKError(keras.metrics.Metric):
    """Share of the samples whose right class is not among the `k` best."""

    k: int

    def __init__(self, name: str, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self._direction = "down"
        self.errors = self.add_weight(name="errors", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
          y_true: int `[N]` or `[N, 1]` class indices, or one-hot (or smoothed) labels `[N, classes]`.
          y_pred: `[N, classes]` probabilities or logits.
          sample_weight: `[N]`, `[N, 1]`, a number, or None.
        """
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if y_true.shape.rank == 2 and y_true.shape[-1] == y_pred.shape[-1] != 1:
            labels = tf.argmax(y_true, -1, output_type=tf.int32)
        else:
            labels = tf.reshape(tf.cast(y_true, tf.int32), [-1])
        errors = tf.cast(label_ranks(y_pred, labels) >= _first_wrong(y_pred, self.k), self.dtype)
        weights = tf.ones_like(errors)
        if sample_weight is not None:
            weights *= tf.reshape(tf.cast(sample_weight, self.dtype), [-1])
        self.errors.assign_add(tf.reduce_sum(errors * weights))
        self.count.assign_add(tf.reduce_sum(weights))

    def result(self) -> tf.Tensor:
        """The error so far, in 0..1; 0 before the first batch."""
        return tf.math.divide_no_nan(self.errors.value, self.count.value)


@keras.saving.register_keras_serializable(package="keras_alexnet")
class Top1Error(_TopKError):
    """Share of the samples whose right class is not the best one.

    Among equal predictions the class with the smaller index comes first; predictions that are NaN or infinite are
    errors. Labels are class indices or one-hot; predictions are probabilities or logits.

    Args:
      name: str, the metric's name in logs.
      dtype: of the result.

    Example:

    ```python
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=[keras_alexnet.Top1Error()])
    ```
    """

    k = 1

    def __init__(self, name: str = "top1_error", dtype: Any = None):
        super().__init__(name, dtype)


@keras.saving.register_keras_serializable(package="keras_alexnet")
class Top5Error(_TopKError):
    """Share of the samples whose right class is not among the five best; as `Top1Error` otherwise.

    With five classes or fewer, only predictions that are NaN or infinite are errors.

    Args:
      name: str, the metric's name in logs.
      dtype: of the result.
    """

    k = TOP

    def __init__(self, name: str = "top5_error", dtype: Any = None):
        super().__init__(name, dtype)
