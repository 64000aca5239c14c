"""Elementwise activations in towers."""

from collections.abc import Callable
from typing import Any

import keras

from keras_alexnet.distribute.towers import per_tower

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class TowerActivation(keras.layers.Layer):
    """An elementwise activation, computed on each tower's device.

    Input and output: a tensor, or a list of tensors, one per tower.

    Args:
      activation: as in `keras.layers.Activation`: "relu" (paper, section 3.1), "tanh", ... or a function.

    Examples:
        >>> TowerActivation("relu")(keras.ops.array([-1.0, 2.0])).numpy().tolist()
        [0.0, 2.0]
    """

    def __init__(self, activation: str | dict[str, Any] | Callable, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, inputs: Any) -> Any:
        return per_tower(self.activation, inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": keras.activations.serialize(self.activation)}
