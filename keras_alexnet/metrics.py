"""Top-1 and top-5 error: Keras metrics for `model.fit`, and the counts that the training loop and evaluation use."""

from typing import Any

import keras
import tensorflow as tf

TOP = 5

register = keras.saving.register_keras_serializable(package="keras_alexnet")


def label_ranks(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Number of classes that are ranked before the correct one.

    Among equal scores the class with the smaller index ranks first, so that a network with equal scores for all classes
    is correct by chance only (`tf.math.in_top_k` counts it as correct). If any score is NaN or infinite, the correct
    class ranks last.

    Args:
      scores: `[N, classes]` probabilities or logits.
      labels: int `[N]`.

    Returns:
      int32 `[N]`, 0 to `classes`. A rank of k or more is a top-k error.
    """
    classes = tf.shape(scores)[-1]
    labels = tf.cast(labels, tf.int32)[:, None]
    of_label = tf.gather(scores, labels, batch_dims=1)
    ahead = (scores > of_label) | ((scores == of_label) & (tf.range(classes)[None] < labels))
    ranks = tf.reduce_sum(tf.cast(ahead, tf.int32), -1)
    is_finite = tf.reduce_all(tf.math.is_finite(scores), -1)
    return tf.where(is_finite, ranks, classes)


def top_k_errors(scores: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Whether each example is a top-k error: bool `[N]`. With k classes or fewer only non-finite scores are errors."""
    return label_ranks(scores, labels) >= tf.minimum(k, tf.shape(scores)[-1])


def error_counts(scores: tf.Tensor, labels: tf.Tensor, counted: tf.Tensor | bool = True) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers of top-1 and top-5 errors, int32 scalars.

    Args:
      scores: `[N, classes]` probabilities or logits.
      labels: int `[N]`.
      counted: bool `[N]`, which examples count.
    """
    ranks = label_ranks(scores, labels)
    limits = (1, tf.minimum(TOP, tf.shape(scores)[-1]))
    top1, top5 = (tf.reduce_sum(tf.cast((ranks >= limit) & counted, tf.int32)) for limit in limits)
    return top1, top5


class TopKError(keras.metrics.Mean):
    """Fraction of examples whose correct class is not among the k best; base class of the two metrics below."""

    k = 1

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__(name=name or f"top{self.k}_error", dtype=dtype)
        self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
          y_true: int labels `[N]` or `[N, 1]`, or one-hot labels `[N, classes]`.
          y_pred: `[N, classes]` probabilities or logits.
          sample_weight: `[N]`, weights of the examples.
        """
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        if y_true.shape.rank == 2:
            is_one_hot = y_true.shape[-1] == y_pred.shape[-1] and y_pred.shape[-1] != 1
            y_true = tf.argmax(y_true, -1) if is_one_hot else y_true[:, 0]
        super().update_state(top_k_errors(y_pred, y_true, self.k), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return {"name": self.name, "dtype": self.dtype}


@register
class Top1Error(TopKError):
    """Top-1 error, a fraction 0..1: the class with the highest score is not the correct one.

    Args:
      name: "top1_error" if not given.
      dtype: of the result.

    Examples:
        >>> metric = Top1Error()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.8, 0.2]])
        >>> float(metric.result())
        0.5
    """

    k = 1


@register
class Top5Error(TopKError):
    """Top-5 error, a fraction 0..1: the correct class is not among the five with the highest scores.

    With five classes or fewer only examples with a NaN or infinite score are errors.

    Args:
      name: "top5_error" if not given.
      dtype: of the result.

    Examples:
        >>> model.compile("sgd", "sparse_categorical_crossentropy", metrics=[Top1Error(), Top5Error()])
    """

    k = TOP
