"""Per-operation profiles of a training step and of inference, compared with what the processor could reach."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.table import Table

from keras_alexnet.benchmark.operations import Operation, trace_operations
from keras_alexnet.benchmark.report import write_tables
from keras_alexnet.benchmark.training import CLASSES, gradient_step
from keras_alexnet.model import AlexNet
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.saved_model.serving_network import ServingNetwork
from keras_alexnet.ten_crop import crop_probabilities
from keras_alexnet.variants import Variant
from pipelines.cli.tables import print_table
from pipelines.images.crops import RESIZED_SIZE

COLUMNS = ("layer", "operation", "calls", "ms", "share", "GFLOP", "GFLOP/s", "MB", "GB/s", "of roofline")
# Rows of a printed table; the CSV file has all.
_ROWS = 25


@dataclass(frozen=True)
class Roofline:
    """What one thread reaches: floating-point operations and bytes per second.

    The time of an operation cannot be below either its operations or its bytes, divided by these; its part of the
    roofline is this limit divided by its time. Where data are in the cache it can exceed 100 %.
    """

    flops: float
    bandwidth: float

    def seconds(self, flop: float, transferred: float) -> float:
        """The limit for this work."""
        return max(flop / self.flops, transferred / self.bandwidth)


class ProfileReport:
    """Prints a table of operations per profile, and writes all of them to a CSV file.

    Args:
      roofline: of the machine.
      output_dir: where `write` creates profile.csv; None for nowhere.
    """

    def __init__(self, roofline: Roofline, output_dir: str | None = None):
        self._roofline, self._directory = roofline, Path(output_dir) if output_dir else None
        self._profiles: dict[str, list[dict[str, str]]] = {}

    def add(self, title: str, operations: Iterable[Operation], processor: float) -> None:
        """Prints the operations of a run, those of one layer and kind together, the slowest first.

        Args:
          title: of the table.
          operations: of the run.
          processor: processor time of the run in seconds.
        """
        groups: dict[tuple[str, str], list[Operation]] = {}
        for operation in operations:
            groups.setdefault((operation.layer, operation.kind), []).append(operation)
        everything = [operation for group in groups.values() for operation in group]
        total = sum(operation.seconds for operation in everything)
        slowest = sorted(groups.items(), key=lambda item: -sum(operation.seconds for operation in item[1]))
        rows = [self._cells(layer, kind, group, total) for (layer, kind), group in slowest]
        self._profiles[title] = rows
        table = Table(title=title, title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in ("layer", "operation") else "right")
        for row in rows[:_ROWS]:
            table.add_row(*row.values())
        rest = [operation for _, group in slowest[_ROWS:] for operation in group]
        if rest:
            table.add_row(*self._cells("", "all others", rest, total).values())
        table.add_row(*self._cells("", "sum", everything, total).values())
        print_table(table)
        print(f"{processor * 1e3:.0f} CPU ms in all; a larger sum contains the time of other programs")

    def _cells(self, layer: str, kind: str, group: list[Operation], total: float) -> dict[str, str]:
        seconds = sum(operation.seconds for operation in group)
        flop, transferred = sum(operation.flop for operation in group), sum(operation.bytes for operation in group)
        limit = sum(self._roofline.seconds(operation.flop, operation.bytes) for operation in group)
        rates = (flop / seconds / 1e9, transferred / seconds / 1e9, limit / seconds) if seconds else (0.0, 0.0, 0.0)
        values = (
            layer,
            kind,
            str(len(group)),
            f"{seconds * 1e3:.2f}",
            f"{seconds / total:.1%}" if total else "",
            f"{flop / 1e9:.2f}" if flop else "",
            f"{rates[0]:.0f}" if flop else "",
            f"{transferred / 1e6:.1f}",
            f"{rates[1]:.1f}",
            f"{rates[2]:.0%}",
        )
        return dict(zip(COLUMNS, values, strict=True))

    def write(self, header: str) -> list[Path]:
        """Writes profile.csv; returns its path.

        Raises:
          OSError: the directory cannot be written.
        """
        if self._directory is None or not self._profiles:
            return []
        path = self._directory / "profile.csv"
        write_tables(path, header, "profile", COLUMNS, self._profiles)
        return [path]


def profile_training(variant: Variant, subject: str, batch: int, runs: int, report: ProfileReport) -> None:
    """Adds the profile of a training step: forward, gradients and update."""
    model, optimizer = AlexNet(variant, classes=CLASSES, classifier_activation=None), PaperSGD()
    optimizer.build(model.trainable_variables)
    random, size = np.random.default_rng(0), variant.crop_size
    inputs = {
        "images": random.uniform(0, 255, (batch, size, size, 3)).astype(np.float32),
        "labels": random.integers(0, CLASSES, batch).astype(np.int32),
    }

    def step(images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"loss": gradient_step(model, optimizer, images, labels)}

    names = [layer.name for layer in model.layers] + [optimizer.name]
    report.add(f"{subject}, batch {batch}: a training step", *trace_operations(step, inputs, names, runs))


def profile_inference(variant: Variant, subject: str, batch: int, runs: int, report: ProfileReport) -> None:
    """Adds the profiles of the Keras model and of the served graph for one crop, and of the served graph for ten.

    Args:
      batch: crops; a tenth as many images are predicted from ten crops.
    """
    model = AlexNet(variant, classifier_activation=None)
    served = ServingNetwork(model)
    names = [layer.name for layer in model.layers]

    def add(title: str, images: int, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        stored = np.random.default_rng(0).integers(0, 256, (images, RESIZED_SIZE, RESIZED_SIZE, 3), np.uint8)
        traced = trace_operations(lambda images: {"scores": function(images)}, {"images": stored}, names, runs)
        report.add(f"{subject}, {images} images: {title}", *traced)

    add("Keras model, one crop", batch, lambda images: crop_probabilities(model, images, "center", from_logits=True))
    add("served graph, one crop", batch, lambda images: served.center_crop_and_features(images)[0])
    add("served graph, ten crops", -(-batch // 10), served.ten_crop)
