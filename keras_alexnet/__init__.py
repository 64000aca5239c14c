"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) for Keras 3 on TensorFlow.

`AlexNet(...)` is a Keras model; importing this package is all that `keras.models.load_model` needs to read one back.
"""

import pipelines  # noqa: F401 (before Keras: this loads TensorFlow without its start-up chatter)

# isort: split
import keras

from keras_alexnet.callbacks.schedules import HandSchedule, PlateauSchedule, StagedSchedule
from keras_alexnet.distribute.towers import TowerMirroredStrategy
from keras_alexnet.model import AlexNet, decode_predictions, preprocess_input
from keras_alexnet.optimizer import PaperSGD
from keras_alexnet.variants import VARIANTS, Variant

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"keras_alexnet needs Keras' TensorFlow backend; found {keras.backend.backend()!r} "
        "(environment variable KERAS_BACKEND or ~/.keras/keras.json)"
    )

__all__ = [
    "VARIANTS",
    "AlexNet",
    "HandSchedule",
    "PaperSGD",
    "PlateauSchedule",
    "StagedSchedule",
    "TowerMirroredStrategy",
    "Variant",
    "decode_predictions",
    "export_model",
    "preprocess_input",
]


def __getattr__(name: str):
    # The exporter brings TensorFlow Serving's protocol buffers along; who only wants the network does not pay for them.
    if name == "export_model":
        from keras_alexnet.export import export_model

        return export_model
    raise AttributeError(f"module 'keras_alexnet' has no attribute {name!r}")
