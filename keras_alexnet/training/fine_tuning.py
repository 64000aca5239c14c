"""Fine-tuning: initial weights for all layers but the classifier, frozen layers, learning rate multipliers."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.networks import Network, main_output_only, parse_options
from keras_alexnet.path_errors import errors_of_path
from keras_alexnet.training.config import TrainingConfig
from keras_alexnet.variants import VARIANTS, find_variant
from keras_alexnet.weights import is_preset, load_weights, load_weights_by_name
from keras_alexnet.weights.read import read_weights


@dataclass(frozen=True)
class InitialWeights:
    """Initial weights of a run.

    Attributes:
      name: the run directory or the weight file that they come from.
      mean: what a network with these weights subtracts from images, as `AlexNet(mean=...)` takes it; None for networks
        without this option.
      trained: the network of the run directory; None if `name` is a weight file.
    """

    name: str
    mean: np.ndarray | None
    trained: keras.Model | None

    def apply(self, model: keras.Model, config: TrainingConfig) -> None:
        """Sets the weights of all layers of `model` but the classifiers.

        Raises:
          ValueError: if they are of another network; the message names the layer and both shapes.
        """
        skipped = classifiers(model)
        if self.trained is not None:
            for layer in model.layers:
                if layer.weights and layer.name not in skipped:
                    layer.set_weights(self.trained.get_layer(layer.name).get_weights())
            return
        with errors_of_path("init_from", self.name):
            if config.network in VARIANTS:
                load_weights(model, self.name, find_variant(config.network).scaled(config.width), skip=skipped)
            else:
                load_weights_by_name(model, self.name, skip=[*skipped, *_heads_not_in(model, self.name)])


def _heads_not_in(model: keras.Model, path: str) -> list[str]:
    """Names of the layers of auxiliary heads, if a file has none of them, as files of networks without heads."""
    main = {layer.name for layer in main_output_only(model).layers}
    heads = [layer.name for layer in model.layers if layer.name not in main]
    return [] if set(heads) & {name.partition("/")[0] for name in read_weights(path).layers} else heads


def classifiers(model: keras.Model) -> list[str]:
    """Names of the layers whose units are the classes: the last layer with weights before each output."""
    parts = [keras.Model(model.inputs, output) for output in model.outputs]
    return [[layer.name for layer in part.layers if layer.weights][-1] for part in parts]


def find_initial_weights(init_from: str, network: Network, config: TrainingConfig) -> InitialWeights:
    """Finds the initial weights of a run.

    Args:
      init_from: the directory of another training run, or a weight file: for an AlexNet one that `AlexNet(weights=...)`
        takes, else a `.weights.h5` or `.keras` file or a preset of keras-hub, of the same network.
      network: the network to be trained.
      config: its options.

    Raises:
      ValueError: if there is no such path, or the other run trained another network.
    """
    if not os.path.isdir(init_from) or is_preset(init_from):
        if not os.path.exists(init_from):
            raise ValueError(f"init_from={init_from}: no such path; expected a run directory or a weight file")
        mean = None if network.rgb_mean is None else np.asarray(network.rgb_mean, np.float32)
        return InitialWeights(init_from, mean, None)
    with errors_of_path("init_from", init_from):
        trained, run, _ = load_trained(init_from, main_output=False)
    options = parse_options(config.network_options)
    for name, value in (
        *(("network", network.name), ("width", config.width), ("init", config.init)),
        *(("network_options", options), ("image_size", config.image_size)),
    ):
        found = getattr(run, name)
        if found != value:
            raise ValueError(f"{name}={value}: expected {found}, as in the network of init_from={init_from}")
    mean = None if network.mean is None else trained.get_layer("mean_subtraction").mean
    return InitialWeights(init_from, mean, trained)


def freeze(model: keras.Model, layers: str | None) -> None:
    """Excludes layers, such as "conv1,conv2", from training. Call it before `compile`.

    Raises:
      ValueError: if one has no weights, or no layer is left to train.
    """
    names = _parts(layers)
    _check_layers("freeze", model, names)
    for name in names:
        model.get_layer(name).trainable = False
    if not model.trainable_variables:
        raise ValueError(f"freeze={layers}: expected at least one layer that is trained")


def learning_rate_multipliers(model: keras.Model, settings: str | None) -> dict[str, float]:
    """Parses settings such as "fc8=10,conv1=0.1" into layer name -> multiplier.

    Raises:
      ValueError: if a setting is not `layer=number`, or a layer is not trained.
    """
    multipliers = {}
    for setting in _parts(settings):
        name, _, number = setting.partition("=")
        try:
            multipliers[name] = float(number)
        except ValueError:
            raise ValueError(f"lr_multipliers={settings}: found {setting!r}; expected layer=number") from None
        if not 0 <= multipliers[name] < float("inf"):
            raise ValueError(f"lr_multipliers={settings}: found {setting!r}; expected a number of at least 0")
    _check_layers("lr_multipliers", model, multipliers)
    frozen = [name for name in multipliers if not model.get_layer(name).trainable]
    if frozen:
        raise ValueError(f"lr_multipliers={settings}: found {frozen[0]}, which is frozen")
    return multipliers


def _parts(listed: str | None) -> list[str]:
    return [part.strip() for part in (listed or "").split(",") if part.strip()]


def _check_layers(argument: str, model: keras.Model, names: Iterable[str]) -> None:
    known = [layer.name for layer in model.layers if layer.weights]
    for name in names:
        if name not in known:
            raise ValueError(f"{argument}={name}: expected layers with weights: {', '.join(known)}")
