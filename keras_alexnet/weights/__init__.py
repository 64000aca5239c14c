"""Weights from files: our own and Keras', Caffe's and PyTorch's. What a file is, is seen from its content."""

from keras_alexnet.weights.contents import KINDS
from keras_alexnet.weights.kinds import recognise
from keras_alexnet.weights.loading import load_weights

__all__ = ["KINDS", "load_weights", "recognise"]
