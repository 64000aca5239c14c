"""Weights from files of Keras, keras-hub, Caffe and PyTorch. Their content says which format they have, not their name.

Nothing in a file is executed, no link in it is followed, and sizes are checked before memory is allocated.
"""

from keras_alexnet.weights.assign import load_weights
from keras_alexnet.weights.assign_by_name import load_weights_by_name
from keras_alexnet.weights.formats import KINDS, is_preset, recognise
from keras_alexnet.weights.keras_file import check_keras_file, keras_version

__all__ = [
    "KINDS",
    "check_keras_file",
    "is_preset",
    "keras_version",
    "load_weights",
    "load_weights_by_name",
    "recognise",
]
