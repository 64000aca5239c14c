"""Command: how long a training step and an answer take, beside what they would take otherwise.

    python -m keras_alexnet.benchmark --part=train --batch=64
    python -m keras_alexnet.benchmark --part=serving

The contenders take turns, so that a machine that is busy with something else slows all of them; read the ratios.
"""

import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from rich.console import Console
from rich.table import Table

from keras_alexnet.bare_ops import bare_step
from keras_alexnet.benchmark_serving import BATCHES, bfloat16_instructions, serving_contenders
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.variants import VARIANTS, Variant, find_variant
from pipelines.command import run

CLASSES = 1000


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_enum("part", "train", ["train", "serving"], "what to measure")
    flags.DEFINE_enum("variant", "paper", list(VARIANTS), "which network")
    flags.DEFINE_float("width", 1.0, "multiplies filters and units", 0.001)
    flags.DEFINE_integer("batch", 64, "images a training step", 1)
    flags.DEFINE_integer("repeats", 7, "turns that each contender takes; the median counts", 1)


def training_steps(variant: Variant, batch: int) -> dict[str, Callable[[], object]]:
    """Contender -> one training step on a fixed batch of noise."""
    random = np.random.default_rng(0)
    images = tf.constant(random.uniform(0, 255, (batch, variant.crop_size, variant.crop_size, 3)), tf.float32)
    labels = tf.constant(random.integers(0, CLASSES, batch), tf.int32)
    return {
        "bare operations": bare_step(variant, CLASSES, images - 120, labels),
        "our step": _our_step(variant, images, labels),
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


def interleaved(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each contender over `repeats` rounds, in which they take turns; two rounds go before."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats + 2):
        for name, step in contenders.items():
            started = time.perf_counter()
            np.asarray(step())
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[2:]) for name, times in seconds.items()}


def main(argv: list[str]) -> None:
    """Measures and prints a table, or one for each size of request."""
    options = flags.FLAGS
    variant = find_variant(options.variant).scaled(options.width)
    subject = f"{variant.name}, width {options.width:g}"
    if options.part == "train":
        medians = interleaved(training_steps(variant, options.batch), options.repeats)
        print_table(f"{subject}, batch {options.batch}: one training step", medians, options.batch, per_image=False)
        return
    print(f"instructions for bfloat16: {bfloat16_instructions()}")
    for batch in BATCHES:
        medians = interleaved(serving_contenders(variant, batch), options.repeats)
        print_table(f"{subject}, {batch} images: ten views", medians, batch, per_image=True)


def print_table(title: str, medians: dict[str, float], images: int, per_image: bool) -> None:
    """Seconds of each contender for `images` images, and their ratio to the first one's."""
    table = Table(title=title)
    for heading in ("contender", "ms/image" if per_image else "ms", "images/s", "ratio"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for name, seconds in medians.items():
        milliseconds = f"{seconds * 1e3 / images:.1f}" if per_image else f"{seconds * 1e3:.0f}"
        ratio = seconds / next(iter(medians.values()))
        table.add_row(name, milliseconds, f"{images / seconds:.1f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    run(main, define_flags)
