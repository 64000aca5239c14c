"""What a training run shows and writes down: progress, metrics.csv (one row an epoch), and TensorBoard's files."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.callbacks.schedules import inner_optimizer
from keras_alexnet.run_directory import replace_file
from pipelines.cli import reason_of


class RunLogs:
    """Logs of the run in `model_dir`; nothing is written if not `enabled`, that is if another process writes them."""

    def __init__(self, model_dir: str, enabled: bool = True):
        self._csv, self._enabled = Path(model_dir) / "metrics.csv", enabled
        folder, names = Path(model_dir) / "logs", ("train", "validation") if enabled else ()
        self._writers = {name: tf.summary.create_file_writer(str(folder / name)) for name in names}

    def write_rows(self, rows: Sequence[dict[str, float]]) -> None:
        """Makes metrics.csv hold `rows` and nothing else: complete whenever it is looked at."""
        if not self._enabled:
            return
        text = io.StringIO()
        names = dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(text, list(names), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        try:
            replace_file(self._csv, text.getvalue())
        except OSError as error:
            print(f"cannot write {self._csv}: {reason_of(error)}; training goes on", flush=True)

    def epoch(
        self, step: int, values: dict[str, float], model: keras.Model, sample: Callable[[], tf.Tensor] | None
    ) -> None:
        """Writes for TensorBoard: `values`, the norms of the model's layers, conv1's kernels, and input images.

        `sample`, if there is one, gives training images `[N, S, S, 3]` in grey levels.
        """
        if not self._enabled:
            return
        self._scalars(step, values | layer_norms(model))
        images = {"conv1_kernels": kernel_images(model)}
        if sample is not None:
            images["training_images"] = tf.clip_by_value(sample()[:8] / 255, 0, 1)
        self._images(step, images)

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        """Those named val_... go to the validation curve of the same name."""
        for name, value in values.items():
            is_validation = name.startswith("val_")
            with self._writers["validation" if is_validation else "train"].as_default(step):
                tf.summary.scalar(name.removeprefix("val_"), value)
        for writer in self._writers.values():
            writer.flush()

    def _images(self, step: int, images: dict[str, tf.Tensor]) -> None:
        """Images are `[N, H, W, 3]` in 0..1."""
        with self._writers["train"].as_default(step):
            for name, batch in images.items():
                tf.summary.image(name, batch, max_outputs=len(batch))
        self._writers["train"].flush()

    def close(self) -> None:
        """Ends TensorBoard's files."""
        for writer in self._writers.values():
            writer.close()


def layer_norms(model: keras.Model) -> dict[str, float]:
    """Euclidean norms of each layer's weights, and of the last update of those that are trained.

    PaperSGD's velocity is what was added to the weights last: nothing has to be measured step by step.
    """
    optimizer = inner_optimizer(model.optimizer)
    updates = {
        variable.path: velocity
        for variable, velocity in zip(model.trainable_variables, optimizer.momentums, strict=True)
    }
    norms = {}
    for layer in model.layers:
        if layer.weights:
            norms[f"weight_norm/{layer.name}"] = _norm(layer.weights)
            trained = [updates[weight.path] for weight in layer.weights if weight.path in updates]
            if trained:
                norms[f"update_norm/{layer.name}"] = _norm(trained)
    return norms


def _norm(variables: Sequence) -> float:
    return math.sqrt(sum(float(np.sum(np.square(np.asarray(variable.numpy(), np.float64)))) for variable in variables))


def kernel_images(model: keras.Model) -> tf.Tensor:
    """conv1's kernels side by side as one image `[1, H, W, 3]` in 0..1, sixteen a row, with a line between them."""
    layer = next(layer for layer in model.layers if layer.weights)
    kernels = np.concatenate([kernel.numpy() for kernel in layer.kernels], -1)
    low, high = kernels.min(), kernels.max()
    shown = np.pad((kernels - low) / max(high - low, 1e-12), [(0, 1), (0, 1), (0, 0), (0, 0)], constant_values=1)
    shown = np.pad(shown, [(0, 0), (0, 0), (0, 0), (0, -shown.shape[-1] % 16)], constant_values=1)
    side, count = shown.shape[0], shown.shape[-1]
    rows = shown.transpose(3, 0, 1, 2).reshape(count // 16, 16, side, side, 3).transpose(0, 2, 1, 3, 4)
    return tf.constant(rows.reshape(1, count // 16 * side, 16 * side, 3), tf.float32)
