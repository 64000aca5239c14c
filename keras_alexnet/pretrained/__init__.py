"""Trained networks, whatever they are stored in: `load_network(path)`."""

from keras_alexnet.pretrained.average import check_average, shared_training
from keras_alexnet.pretrained.export import CARD_FILE, export_version
from keras_alexnet.pretrained.load import load_network
from keras_alexnet.pretrained.loaded_network import LoadedNetwork, Signature
from keras_alexnet.pretrained.scores import network_probabilities, png_files

__all__ = [
    "CARD_FILE",
    "LoadedNetwork",
    "Signature",
    "check_average",
    "export_version",
    "load_network",
    "network_probabilities",
    "png_files",
    "shared_training",
]
