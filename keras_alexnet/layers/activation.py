"""Elementwise activations, tower by tower."""

import keras

from keras_alexnet.distribute.towers import per_tower

register = keras.saving.register_keras_serializable(package="keras_alexnet")


@register
class TowerActivation(keras.layers.Layer):
    """An elementwise activation ("relu", "tanh", ...), tower by tower."""

    def __init__(self, activation: str, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, inputs):
        return per_tower(self.activation, inputs)
