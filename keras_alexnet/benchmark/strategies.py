"""Whether training on several devices does the same as on one, what is where, and how long a step takes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.distribute.placement import placement_table, placement_text
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.training.train_step import TrainingSteps
from keras_alexnet.variants import Variant
from keras_alexnet.variants.architecture import Dropout

STEPS = 5
# Of weights after STEPS steps, which sums of float32 in another order make.
TOLERANCE = 1e-5


def strategies(devices: Sequence[str], towers: int) -> dict[str, tf.distribute.Strategy]:
    """Title -> each strategy that `devices` allow a network of `towers` towers, "single" first.

    Raises:
      ValueError: if there are fewer than two devices.
    """
    if len(devices) < 2:
        found = f"{len(devices)} ({', '.join(devices)})" if devices else "no GPU"
        raise ValueError(f"part=strategies needs at least 2 devices; found {found}; --virtual_devices=2 plays them")
    chosen = {"single": make_strategy("single", devices=devices[:1])}
    # One only: collectives of two MirroredStrategy of different sizes cannot tell each other apart.
    chosen[f"mirrored x{len(devices)}"] = make_strategy("mirrored", devices=devices)
    for count in sorted({2, len(devices) // 2 * 2} if towers > 1 else ()):
        chosen[f"towers x{count}"] = make_strategy("towers", devices=devices[:count])
    return chosen


class Training:
    """The train command's own steps on batches of noise.

    Args:
      variant: the network.
      classes: its outputs.
      strategy: where it is trained.
      batch: images a step, over all replicas; a multiple of their number.
    """

    def __init__(self, variant: Variant, classes: int, strategy: tf.distribute.Strategy, batch: int):
        self.strategy, self._variant, self._classes, self._batch = strategy, variant, classes, batch
        keras.utils.set_random_seed(0)
        with strategy.scope():
            self.model = AlexNet(variant, classes=classes, classifier_activation=None)
            self.model.compile(PaperSGD())
            self.model.optimizer.build(self.model.trainable_variables)
        self._steps = TrainingSteps(self.model, strategy, batch)

    def batches(self, seed: int) -> Iterator[tuple]:
        """Batch after batch of noise, the same whatever the strategy, shared out among the replicas."""
        random, size = np.random.default_rng(seed), self._variant.crop_size
        while True:
            images = random.uniform(0, 255, (self._batch, size, size, 3)).astype(np.float32)
            labels = random.integers(0, self._classes, self._batch).astype(np.int32)
            yield self._shared_out(images), self._shared_out(labels)

    def _shared_out(self, values: np.ndarray) -> tf.distribute.DistributedValues:
        shares = np.split(values, self.strategy.num_replicas_in_sync)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shares[context.replica_id_in_sync_group])
        )

    def take(self, batches: Iterator[tuple], count: int = 1) -> float:
        """Takes steps, one by one, and gives the loss, summed over all images so far."""
        for _ in range(count):
            self._steps.take(batches, 1)
        return float(self._steps.sums[0])

    def placement(self) -> str:
        """What is where, to be read."""
        return placement_text(placement_table(self.model, strategy=self.strategy), self.strategy)


def weight_differences(
    variant: Variant, classes: int, chosen: dict[str, tf.distribute.Strategy], batch: int
) -> tuple[float, dict[str, float]]:
    """How far training on several devices leads from where training on the first one does, without dropout.

    Returns:
      The largest change of a weight in STEPS steps of the first strategy, and for each other one the largest
      difference of a weight from the first's, nan if a weight is no number.
    """
    variant = without_dropout(variant)
    # Ten bits of mantissa would make differences of another size than float32 does.
    is_coarse = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    start, expected, differences, moved = None, None, {}, 0.0
    for title, strategy in chosen.items():
        training = Training(variant, classes, strategy, batch)
        start = start or training.model.get_weights()
        training.model.set_weights(start)
        training.take(training.batches(seed=1), STEPS)
        weights = training.model.get_weights()
        if expected is None:
            expected, moved = weights, _largest_difference(weights, start)
        else:
            differences[title] = _largest_difference(weights, expected)
    tf.config.experimental.enable_tensor_float_32_execution(is_coarse)
    return moved, differences


def without_dropout(variant: Variant) -> Variant:
    """The same network, whose dropout layers silence nothing."""
    layers = {
        name: tuple(
            dataclasses.replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer
            for layer in getattr(variant, name)
        )
        for name in ("layers", "head")
    }
    return dataclasses.replace(variant, **layers)


def _largest_difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def timed_steps(trainings: dict[str, Training]) -> dict[str, Callable[[], float]]:
    """Title -> one step on a batch that stays where the replicas are."""

    def step(training: Training) -> Callable[[], float]:
        batch = next(training.batches(seed=2))
        return lambda: training.take(iter([batch]))

    return {title: step(training) for title, training in trainings.items()}
