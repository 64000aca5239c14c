"""Compares training on several devices with training on one: weights, placement and time per step."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.benchmark.input import training_input_rate
from keras_alexnet.benchmark.report import Report
from keras_alexnet.benchmark.scaling import (
    ETHERNET_100,
    NVLINK_3,
    PCIE_4,
    Setup,
    Work,
    all_reduce_rate,
    print_expectations,
)
from keras_alexnet.benchmark.timing import interleaved
from keras_alexnet.describe import multiply_adds
from keras_alexnet.distribute.placement import placement_table, placement_text
from keras_alexnet.distribute.strategies import make_strategy
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.training.train_step import TrainingSteps
from keras_alexnet.variants import Variant
from keras_alexnet.variants.architecture import Dropout, Layer

CLASSES = 1000
STEPS = 5
# Largest allowed difference between weights after STEPS steps: float32 sums depend on the order.
TOLERANCE = 1e-5


def strategies(devices: Sequence[str], towers: int) -> dict[str, tf.distribute.Strategy]:
    """Title -> strategy, for those that `devices` allow for a network of `towers` towers; "single" first.

    Raises:
      ValueError: if there are fewer than two devices.
    """
    if len(devices) < 2:
        found = f"{len(devices)} ({', '.join(devices)})" if devices else "no GPU"
        raise ValueError(f"part=strategies: needs at least 2 devices; found {found}; virtual_devices=2 splits the CPU")
    chosen = {"single": make_strategy("single", devices=devices[:1])}
    # Only one: collectives of two MirroredStrategy of different sizes interfere.
    chosen[f"mirrored x{len(devices)}"] = make_strategy("mirrored", devices=devices)
    for count in sorted({2, len(devices) // 2 * 2} if towers > 1 else ()):
        chosen[f"towers x{count}"] = make_strategy("towers", devices=devices[:count])
    return chosen


class Training:
    """The train command's own steps on batches of noise.

    Args:
      variant: the network.
      classes: number of classes.
      strategy: distribution strategy.
      batch: images per step over all replicas, a multiple of their number.
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
        """Batches of noise, the same under every strategy, distributed to the replicas."""
        random, size = np.random.default_rng(seed), self._variant.crop_size
        while True:
            images = random.uniform(0, 255, (self._batch, size, size, 3)).astype(np.float32)
            labels = random.integers(0, self._classes, self._batch).astype(np.int32)
            yield self._distributed(images), self._distributed(labels)

    def _distributed(self, values: np.ndarray) -> tf.distribute.DistributedValues:
        shares = np.split(values, self.strategy.num_replicas_in_sync)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shares[context.replica_id_in_sync_group])
        )

    def take(self, batches: Iterator[tuple], count: int = 1) -> float:
        """Takes `count` steps; returns the loss summed over all images so far."""
        for _ in range(count):
            self._steps.take(batches, [0.01])
        return float(self._steps.sums[0])

    def placement(self) -> str:
        """The placement as text."""
        return placement_text(placement_table(self.model, strategy=self.strategy), self.strategy)


def weight_differences(
    variant: Variant, classes: int, chosen: dict[str, tf.distribute.Strategy], batch: int
) -> tuple[float, dict[str, float]]:
    """Compares the weights after STEPS steps without dropout with those of the first strategy.

    Returns:
      The largest change of a weight under the first strategy, and for each other strategy the largest difference of a
      weight from the first's (NaN if a weight is NaN).
    """
    variant = without_dropout(variant)
    # TensorFloat-32 has ten bits of mantissa: larger differences than float32.
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
    """The same network with dropout of rate 0."""

    def without(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return tuple(dataclasses.replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer for layer in layers)

    return dataclasses.replace(variant, layers=without(variant.layers), head=without(variant.head))


def _largest_difference(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    # Python's `max` would overlook a NaN.
    return float(np.max([np.abs(a - b).max() for a, b in zip(one, other, strict=True)]))


def timed_steps(trainings: dict[str, Training]) -> dict[str, Callable[[], float]]:
    """Title -> one step on a batch that stays on the devices of the replicas."""

    def step(training: Training) -> Callable[[], float]:
        batch = next(training.batches(seed=2))
        return lambda: training.take(iter([batch]))

    return {title: step(training) for title, training in trainings.items()}


def training_flop(variant: Variant) -> float:
    """Floating-point operations of a training step per image: forward, and two products backward.

    conv1 has no gradient to the image.
    """
    model = AlexNet(variant, classes=CLASSES)
    return 2.0 * (3 * multiply_adds(model) - multiply_adds(model.get_layer("conv1")))


def report_scaling(
    variant: Variant,
    batch: int,
    mirrored: tf.distribute.Strategy,
    single_seconds: float,
    mirrored_seconds: float,
    input_rate: float,
) -> None:
    """Prints the speeds that the measured compute and all-reduce rates predict, next to the measured ones.

    Args:
      batch: images per step of all replicas.
      mirrored: a data-parallel strategy.
      single_seconds, mirrored_seconds: of a step on one device, and under `mirrored`; both without input.
      input_rate: images per second that one machine delivers.
    """
    count = mirrored.num_replicas_in_sync
    work = Work(training_flop(variant), 4.0 * AlexNet(variant, classes=CLASSES).count_params())
    flops = batch * work.flop / single_seconds

    def timed(function: Callable) -> float:
        return float(np.median(interleaved({"": function}, 3)[""].clock))

    link = all_reduce_rate(mirrored, work.gradient_bytes, timed)
    setups = {
        "single": Setup(1, batch, flops, link),
        f"mirrored x{count}": Setup(count, batch // count, flops, link),
        "2, PCIe 4.0 x16": Setup(2, batch, flops, PCIE_4, input_rate),
        "8, NVLink 3": Setup(8, batch, flops, NVLINK_3, input_rate),
        "64, 100 Gbit/s Ethernet between 8 machines": Setup(64, batch, flops, ETHERNET_100, 8 * input_rate),
    }
    print_expectations(
        f"scaling, {work.flop / 1e9:.2f} GFLOP per image, {work.gradient_bytes / 1e6:.0f} MB of gradients; measured: "
        f"{flops / 1e12:.3g} TFLOP/s on one device, {link / 1e9:.3g} GB/s in an all-reduce over {count}, "
        f"{input_rate:.0f} images/s of input per machine",
        work,
        setups,
        [batch / single_seconds, batch / mirrored_seconds],
    )


def report_strategies(
    variant: Variant, subject: str, batch: int, repeats: int, devices: Sequence[str], report: Report
) -> bool:
    """Prints placement, equality of the weights and step times of the strategies that `devices` allow.

    Returns:
      Whether all strategies train the same weights.

    Raises:
      ValueError: if there are fewer than two devices, or `batch` is not a multiple of the replicas.
    """
    chosen = strategies(devices, variant.towers)
    for title, strategy in chosen.items():
        if batch % strategy.num_replicas_in_sync:
            replicas = strategy.num_replicas_in_sync
            raise ValueError(f"batch={batch}: expected a multiple of the {replicas} replicas of {title}")
    # TensorFlow warns that the step is traced often: once per strategy.
    tf.get_logger().setLevel("ERROR")
    moved, differences = weight_differences(variant, CLASSES, chosen, batch)
    print(f"{STEPS} steps without dropout on {devices[0]} moved weights by up to {moved:.1e}")
    # NaN counts as different.
    equal = {title: difference <= TOLERANCE for title, difference in differences.items()}
    for title, difference in differences.items():
        verdict = "equal" if equal[title] else "NOT EQUAL"
        print(f"{title}: weights differ by at most {difference:.1e} (tolerance {TOLERANCE:g}): {verdict}")
    trainings = {title: Training(variant, CLASSES, strategy, batch) for title, strategy in chosen.items()}
    for training in trainings.values():
        print(training.placement())
    times = interleaved(timed_steps(trainings), repeats)
    report.add(f"{subject}, batch {batch}: one training step", times, batch)
    mirrored = next(title for title in chosen if title.startswith("mirrored"))
    single_seconds, mirrored_seconds = (float(np.median(times[title].clock)) for title in ("single", mirrored))
    input_rate = training_input_rate(batch)
    report_scaling(variant, batch, chosen[mirrored], single_seconds, mirrored_seconds, input_rate)
    if any(name.startswith("CPU") for name in devices):
        print("devices on one CPU share its cores: of the above, only placement and equality hold for GPUs")
    return all(equal.values())
