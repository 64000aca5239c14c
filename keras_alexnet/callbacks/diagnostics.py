"""Early signs of failing training: a loss that is not finite, or one that stays at chance level."""

import math
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from keras_alexnet.callbacks.schedules import current_learning_rate

STUCK_SHARE, STUCK_STEPS = 0.01, 500


class TrainingDivergedError(ValueError):
    """The loss or a weight is not finite.

    Args:
      what: "the loss is" or "the weights of conv2 are".
      step: the step after which it was found, from 1.
      learning_rate: at that step.
      where: what else is known.
    """

    def __init__(self, what: str, step: int, learning_rate: float, where: str = ""):
        super().__init__(
            f"learning_rate={learning_rate:g}: training has diverged: {what} not finite at step {step}{where}. Earlier "
            "checkpoints are kept; a lower learning rate usually helps"
        )


class Diagnostics(keras.callbacks.Callback):
    """Stops training when the loss is not finite, and reports a loss that stays at chance level.

    Args:
      classes: number of classes that have training images.

    Raises:
      TrainingDivergedError: after a batch whose loss is not finite.

    Example:

    ```python
    model.fit(train, epochs=10, callbacks=[Diagnostics(classes=3)])
    ```
    """

    def __init__(self, classes: int):
        super().__init__()
        self._classes = classes
        self._steps_per_epoch = 0
        self.history: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Raises TrainingDivergedError if the loss is not finite."""
        self._steps_per_epoch = max(self._steps_per_epoch, batch + 1)
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            layer = first_broken_layer(self.model)
            where = f" (the weights of {layer} too)" if layer else ""
            raise TrainingDivergedError("the loss is", batch + 1, current_learning_rate(self.model.optimizer), where)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Prints a report when the loss has stayed at chance level for a while."""
        self.history.append(dict(logs or {}))
        rate = current_learning_rate(self.model.optimizer)
        report = stuck_report(self.history, max(1, self._steps_per_epoch), self._classes, rate)
        if report:
            print(report, flush=True)


def first_layer_not_finite(model: keras.Model, images: tf.Tensor) -> str | None:
    """The first layer with an infinity or a NaN in its output for `images`, computed as in training.

    Returns:
      Its name, with "whose weights are not finite" if so; None if all outputs are finite.
    """
    outputs = keras.Model(model.inputs, [layer.output for layer in model.layers])(images, training=True)
    for layer, output in zip(model.layers, outputs, strict=True):
        if not _all_finite(tf.nest.flatten(output)):
            broken = not _all_finite([weight.value for weight in layer.weights])
            return layer.name + (", whose weights are not finite: the gradient before overflowed" if broken else "")
    return None


def first_broken_layer(model: keras.Model) -> str | None:
    """The first layer whose weights are not all finite; None if there is none.

    The loss can be finite nevertheless: on CPU a convolution that is fused with its ReLU turns NaN into 0.
    """
    layers = (layer for layer in model.layers if layer.weights)
    return next((layer.name for layer in layers if not _all_finite([w.value for w in layer.weights])), None)


def _all_finite(tensors: Sequence) -> bool:
    floats = [tensor for tensor in map(tf.convert_to_tensor, tensors) if tensor.dtype.is_floating]
    return all(bool(tf.reduce_all(tf.math.is_finite(tensor))) for tensor in floats)


def stuck_report(
    history: Sequence[Mapping[str, float]], steps_per_epoch: int, classes: int, learning_rate: float
) -> str | None:
    """A report if the loss has stayed at chance level up to the last epoch of `history`, else None.

    It is given once, when training and validation loss have been within 1 % of ln(classes) for STUCK_STEPS steps, and
    for an epoch at least.

    Args:
      history: logs of each epoch.
      steps_per_epoch: steps in each.
      classes: number of classes that there are images of.
      learning_rate: the current one.
    """
    chance = math.log(classes)

    def is_stuck(row: Mapping[str, float]) -> bool:
        losses = [row["loss"], row.get("val_loss", row["loss"])]
        return classes > 1 and all(abs(loss - chance) <= STUCK_SHARE * chance for loss in losses)

    epochs = 0
    for row in reversed(history):
        if not is_stuck(row):
            break
        epochs += 1
    if epochs != math.ceil(STUCK_STEPS / steps_per_epoch):
        return None
    return (
        f"the loss has stayed within 1 % of chance level, ln({classes}) = {chance:.4f}, for {epochs * steps_per_epoch} "
        "steps. Known causes:\n"
        f"  - the learning rate (now {learning_rate:g}) is too high: try a third of it\n"
        "  - the paper's initialization, with biases of 1, on a small dataset: use init=he, or variant=caffe (biases "
        "of 0.1)\n"
        "  - labels that do not belong to their images\n"
        "  - pixel values 0..1 where 0..255 are expected\n"
        "Some runs leave this plateau by themselves after thousands of steps"
    )
