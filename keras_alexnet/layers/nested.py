"""The layers within a model."""

import keras


def all_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers within a model or layer, those of nested and subclassed models included."""
    return model._flatten_layers(include_self=False)  # Keras has no public list of nested layers
