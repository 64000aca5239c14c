"""Counting parameters."""

import math

import keras


def trainable(model: keras.Model) -> int:
    """The number of trainable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
