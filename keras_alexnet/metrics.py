"""Top-1 and top-5 error."""

import tensorflow as tf

TOP = 5


def label_ranks(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """How many classes come before the right one.

    Among equal scores the class with the smaller index comes first, so that a network which says the same for all
    classes is not called right. Where a score is not a number the right class comes last.

    Args:
      scores: `[N, classes]` probabilities or logits.
      labels: int `[N]`.

    Returns:
      int32 `[N]`: 0 means the right class is the best; k-th best is in error at top-k if its rank is k or more.
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
    top5 = tf.minimum(TOP, tf.shape(scores)[-1])
    # With five classes or fewer only a score that is not a number is in error at top-5.
    return tuple(tf.reduce_sum(tf.cast((ranks >= first) & counted, tf.int32)) for first in (1, top5))
