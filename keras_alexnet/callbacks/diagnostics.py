"""Early signs that a training goes wrong: a loss that is no number, and one that does not move from guessing."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

STUCK_SHARE, STUCK_STEPS = 0.01, 500


def first_layer_not_finite(model: keras.Model, images: tf.Tensor) -> str | None:
    """The first layer with an infinity or a NaN in its output for `images` (as in training), and where that is from.

    Returns:
      Its name, and "whose weights are not finite" if so; None if all outputs are finite.
    """
    outputs = keras.Model(model.inputs, [layer.output for layer in model.layers])(images, training=True)
    for layer, output in zip(model.layers, outputs, strict=True):
        if not _all_finite(tf.nest.flatten(output)):
            broken = not _all_finite([weight.value for weight in layer.weights])
            return layer.name + (", whose weights are not finite: the gradient before overflowed" if broken else "")
    return None


def first_broken_layer(model: keras.Model) -> str | None:
    """The first layer whose weights are not all finite; None if there is none.

    A loss can be finite all the same: on CPU a convolution that is fused with its ReLU makes zeros of NaN.
    """
    layers = (layer for layer in model.layers if layer.weights)
    return next((layer.name for layer in layers if not _all_finite([w.value for w in layer.weights])), None)


def _all_finite(tensors: Sequence) -> bool:
    floats = [tensor for tensor in map(tf.convert_to_tensor, tensors) if tensor.dtype.is_floating]
    return all(bool(tf.reduce_all(tf.math.is_finite(tensor))) for tensor in floats)


def stuck_report(history: Sequence[dict[str, float]], steps_per_epoch: int, classes: int, rate: float) -> str | None:
    """What to say after the last epoch of `history` of a loss that stays at that of guessing; None if nothing.

    It is said once, when training and validation loss have been within 1 % of ln(classes) for STUCK_STEPS steps, and
    for an epoch at least.

    Args:
      history: rows of metrics.csv.
      steps_per_epoch: steps of each.
      classes: how many there are images of.
      rate: the learning rate.
    """
    guessing = math.log(classes)

    def is_stuck(row: dict[str, float]) -> bool:
        losses = [row["loss"], row.get("val_loss", row["loss"])]
        return classes > 1 and all(abs(loss - guessing) <= STUCK_SHARE * guessing for loss in losses)

    epochs = 0
    for row in reversed(history):
        if not is_stuck(row):
            break
        epochs += 1
    if epochs != math.ceil(STUCK_STEPS / steps_per_epoch):
        return None
    return (
        f"the loss has stayed within 1 % of ln({classes}) = {guessing:.4f}, that of guessing, for "
        f"{epochs * steps_per_epoch} steps. Known causes and cures:\n"
        f"  - a learning rate (now {rate:g}) that is too high: try a third of it\n"
        "  - the paper's initial values, biases of 1 among them, on little data: --init=he, or --variant=caffe "
        "(biases of 0.1)\n"
        "  - labels that do not belong to their images\n"
        "  - images with grey levels 0..1 where 0..255 are expected\n"
        "Some trainings leave this plateau by themselves after thousands of steps"
    )
