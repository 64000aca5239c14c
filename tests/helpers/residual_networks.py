"""Small networks of the residual family."""

from keras_alexnet import networks
from keras_alexnet.networks.inputs import CIFAR
from keras_alexnet.networks.residual.architecture import Residual


def narrow(name, **options):
    """One channel or a few: the graph is the same."""
    return networks.create(name, classes=3, image_size=32, width=1 / 8, **options)


def tiny(words=(), **options):
    """Three blocks."""
    from keras_alexnet.networks.residual.builder import build_model

    spec = Residual(blocks=(1, 1, 1), stem_after="bn relu", **dict(words))
    return build_model("tiny", spec, CIFAR, 3, 8, None, width=1 / 4, **options)
