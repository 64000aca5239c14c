"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) for Keras 3 on TensorFlow.

```python
import keras_alexnet

model = keras_alexnet.AlexNet(classes=10, init="he")
model.compile(
    keras_alexnet.PaperSGD(0.01), loss="sparse_categorical_crossentropy", metrics=[keras_alexnet.Top1Error()]
)
```

Importing this package has no side effects. TensorFlow and Keras are imported when the first public name is used. If
Keras has been imported already, this package registers its layers, optimizer and metrics with it, so that
`keras.models.load_model` finds them.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from keras_alexnet import environment

__version__ = "0.2.0"

# Public name -> the module that defines it.
_MODULES = {
    "VARIANTS": "variants",
    "Variant": "variants",
    "AlexNet": "model",
    "decode_predictions": "model",
    "features_model": "model",
    "preprocess_input": "model",
    "PaperSGD": "optimizer",
    "Top1Error": "metrics",
    "Top5Error": "metrics",
    "TowerMirroredStrategy": "distribute.towers",
    "CosineSchedule": "callbacks.schedules",
    "HandSchedule": "callbacks.schedules_2012",
    "PlateauSchedule": "callbacks.schedules",
    "StagedSchedule": "callbacks.schedules_2012",
    "StepSchedule": "callbacks.schedules",
    "load_network": "pretrained",
    "training_dataset": "datasets",
    "evaluation_dataset": "datasets",
    "export_model": "saved_model.export",
    "export_average": "saved_model.average",
    "predict_images": "prediction.predictor",
}
_SUBMODULES = ("callbacks", "layers", "metrics", "networks", "optimizer", "variants", "weights")
_USE_PIPELINES = ("pretrained", "datasets", "saved_model.export", "saved_model.average", "prediction.predictor")

__all__ = ["__version__", *_MODULES, *_SUBMODULES]

if TYPE_CHECKING:
    from keras_alexnet.callbacks.schedules import CosineSchedule as CosineSchedule
    from keras_alexnet.callbacks.schedules import PlateauSchedule as PlateauSchedule
    from keras_alexnet.callbacks.schedules import StepSchedule as StepSchedule
    from keras_alexnet.callbacks.schedules_2012 import HandSchedule as HandSchedule
    from keras_alexnet.callbacks.schedules_2012 import StagedSchedule as StagedSchedule
    from keras_alexnet.distribute.towers import TowerMirroredStrategy as TowerMirroredStrategy
    from keras_alexnet.metrics import Top1Error as Top1Error
    from keras_alexnet.metrics import Top5Error as Top5Error
    from keras_alexnet.model import AlexNet as AlexNet
    from keras_alexnet.model import decode_predictions as decode_predictions
    from keras_alexnet.model import features_model as features_model
    from keras_alexnet.model import preprocess_input as preprocess_input
    from keras_alexnet.optimizer import PaperSGD as PaperSGD
    from keras_alexnet.variants import VARIANTS as VARIANTS
    from keras_alexnet.variants import Variant as Variant


def _register_classes() -> None:
    """Imports what a `.keras` file of this package may name."""
    environment.check_keras_backend()
    for module in ("layers", "optimizer", "metrics"):
        importlib.import_module(f"keras_alexnet.{module}")


def __getattr__(name: str) -> Any:
    if name not in _MODULES and name not in _SUBMODULES:
        raise AttributeError(f"module 'keras_alexnet' has no attribute {name!r}")
    _register_classes()
    if name in _SUBMODULES:
        return importlib.import_module(f"keras_alexnet.{name}")
    if _MODULES[name] in _USE_PIPELINES:
        environment.check_pipelines()
    value = getattr(importlib.import_module(f"keras_alexnet.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if environment.is_command():
    try:
        environment.check_keras_backend()
        environment.check_pipelines()
    except ImportError as error:
        sys.exit(f"error: {error}")
else:
    environment.check_keras_backend()
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "Model"):
        _register_classes()
