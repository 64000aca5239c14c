"""Networks by name: AlexNet's variants, its successors, `keras.applications`, keras-hub, and a user's own function.

Importing this package needs neither TensorFlow nor Keras; building a network does.
"""

from keras_alexnet.networks.network import Network
from keras_alexnet.networks.options import parse_options
from keras_alexnet.networks.registry import create, create_for_training, find, main_output_only, name_forms, names

__all__ = [
    "Network",
    "create",
    "create_for_training",
    "find",
    "main_output_only",
    "name_forms",
    "names",
    "parse_options",
]
