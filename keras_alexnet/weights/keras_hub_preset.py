"""Presets of keras-hub: directories with the weights of a backbone and, in a file of its own, of its classifier.

Reference: keras_hub/src/utils/preset_utils.py.
"""

import json
from pathlib import Path

from keras_alexnet.weights.formats import KINDS, PRESET_WEIGHTS, WeightFile
from keras_alexnet.weights.keras_file import read_h5

_CLASSIFIER_CONFIG, _CLASSIFIER_WEIGHTS = "task.json", "task.weights.h5"


def read_preset(path: Path) -> WeightFile:
    """Reads the weights of a preset: of the backbone, and of the classifier if it has one.

    Raises:
      ValueError: if a file of it is damaged.
    """
    layers = {f"backbone/{name}": arrays for name, arrays in read_h5(path / PRESET_WEIGHTS).layers.items()}
    if (path / _CLASSIFIER_WEIGHTS).is_file():
        layers |= read_h5(path / _CLASSIFIER_WEIGHTS).layers
    return WeightFile(path, "keras_hub", layers)


def preset_classes(path: Path) -> int:
    """The number of classes of a preset.

    Raises:
      ValueError: if it has no classifier.
    """
    missing = [name for name in (_CLASSIFIER_CONFIG, _CLASSIFIER_WEIGHTS) if not (path / name).is_file()]
    if missing:
        raise ValueError(f"{path}: found no {missing[0]}; expected a {KINDS['keras_hub']} with a classifier")
    from pipelines.cli.regular_files import read_text

    config = path / _CLASSIFIER_CONFIG
    try:
        return int(json.loads(read_text(config))["config"]["num_classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{config}: {error!r}; expected a config with num_classes") from error
