"""Logs for TensorBoard: curves, norms of weights and updates, kernels, confusion matrix, training images."""

import contextlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.callbacks.schedules import inner_optimizer
from keras_alexnet.plots.confusion import confusion_image
from keras_alexnet.plots.kernels import kernel_tiles
from keras_alexnet.plots.style import mosaic
from pipelines.cli import reason_of


class TensorBoardLog(keras.callbacks.Callback):
    """Writes the logs of each epoch, layer norms, the first layer's kernels and confusions for TensorBoard.

    Args:
      log_dir: gets the directories train/ and validation/; logs named val_... go to the second.
      sample: gives training images `[N, S, S, 3]` with pixel values 0..255, shown in the first epoch; optional.

    Attributes:
      confusion: confusion matrix of a validation, int `[classes, classes]`, rows are true classes; or None. It is
        written as an image at the end of the next epoch, and reset. The train command sets it.

    Example:

    ```python
    model.fit(train, epochs=10, callbacks=[TensorBoardLog("logs")])
    ```
    """

    def __init__(self, log_dir: str | os.PathLike[str], sample: Callable[[], tf.Tensor] | None = None):
        super().__init__()
        self._writers = {
            name: tf.summary.create_file_writer(os.fspath(Path(log_dir) / name)) for name in ("train", "validation")
        }
        self._sample = sample
        self.confusion: np.ndarray | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes what the class says, at the number of steps done; a full disk does not end the training."""
        try:
            self._write(epoch, logs)
        except tf.errors.OpError as error:
            print(f"cannot write TensorBoard's logs: {reason_of(error)}; training continues", flush=True)

    def _write(self, epoch: int, logs: Mapping[str, float] | None) -> None:
        logs = dict(logs or {})
        step = int(logs.get("steps", keras.ops.convert_to_numpy(inner_optimizer(self.model.optimizer).iterations)))
        for name, value in (logs | layer_norms(self.model)).items():
            is_validation = name.startswith("val_")
            with self._writers["validation" if is_validation else "train"].as_default(step):
                tf.summary.scalar(name.removeprefix("val_"), value)
        kernels = kernel_images(self.model)
        with self._writers["train"].as_default(step):
            if kernels is not None:
                tf.summary.image("conv1_kernels", kernels)
            if self._sample is not None and epoch == 0:
                tf.summary.image("training_images", tf.clip_by_value(self._sample()[:8] / 255, 0, 1), max_outputs=8)
        if self.confusion is not None:
            with self._writers["validation"].as_default(step):
                tf.summary.image("confusion", confusion_image(self.confusion)[np.newaxis])
            self.confusion = None
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            # What could not be written has been reported.
            with contextlib.suppress(tf.errors.OpError):
                writer.close()


def layer_norms(model: keras.Model) -> dict[str, float]:
    """Euclidean norms of each layer's weights, and of the last update of those that are trained by a `PaperSGD`.

    The momentum of PaperSGD is what was last added to the weights, so nothing has to be measured in the steps.
    """
    momenta = getattr(inner_optimizer(model.optimizer), "momentums", [])
    updates = dict(zip((variable.path for variable in model.trainable_variables), momenta, strict=False))
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


def kernel_images(model: keras.Model) -> tf.Tensor | None:
    """The first layer's kernels as one image `[1, H, W, 3]` in 0..1; None if they do not see RGB or grey.

    Sixteen kernels a row, tower below tower. Each kernel has its own scale, in which grey is zero.
    """
    layer = next(layer for layer in model.layers if layer.weights)
    variables = getattr(layer, "kernels", [getattr(layer, "kernel", None)])
    kernels = [kernel.numpy() for kernel in variables if kernel is not None]
    if not kernels or kernels[0].ndim != 4 or kernels[0].shape[2] not in (1, 3):
        return None
    towers = [mosaic(kernel_tiles(kernel), 16) for kernel in kernels]
    gap = np.ones((3, *towers[0].shape[1:]), np.float32)
    rows = [part for tower in towers for part in (gap, tower)][1:]
    return tf.constant(np.concatenate(rows)[np.newaxis])
