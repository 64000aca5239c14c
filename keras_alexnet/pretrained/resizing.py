"""How images are resized for a model that a file or a user gives."""

import keras

from keras_alexnet import networks
from keras_alexnet.classifier import alexnet_input, resized_size
from keras_alexnet.layers import MeanSubtraction


def resizing(model: keras.Model) -> tuple[str, int]:
    """The resize policy and the side of the resized images, in pixels, that crops for `model` are taken from.

    An `AlexNet` contains them, and so does a trained network with a `MeanSubtraction`. Those of another network of the
    registry are known by its name. Of any other model the shorter side is resized so that a crop covers 7/8.
    """
    trained = [each for each in model.layers if isinstance(each, MeanSubtraction) and each.resized_size is not None]
    layer = trained[0] if trained else alexnet_input(model)
    if layer is not None:
        return layer.resize, layer.resized_size or resized_size(model)
    if model.name in networks.names():
        known = networks.find(model.name)
        return known.resize_policy, known.resized_size(model.input_shape[1])
    return "shorter_side", resized_size(model)
