"""Weights from files: our own and Keras', Caffe's and PyTorch's. What a file is, is seen from its content."""

from keras_alexnet.weights.assign import load_weights
from keras_alexnet.weights.formats import KINDS, recognise

__all__ = ["KINDS", "load_weights", "recognise"]
