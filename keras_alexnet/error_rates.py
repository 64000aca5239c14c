"""Top-1 and top-5 error, in training and in evaluation."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import tensorflow as tf

from pipelines import crops

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


def error_counts(scores: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers of top-1 and of top-5 errors among `scores` `[N, classes]`, int32."""
    ranks = label_ranks(scores, labels)
    top5 = tf.minimum(TOP, tf.shape(scores)[-1])
    # With five classes or fewer only a score that is not a number is in error at top-5.
    return tf.reduce_sum(tf.cast(ranks >= 1, tf.int32)), tf.reduce_sum(tf.cast(ranks >= top5, tf.int32))


@dataclass(frozen=True)
class ErrorRates:
    """Result of an evaluation: fractions 0..1 of `images` images, their mean cross-entropy, and what was skipped."""

    images: int
    top1_error: float
    top5_error: float
    loss: float
    bad: tuple[str, ...]


def view_probabilities(model: keras.Model, stored: tf.Tensor, views: str) -> tf.Tensor:
    """Class probabilities `[N, classes]` of stored images, averaged over views after softmax (section 4.1).

    Args:
      model: gives logits of float32 `[M, S, S, 3]`.
      stored: uint8 `[N, 256, 256, 3]`.
      views: "center" or "ten".
    """
    cropped = crops.views(stored, views, model.input_shape[1])
    shape = tf.shape(cropped)
    flat = tf.reshape(tf.cast(cropped, tf.float32), [shape[0] * shape[1], *cropped.shape[2:]])
    probabilities = tf.nn.softmax(model(flat, training=False))
    return tf.reduce_mean(tf.reshape(probabilities, [shape[0], shape[1], probabilities.shape[-1]]), 1)


class Evaluator:
    """Counts a model's errors over batches as `pipelines.input.evaluation_batches` makes them.

    Args:
      model: gives logits.
      views: "center" or "ten".
    """

    def __init__(self, model: keras.Model, views: str):
        @tf.function(reduce_retracing=True)
        def step(images, labels, valid):
            images, labels = tf.boolean_mask(images, valid), tf.boolean_mask(labels, valid)
            probabilities = view_probabilities(model, images, views)
            of_label = tf.gather(probabilities, labels[:, None], batch_dims=1)
            loss = -tf.reduce_sum(tf.math.log(tf.maximum(of_label, keras.config.epsilon())))
            return loss, *error_counts(probabilities, labels)

        self._step = step

    def __call__(self, batches: Iterable, on_batch: Callable[[int], None] = lambda images: None) -> ErrorRates:
        """Goes through `batches` once; an image that cannot be decoded is skipped and named in the result.

        `on_batch` is told the number of images seen so far.
        """
        loss, top1, top5, images, bad = 0.0, 0, 0, 0, []
        for stored, labels, valid, keys in batches:
            batch_loss, batch_top1, batch_top5 = self._step(stored, labels, valid)
            loss, top1, top5 = loss + float(batch_loss), top1 + int(batch_top1), top5 + int(batch_top5)
            bad += [key.decode(errors="replace") for key in tf.boolean_mask(keys, ~valid).numpy()]
            images += int(tf.reduce_sum(tf.cast(valid, tf.int32)))
            on_batch(images + len(bad))
        return ErrorRates(images, top1 / max(images, 1), top5 / max(images, 1), loss / max(images, 1), tuple(bad))
