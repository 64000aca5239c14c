"""Trained networks, whatever they are stored in: `load_network(path)`."""

from keras_alexnet.pretrained.export import CARD_FILE, export_version
from keras_alexnet.pretrained.load import load_network
from keras_alexnet.pretrained.loaded_network import LoadedNetwork, Signature

__all__ = ["CARD_FILE", "LoadedNetwork", "Signature", "export_version", "load_network"]
