"""Command: how long a training step, training input and an answer take, beside what they would take otherwise.

    python -m keras_alexnet.benchmark --part=train --batch=64
    python -m keras_alexnet.benchmark --part=input --batch=128
    python -m keras_alexnet.benchmark --part=serving
    python -m keras_alexnet.benchmark --part=strategies    (with two GPUs; without: --virtual_devices=2)

The contenders take turns, so that a machine that is busy with something else slows all of them; read the ratios. On a
CPU those of processor time are the steadier ones.
"""

import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from rich.console import Console
from rich.table import Table

from keras_alexnet.benchmark import input as benchmark_input
from keras_alexnet.benchmark.inference import BATCHES, bfloat16_instructions, serving_contenders
from keras_alexnet.benchmark.plain_ops import bare_step
from keras_alexnet.benchmark.strategies import (
    STEPS,
    TOLERANCE,
    Training,
    strategies,
    timed_steps,
    weight_differences,
)
from keras_alexnet.distribute.strategies import checked_devices, device_names, split_cpu
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.variants import VARIANTS, Variant, find_variant
from pipelines.cli import run

CLASSES = 1000


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_enum("part", "train", ["train", "input", "serving", "strategies", "all"], "what to measure")
    flags.DEFINE_enum("variant", "paper", list(VARIANTS), "which network")
    flags.DEFINE_float("width", 1.0, "multiplies filters and units", 0.001)
    flags.DEFINE_string("dataset", None, "part input: a prepared folder; synthetic photographs if not set")
    flags.DEFINE_integer("batch", 64, "images a training step, or a batch of training input", 1)
    flags.DEFINE_list("devices", None, "part strategies: which to use, such as GPU:0,GPU:2; all GPUs if not set")
    flags.DEFINE_integer("virtual_devices", 0, "part strategies: split the CPU into so many devices, and use them", 0)
    flags.DEFINE_integer("repeats", 7, "turns that each contender takes; the median counts", 1)


def training_steps(variant: Variant, batch: int) -> dict[str, Callable[[], object]]:
    """Contender -> one training step on a fixed batch of noise."""
    random = np.random.default_rng(0)
    images = tf.constant(random.uniform(0, 255, (batch, variant.crop_size, variant.crop_size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, CLASSES, batch), tf.int32)
    return {
        "bare operations": bare_step(variant, CLASSES, images - 120, labels),
        "our step": _our_step(variant, images, labels),
        "guarded": timed_steps({"": Training(variant, CLASSES, tf.distribute.get_strategy(), batch)})[""],
        "fit": _fit_step(variant, images, labels),
    }


def _our_step(variant: Variant, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], tf.Tensor]:
    model, optimizer = AlexNet(variant, classes=CLASSES, classifier_activation=None), PaperSGD()
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def _fit_step(variant: Variant, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], object]:
    model = AlexNet(variant, classes=CLASSES, classifier_activation=None)
    model.compile(PaperSGD(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return lambda: model.train_on_batch(images, labels)


def interleaved(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds, and median seconds of processor time, of each contender over `repeats` rounds.

    In a round they take turns; two rounds go before.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats + 2):
        for name, step in contenders.items():
            clock, processor = time.perf_counter(), time.process_time()
            np.asarray(step())
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: tuple(np.median(times[2:], axis=0).tolist()) for name, times in seconds.items()}


def print_table(title: str, medians: dict[str, tuple[float, float]], images: int) -> None:
    """What each contender takes for `images` images, and the ratios to the first one."""
    table = Table(title=title, title_justify="left")
    for heading in ("contender", "ms", "ms/image", "images/s", "ratio", "ratio of processor time"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    first = next(iter(medians.values()))
    for name, times in medians.items():
        cells = (f"{times[0] * 1e3:.0f}", f"{times[0] * 1e3 / images:.1f}", f"{images / times[0]:.1f}")
        table.add_row(name, *cells, *(f"{mine / reference:.2f}" for mine, reference in zip(times, first, strict=True)))
    Console().print(table)


def report_strategies(variant: Variant, subject: str, batch: int, repeats: int, devices: Sequence[str]) -> bool:
    """Prints placement, equality and step times of the strategies that `devices` allow.

    Returns:
      Whether all of them train the same weights.

    Raises:
      ValueError: if there are fewer than two devices, or replicas cannot share the batch evenly.
    """
    try:
        chosen = strategies(devices, variant.towers)
    except ValueError as error:
        raise ValueError(f"{error}") from error
    for title, strategy in chosen.items():
        if batch % strategy.num_replicas_in_sync:
            replicas = strategy.num_replicas_in_sync
            raise ValueError(f"batch={batch}; expected a multiple of the {replicas} replicas of {title}")
    # TensorFlow counts the steps of all strategies as one function's, and warns that it is traced often.
    tf.get_logger().setLevel("ERROR")
    moved, differences = weight_differences(variant, CLASSES, chosen, batch)
    print(f"{STEPS} steps without dropout on {devices[0]} moved weights by up to {moved:.1e}")
    # Written so that nan counts as different.
    equal = {title: difference <= TOLERANCE for title, difference in differences.items()}
    for title, difference in differences.items():
        verdict = "equal" if equal[title] else "NOT EQUAL"
        print(f"{title}: weights differ by at most {difference:.1e} (tolerance {TOLERANCE:g}): {verdict}")
    trainings = {title: Training(variant, CLASSES, strategy, batch) for title, strategy in chosen.items()}
    for training in trainings.values():
        print(training.placement())
    medians = interleaved(timed_steps(trainings), repeats)
    print_table(f"{subject}, batch {batch}: one training step", medians, batch)
    if any(name.startswith("CPU") for name in devices):
        print("devices on one CPU share its cores: of the above, only placement and equality hold for GPUs")
    return all(equal.values())


def _devices(options: flags.FlagValues) -> list[str]:
    """What part strategies is to use: all GPUs, unless flags say otherwise. Must come before TensorFlow has started."""
    if options.part not in ("strategies", "all"):
        for name in ("devices", "virtual_devices"):
            if getattr(options, name):
                raise ValueError(f"{name} is for --part=strategies; found --part={options.part}")
        return []
    try:
        if options.virtual_devices:
            split_cpu(options.virtual_devices)
        if options.devices:
            return checked_devices(options.devices)
    except ValueError as error:
        raise ValueError(f"{error}") from error
    return device_names("CPU" if options.virtual_devices else "GPU")


def main(argv: list[str]) -> int:
    """Measures and prints tables; 1 if training on several devices differs from training on one."""
    options = flags.FLAGS
    tf.get_logger().setLevel("ERROR")  # that contenders are traced one after the other is no mistake
    devices = _devices(options)
    variant = find_variant(options.variant).scaled(options.width)
    subject = f"{variant.name}, width {options.width:g}"
    if options.part == "strategies" or (options.part == "all" and len(devices) > 1):
        same = report_strategies(variant, subject, options.batch, options.repeats, devices)
        if not same:
            return 1
    if options.part in ("train", "all"):
        medians = interleaved(training_steps(variant, options.batch), options.repeats)
        print_table(f"{subject}, batch {options.batch}: one training step", medians, options.batch)
    if options.part in ("input", "all"):
        benchmark_input.report(options.dataset, options.batch, options.repeats)
    if options.part in ("serving", "all"):
        print(f"instructions for bfloat16: {bfloat16_instructions()}")
        for batch in BATCHES:
            medians = interleaved(serving_contenders(variant, batch), options.repeats)
            print_table(f"{subject}, {batch} images: ten views", medians, batch)
    return 0


if __name__ == "__main__":
    run(main, define_flags)
