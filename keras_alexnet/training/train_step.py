"""The training step as a TensorFlow function: one step, or several per call."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.metrics import error_counts
from keras_alexnet.training.replicas import average_statistics, draw_for_each_replica


class TrainingSteps:
    """Takes training steps and sums what an epoch reports.

    After a step whose loss is not finite, no weight changes any more, so that the weights that caused it can be
    examined. Nothing here waits for the device, except reading `sums`.

    Args:
      model: gives logits; its `optimizer` is built. Its layers' random numbers depend on the step and the replica.
      strategy: the one under whose scope the model was built.
      batch_size: images per step, over all replicas.
      augment_on_device: makes the model's images from the batches, on the replica's device.
      steps_per_execution: the largest `count` of `take`.
      label_smoothing: `e`: the targets are `(1 - e) * one_hot + e / classes`.
      class_weights: factor of the losses of the images of each class, one per label; 1 for all if empty.
      aux_loss_weights: factors of the losses of the outputs of the model after the first.

    Attributes:
      sums: float64 `[4]`: loss, top-1 errors, top-5 errors, and number of steps whose loss was finite, in the epoch so
        far. Saved in checkpoints, so that an interrupted epoch reports the same means.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        augment_on_device: Callable[[Any], tf.Tensor] = tf.identity,
        *,
        steps_per_execution: int = 1,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
        aux_loss_weights: Sequence[float] = (),
    ):
        self._steps_per_execution, self._label_smoothing = steps_per_execution, label_smoothing
        self._class_weights, self._loss_weights = tuple(class_weights), (1.0, *aux_loss_weights)
        if strategy.num_replicas_in_sync > 1:
            draw_for_each_replica(model)
        self.model, self.strategy, self.batch_size = model, strategy, batch_size
        self._augment_on_device = augment_on_device
        self.sums = tf.Variable(tf.zeros([4], tf.float64))
        self._halted = tf.Variable(False)
        # Whether this worker requests a stop, and how many of all workers' replicas did at the last step.
        self._wants_to_stop, self._votes = tf.Variable(0.0, dtype=tf.float64), tf.Variable(0.0, dtype=tf.float64)
        self._one = tf.function(self._take_step, reduce_retracing=True)
        self._several = tf.function(self._take_steps, reduce_retracing=True)

    def take(self, batches: Iterator, learning_rates: Sequence[float]) -> float:
        """Takes steps with the next batches.

        Args:
          batches: gives inputs and labels.
          learning_rates: of each of the steps.

        Returns:
          Seconds spent waiting for the batch; NaN if several are taken, because TensorFlow fetches the batches then.
        """
        count = len(learning_rates)
        # Of one shape always: another would be traced anew.
        rates = tf.constant([*learning_rates, *[0.0] * (self._steps_per_execution - count)], tf.float32)
        if count > 1:
            self._several(batches, rates, tf.constant(count))
            return float("nan")
        started = time.perf_counter()
        inputs, labels = next(batches)
        waited = time.perf_counter() - started
        self._one(inputs, labels, rates[0])
        return waited

    def vote_to_stop(self, wants_to_stop: bool) -> bool:
        """Requests a stop from the next step on, if `wants_to_stop`.

        Returns:
          Whether any worker requested a stop at the last step: the same in all workers after the same step, so that
          none waits for another that has stopped.
        """
        self._wants_to_stop.assign(wants_to_stop)
        return bool(self._votes > 0)

    def _take_steps(self, batches: Iterator, learning_rates: tf.Tensor, count: tf.Tensor) -> None:
        for index in tf.range(count):
            inputs, labels = next(batches)
            self._take_step(inputs, labels, learning_rates[index])

    def _take_step(self, inputs: Any, labels: Any, learning_rate: tf.Tensor) -> None:
        self.model.optimizer.learning_rate = learning_rate
        totals = self.strategy.run(self._replica_step, args=(inputs, labels))
        totals = self.strategy.reduce(tf.distribute.ReduceOp.SUM, totals, axis=None)
        self._votes.assign(totals[4])
        self.sums.assign_add(tf.where(self._halted, tf.zeros_like(self.sums), totals[:4]))

    def _replica_step(self, inputs: Any, labels: Any) -> tf.Tensor:
        model, images = self.model, self._augment_on_device(inputs)
        with tf.GradientTape() as tape:
            outputs = [tf.cast(logits, tf.float32) for logits in keras.tree.flatten(model(images, training=True))]
            losses = self._losses(labels, outputs)
            # The gradients of the replicas are added, so each divides by the global batch size.
            loss = tf.reduce_sum(losses) / self.batch_size + self._own_losses(model)
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        replica = tf.distribute.get_replica_context()
        average_statistics(model, replica)
        if replica.num_replicas_in_sync > 1 and isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _overflow_together(gradients, replica)
        whole = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        replica.merge_call(self._update_if_finite, args=(tf.math.is_finite(whole), gradients))
        counts = (
            tf.reduce_sum(losses),
            *error_counts(outputs[0], labels),
            1 / replica.num_replicas_in_sync,
            self._wants_to_stop,
        )
        return tf.stack([tf.cast(count, tf.float64) for count in counts])

    def _losses(self, labels: Any, outputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """The sum of the losses of the outputs, with the weights of outputs and classes, `[N]`."""
        losses = [smoothed_cross_entropy(labels, logits, self._label_smoothing) for logits in outputs]
        total = tf.add_n([weight * loss for weight, loss in zip(self._loss_weights, losses, strict=True)])
        if self._class_weights:
            total *= tf.gather(tf.constant(self._class_weights, tf.float32), labels)
        return total

    def _own_losses(self, model: keras.Model) -> tf.Tensor | float:
        """This replica's share of the losses of layers, such as the regularizers of their kernels."""
        return tf.add_n(model.losses) / self.strategy.num_replicas_in_sync if model.losses else 0.0

    def _update_if_finite(self, strategy: tf.distribute.Strategy, finite: Any, gradients: Any) -> None:
        """Applies the gradients on all replicas or on none. Only here, between the replicas, is a cond possible."""
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        finite = strategy.experimental_local_results(finite)[0] & ~self._halted

        def apply() -> tf.Tensor:
            strategy.extended.call_for_each_replica(lambda part: optimizer.apply(part, variables), args=(gradients,))
            return tf.constant(True)

        self._halted.assign(~tf.cond(finite, apply, lambda: tf.constant(False)))


def smoothed_cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy with the targets `(1 - smoothing) * one_hot + smoothing / classes`.

    Args:
      labels: int32 `[N]`.
      logits: float32 `[N, classes]`.
      smoothing: 0 <= smoothing < 1.

    Returns:
      float32 `[N]`.

    References:
      - Szegedy et al.: Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return losses
    uniform = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
    return (1 - smoothing) * losses + smoothing * uniform


def _overflow_together(gradients: list[tf.Tensor], replica: tf.distribute.ReplicaContext) -> list[tf.Tensor]:
    """Makes a gradient of each replica NaN if one of any replica is not finite; Keras checks the first replica only."""
    finite = []
    for gradient in gradients:
        with tf.device(gradient.device):
            finite.append(tf.reduce_all(tf.math.is_finite(gradient)))
    zero_or_nan = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(tf.reduce_all(finite), 0.0, float("nan")))
    return [gradients[0] + tf.cast(zero_or_nan, gradients[0].dtype), *gradients[1:]]
