"""Error rates of a classifier over batches of resized images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.distribute.compilation import never_exported
from keras_alexnet.metrics import error_counts
from keras_alexnet.ten_crop import Preprocessing, crop_probabilities

# Resized images uint8 [N, R, R, 3] to probabilities [N, classes].
Probabilities = Callable[[tf.Tensor], tf.Tensor]

# Equal bins of the largest probability (Guo et al.: On Calibration of Modern Neural Networks, ICML 2017, section 2).
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ErrorRates:
    """The result of an evaluation.

    Attributes:
      images: number of images that count.
      top1_error, top5_error: fractions of them, 0..1.
      loss: their mean cross-entropy.
      skipped: number of images that could not be decoded.
      bad: keys of the skipped images of this process.
      calibration_error: expected calibration error, 0..1: the mean difference of the largest probability from the
        fraction of correct classes, in 15 bins of the largest probability.
      confusion: int64 `[classes, classes]`, images of each true class (rows) that were given each class; None if they
        were not counted.
    """

    images: int
    top1_error: float
    top5_error: float
    loss: float
    skipped: int
    bad: tuple[str, ...]
    calibration_error: float = 0.0
    confusion: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def class_errors(self) -> np.ndarray:
        """Top-1 error of each class, `[classes]`; NaN for classes without images.

        Raises:
          ValueError: confusions were not counted.
        """
        if self.confusion is None:
            raise ValueError("confusion_classes: the errors of classes were not counted; expected their number")
        images = self.confusion.sum(1)
        return np.where(images > 0, 1 - np.diag(self.confusion) / np.maximum(images, 1), np.nan)

    @property
    def macro_error(self) -> float:
        """Mean of the errors of the classes that have images; each class counts alike."""
        return float(np.nanmean(self.class_errors)) if self.images else 0.0


def mean_of_passes(
    model: keras.Model, crops: str, passes: int, *, from_logits: bool, preprocessing: Preprocessing = "none"
) -> Probabilities:
    """Stochastic inference: the mean of the probabilities of several passes, each with random masks of its own.

    Call the function inside `layers.stochastic_inference(model)`.

    Args:
      model: a classifier of crops with `layers.Swapout`.
      crops, from_logits, preprocessing: as for `Evaluator`.
      passes: number of passes, at least 1; 30 in the paper of swapout.

    References: Singh et al. 2016, section 3.3.
    """

    def mean(images: tf.Tensor) -> tf.Tensor:
        def add(total: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return total + crop_probabilities(
                model, images, crops, from_logits=from_logits, preprocessing=preprocessing
            )

        zeros = tf.zeros([tf.shape(images)[0], model.output_shape[-1]])
        return tf.foldl(add, tf.range(passes), zeros, parallel_iterations=1) / passes

    return mean


def mean_of_networks(probabilities: Sequence[Probabilities]) -> Probabilities:
    """The mean of the probabilities of several networks: the paper's "5 CNNs" and "7 CNNs"."""

    def mean(images: tf.Tensor) -> tf.Tensor:
        return tf.add_n([of_network(images) for of_network in probabilities]) / len(probabilities)

    return mean


class Evaluator:
    """Computes the error rates of a classifier over batches of `pipelines.input.evaluation_batches`.

    The replicas of this process share each batch. With several workers each reads other images, and all return the
    error rates over all images. No image is dropped: batches are padded to a multiple of the replicas, and the padding
    does not count.

    Args:
      model: a classifier of crops, or a function from resized images to probabilities, such as of an export, for which
        `crops`, `from_logits` and `preprocessing` have no effect.
      crops: "center", "ten" or "nine".
      strategy: the one under whose scope the model was built; none by default.
      from_logits: whether the model's outputs are logits rather than probabilities.
      preprocessing: see `ten_crop.crop_probabilities`.
      confusion_classes: number of classes, to count confusions; 0 not to.

    Example:

    ```python
    rates = Evaluator(model, "ten")(evaluation_batches(source, "validation", batch_size=32))
    print(rates.top1_error)
    ```
    """

    def __init__(
        self,
        model: keras.Model | Probabilities,
        crops: str = "center",
        strategy: tf.distribute.Strategy | None = None,
        *,
        from_logits: bool = True,
        preprocessing: Preprocessing = "none",
        confusion_classes: int = 0,
    ):
        self._model, self._crops, self._classes = model, crops, confusion_classes
        self._from_logits, self._preprocessing = from_logits, preprocessing
        self._strategy = strategy or tf.distribute.get_strategy()
        self._cluster = Cluster(self._strategy)
        self._step = tf.function(self._count, reduce_retracing=True)

    def __call__(self, batches: Iterable, on_batch: Callable[[int], object] = lambda images: None) -> ErrorRates:
        """Reads `batches` once. Images that cannot be decoded are skipped.

        Args:
          batches: elements (images uint8 `[N, R, R, 3]`, labels int32 `[N]`, valid bool `[N]`, keys string `[N]`).
          on_batch: called after each batch with the number of images seen so far.
        """
        totals, bad = np.zeros(4 + 2 * CALIBRATION_BINS + self._classes**2), []
        rows = 0
        for *examples, keys in batches:
            # The last batch gets the size of the others: the step is traced for one shape.
            rows = rows or len(keys)
            totals += self._step(*(self._split(_padded(tensor, rows)) for tensor in examples)).numpy()
            bad += [key.decode(errors="replace") for key in tf.boolean_mask(keys, ~examples[2]).numpy()]
            on_batch(int(totals[3]) + len(bad))
        skipped, loss, top1, top5, images, *others = self._cluster.gather([len(bad), *totals]).sum(0)
        bins, cells = others[: 2 * CALIBRATION_BINS], others[2 * CALIBRATION_BINS :]
        confidence, correct = np.reshape(bins, [2, CALIBRATION_BINS])
        count = max(images, 1)
        confusion = np.array(cells, np.int64).reshape(self._classes, self._classes) if self._classes else None
        rates = (top1 / count, top5 / count, loss / count)
        calibration_error = float(np.abs(correct - confidence).sum() / count)
        return ErrorRates(int(images), *rates, int(skipped), tuple(bad), calibration_error, confusion)

    def _split(self, tensor: tf.Tensor) -> Any:
        """`tensor` in equal shards, one per replica of this process, padded with zeros."""
        replicas = self._cluster.local_replicas
        if replicas == 1:
            return tensor
        shards = tf.split(_padded(tensor, len(tensor) + -len(tensor) % replicas), replicas)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: shards[context.replica_id_in_sync_group % replicas]
        )

    def _count(self, images: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        counts = self._strategy.run(self._replica_count, args=(images, labels, valid))
        return tf.add_n(self._strategy.experimental_local_results(counts))

    def _replica_count(self, images: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """float64: sum of the cross-entropies, top-1 errors, top-5 errors, images; of each calibration bin the
        sum of the largest probabilities and how many of them are correct; confusion matrix.
        """
        probabilities = self._probabilities(images)
        of_label = tf.gather(probabilities, labels, batch_dims=1)
        losses = -tf.math.log(tf.maximum(of_label, keras.config.epsilon()))
        counts = (
            tf.reduce_sum(tf.where(valid, losses, 0)),
            *error_counts(probabilities, labels, valid),
            tf.math.count_nonzero(valid),
        )
        totals = tf.concat(
            [
                tf.stack([tf.cast(count, tf.float64) for count in counts]),
                _calibration_sums(probabilities, labels, valid),
            ],
            0,
        )
        if not self._classes:
            return totals
        # A product of matrices, because scattering is not deterministic on GPUs.
        true = tf.one_hot(labels, self._classes) * tf.cast(valid, tf.float32)[:, tf.newaxis]
        cells = tf.matmul(true, tf.one_hot(tf.argmax(probabilities, 1), self._classes), transpose_a=True)
        return tf.concat([totals, tf.cast(tf.reshape(cells, [-1]), tf.float64)], 0)

    def _probabilities(self, images: tf.Tensor) -> tf.Tensor:
        with never_exported():
            if not isinstance(self._model, keras.Model):
                return self._model(images)
            return crop_probabilities(
                self._model, images, self._crops, from_logits=self._from_logits, preprocessing=self._preprocessing
            )


def _padded(tensor: tf.Tensor, rows: int) -> tf.Tensor:
    """`tensor` with zeros behind it, in at least so many rows."""
    return tf.pad(tensor, [[0, max(0, rows - len(tensor))]] + [[0, 0]] * (tensor.shape.rank - 1))


def _calibration_sums(probabilities: tf.Tensor, labels: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """float64 `[2 * CALIBRATION_BINS]`: of each bin the sum of the largest probabilities, and how many are correct."""
    largest = tf.reduce_max(probabilities, 1)
    # Bins are closed at their upper end, as in the reference; a NaN is in the first.
    bins = tf.cast(tf.math.ceil(largest * CALIBRATION_BINS), tf.int32) - 1
    members = tf.one_hot(tf.clip_by_value(bins, 0, CALIBRATION_BINS - 1), CALIBRATION_BINS, dtype=tf.float64)
    members *= tf.cast(valid, tf.float64)[:, tf.newaxis]
    correct = tf.cast(tf.argmax(probabilities, 1, tf.int32) == labels, tf.float64)
    values = tf.stack([tf.cast(tf.math.multiply_no_nan(largest, tf.cast(valid, tf.float32)), tf.float64), correct])
    return tf.reshape(tf.matmul(values, members), [-1])
