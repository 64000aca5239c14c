"""Networks by name: AlexNet's variants, `keras.applications`, and a user's own factory.

Importing this package needs neither TensorFlow nor Keras; building a network does.
"""

from keras_alexnet.networks.network import Network
from keras_alexnet.networks.registry import create, find, names

__all__ = ["Network", "create", "find", "names"]
