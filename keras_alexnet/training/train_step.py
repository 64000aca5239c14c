"""Training steps as functions of TensorFlow: one at a time, or several in one call."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.metrics import error_counts


class TrainingSteps:
    """Takes steps, and adds up what an epoch reports.

    A step whose loss is not finite changes no weight, and none after it does: the weights stay those that made it so,
    to be looked into. Nothing here waits for the device; the caller does, when it reads `sums`.

    Args:
      model: gives logits; its `optimizer` is built.
      strategy: under whose scope the model was built.
      batch_size: images a step, over all replicas.
      finish: makes the model's images of what the batches hold, on the replica's device.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        finish: Callable[[Any], tf.Tensor] = tf.identity,
    ):
        self.model, self.strategy, self.batch_size, self._finish = model, strategy, batch_size, finish
        # Of the epoch so far: loss, top-1 and top-5 errors, steps whose loss was finite. In the checkpoint, so that an
        # interrupted epoch reports the same means as one that was not.
        self.sums = tf.Variable(tf.zeros([4], tf.float64))
        self._halted = tf.Variable(False)
        # Whether this process wants to stop, and how many of all workers' replicas did so at the last step.
        self._wants_to_stop, self._votes = tf.Variable(0.0, dtype=tf.float64), tf.Variable(0.0, dtype=tf.float64)
        self._one = tf.function(self._take_step, reduce_retracing=True)
        self._several = tf.function(self._take_steps, reduce_retracing=True)

    def take(self, batches: Iterator, count: int) -> float:
        """Takes `count` steps with the next batches.

        Returns:
          Seconds spent waiting for the batch; nan if `count` is not 1, as TensorFlow fetches the batches then.
        """
        if count > 1:
            self._several(batches, tf.constant(count))
            return float("nan")
        started = time.perf_counter()
        inputs, labels = next(batches)
        waited = time.perf_counter() - started
        self._one(inputs, labels)
        return waited

    def vote_to_stop(self, wants_to_stop: bool) -> bool:
        """Says what this worker wants from the next step on; gives whether any worker wanted to stop at the last one.

        All workers get the same answer after the same step, so that none waits for another that has stopped.
        """
        self._wants_to_stop.assign(wants_to_stop)
        return bool(self._votes > 0)

    def _take_steps(self, batches: Iterator, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            inputs, labels = next(batches)
            self._take_step(inputs, labels)

    def _take_step(self, inputs, labels) -> None:
        totals = self.strategy.run(self._replica_step, args=(inputs, labels))
        totals = self.strategy.reduce(tf.distribute.ReduceOp.SUM, totals, axis=None)
        self._votes.assign(totals[4])
        self.sums.assign_add(tf.where(self._halted, tf.zeros_like(self.sums), totals[:4]))

    def _replica_step(self, inputs, labels) -> tf.Tensor:
        model, images = self.model, self._finish(inputs)
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            # Replicas add their gradients up, so each divides by the global batch.
            loss = tf.reduce_sum(losses) / self.batch_size
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, model.trainable_variables)
        replica = tf.distribute.get_replica_context()
        if replica.num_replicas_in_sync > 1 and isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _overflow_together(gradients, replica)
        whole = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
        replica.merge_call(self._update_if_finite, args=(tf.math.is_finite(whole), gradients))
        counts = (
            tf.reduce_sum(losses),
            *error_counts(logits, labels),
            1 / replica.num_replicas_in_sync,
            self._wants_to_stop,
        )
        return tf.stack([tf.cast(count, tf.float64) for count in counts])

    def _update_if_finite(self, strategy: tf.distribute.Strategy, finite, gradients) -> None:
        """Applies the gradients on all replicas, or on none. A cond is possible here only, between the replicas."""
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        finite = strategy.experimental_local_results(finite)[0] & ~self._halted

        def apply() -> tf.Tensor:
            strategy.extended.call_for_each_replica(lambda part: optimizer.apply(part, variables), args=(gradients,))
            return tf.constant(True)

        self._halted.assign(~tf.cond(finite, apply, lambda: tf.constant(False)))


def _overflow_together(gradients: list[tf.Tensor], replica: tf.distribute.ReplicaContext) -> list[tf.Tensor]:
    """Makes a gradient of each replica nan if one has overflowed in any: Keras looks at those of the first one only."""
    finite = []
    for gradient in gradients:
        with tf.device(gradient.device):
            finite.append(tf.reduce_all(tf.math.is_finite(gradient)))
    spoilt = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(tf.reduce_all(finite), 0.0, float("nan")))
    return [gradients[0] + tf.cast(spoilt, gradients[0].dtype), *gradients[1:]]
