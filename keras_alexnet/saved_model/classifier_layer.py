"""The classifier layer of any Keras model, and its input: the features."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_alexnet.layers.nested import all_layers


class Call(NamedTuple):
    """A call of a layer: its inputs and outputs, tensors or structures of them. `outputs` is None while it runs."""

    layer: keras.layers.Layer
    inputs: Any
    outputs: Any = None


def find_classifier(model: keras.Model) -> keras.layers.Layer:
    """The classifier layer: the last layer with a kernel that runs.

    Layers of nested and subclassed models count, so that the model is run once on an image of zeros.

    Raises:
      ValueError: no layer has a kernel.
    """
    layers = [layer for layer in all_layers(model) if any(len(weight.shape) > 1 for weight in _own_weights(layer))]
    with observed(layers) as calls:
        model(tf.zeros([1, *model.input_shape[1:]]), training=False)
    if not calls:
        raise ValueError(f"model: found no layer with a kernel in {model.name}; expected a classifier")
    return calls[-1].layer


@contextlib.contextmanager
def observed(layers: Sequence[keras.layers.Layer]) -> Iterator[list[Call]]:
    """Records each call of `layers` while the block runs, in the order in which they begin."""
    calls: list[Call] = []

    def observing(layer: keras.layers.Layer, call: Callable[..., Any]) -> Callable[..., Any]:
        def record(inputs: Any, *arguments: Any, **keywords: Any) -> Any:
            place = len(calls)
            calls.append(Call(layer, inputs))
            calls[place] = Call(layer, inputs, call(inputs, *arguments, **keywords))
            return calls[place].outputs

        return record

    for layer in layers:
        layer.call = observing(layer, layer.call)
    try:
        yield calls
    finally:
        for layer in layers:
            del layer.call  # the method of the class reappears


def flat_features(inputs: Any) -> tf.Tensor:
    """The input of a classifier layer, one tensor or several, as float32 `[M, F]`."""
    rows = []
    for part in keras.tree.flatten(inputs):
        rows.append(tf.reshape(tf.cast(part, tf.float32), [tf.shape(part)[0], _size(part)]))
    return tf.concat(rows, -1)


def _size(tensor: tf.Tensor) -> int:
    return tf.TensorShape(tensor.shape[1:]).num_elements()


def _own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    nested = {id(weight) for below in all_layers(layer) for weight in below.weights}
    return [weight for weight in layer.weights if id(weight) not in nested]
