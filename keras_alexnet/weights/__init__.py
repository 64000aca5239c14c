"""Weights from files of Keras, Caffe and PyTorch. The format is detected from the content, never from the name.

Nothing in a file is executed, no link in it is followed, and sizes are checked before memory is allocated.
"""

from keras_alexnet.weights.assign import load_weights, load_weights_by_name
from keras_alexnet.weights.formats import KINDS, recognise
from keras_alexnet.weights.keras_file import check_keras_file, keras_version

__all__ = ["KINDS", "check_keras_file", "keras_version", "load_weights", "load_weights_by_name", "recognise"]
