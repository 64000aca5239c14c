"""AlexNets as data: architecture, variants, and the paper's ablations. Needs no TensorFlow."""

from keras_alexnet.variants.architecture import Variant
from keras_alexnet.variants.variants import VARIANTS, find_variant

__all__ = ["VARIANTS", "Variant", "find_variant"]
