"""A network of the user's, by its name."""

import keras

NAME = f"{__name__}:small"


def small(classes, image_size=16, classifier_activation="softmax", normalized=False):
    """A network of the user."""
    images = keras.Input((image_size, image_size, 3))
    within = keras.Sequential([keras.layers.BatchNormalization()] if normalized else [keras.layers.ReLU()])
    outputs = keras.layers.Dense(classes, classifier_activation)(keras.layers.Flatten()(within(images)))
    return keras.Model(images, outputs)
