"""Networks by name: AlexNet's variants, its successors, `keras.applications`, keras-hub, and a user's own function.

Importing this package needs neither TensorFlow nor Keras; building a network does.
"""

from keras_alexnet.networks.building import create, create_for_training, main_output_only
from keras_alexnet.networks.network import Network
from keras_alexnet.networks.options import parse_options
from keras_alexnet.networks.registry import NAME_FORMS, find, names

__all__ = [
    "NAME_FORMS",
    "Network",
    "create",
    "create_for_training",
    "find",
    "main_output_only",
    "names",
    "parse_options",
]
