"""Error rates of a model over batches of resized images."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.metrics import error_counts
from keras_alexnet.ten_crop import crop_probabilities


@dataclass(frozen=True)
class ErrorRates:
    """Result of an evaluation: fractions 0..1 of `images` images, their mean cross-entropy, and what was skipped.

    `skipped` images could not be decoded; `bad` are the keys of those that this process met.
    """

    images: int
    top1_error: float
    top5_error: float
    loss: float
    skipped: int
    bad: tuple[str, ...]


class Evaluator:
    """Counts a model's errors over batches as `pipelines.input.evaluation_batches` makes them.

    The replicas of this process share each batch; with several workers, each of them is given other images, and all get
    the sums. No image is dropped: batches that cannot be shared evenly are filled up with images that do not count.

    Args:
      model: gives logits.
      views: "center" or "ten".
      strategy: under whose scope the model was built; none if not given.
    """

    def __init__(self, model: keras.Model, views: str, strategy: tf.distribute.Strategy | None = None):
        self._model, self._views = model, views
        self._strategy = strategy or tf.distribute.get_strategy()
        self._workers = Cluster(self._strategy)
        self._step = tf.function(self._count, reduce_retracing=True)

    def __call__(self, batches: Iterable, on_batch: Callable[[int], None] = lambda images: None) -> ErrorRates:
        """Goes through `batches` once; an image that cannot be decoded is skipped and named in the result.

        `on_batch` is told the number of images seen so far.
        """
        totals, bad = np.zeros(4), []
        for *examples, keys in batches:
            totals += self._step(*map(self._shared, examples)).numpy()
            bad += [key.decode(errors="replace") for key in tf.boolean_mask(keys, ~examples[2]).numpy()]
            on_batch(int(totals[3]) + len(bad))
        loss, top1, top5, images, skipped = self._workers.gather([*totals, len(bad)]).sum(0)
        count = max(images, 1)
        return ErrorRates(int(images), top1 / count, top5 / count, loss / count, int(skipped), tuple(bad))

    def _shared(self, tensor: tf.Tensor) -> tf.Tensor | tf.distribute.DistributedValues:
        """`tensor` in equal parts, one for each replica of this process, filled up with zeros."""
        replicas = self._workers.local_replicas
        if replicas == 1:
            return tensor
        beyond = -len(tensor) % replicas
        parts = tf.split(tf.pad(tensor, [[0, beyond]] + [[0, 0]] * (tensor.shape.rank - 1)), replicas)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group % replicas]
        )

    def _count(self, images, labels, valid) -> tf.Tensor:
        counts = self._strategy.run(self._replica_count, args=(images, labels, valid))
        return tf.add_n(self._strategy.experimental_local_results(counts))

    def _replica_count(self, images, labels, valid) -> tf.Tensor:
        """float64: sum of the cross-entropies, top-1 errors, top-5 errors, images."""
        probabilities = crop_probabilities(self._model, images, self._views)
        of_label = tf.gather(probabilities, labels, batch_dims=1)
        losses = -tf.math.log(tf.maximum(of_label, keras.config.epsilon()))
        counts = (
            tf.reduce_sum(tf.where(valid, losses, 0)),
            *error_counts(probabilities, labels, valid),
            tf.math.count_nonzero(valid),
        )
        return tf.stack([tf.cast(count, tf.float64) for count in counts])
