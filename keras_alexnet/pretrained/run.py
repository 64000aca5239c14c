"""The network of a run directory, and how it was trained."""

import dataclasses
from pathlib import Path
from typing import Any

import keras

from keras_alexnet import networks
from keras_alexnet.checkpoints import load_trained
from keras_alexnet.layers.nested import all_layers
from keras_alexnet.pretrained.error_rates import read_error_rates
from keras_alexnet.pretrained.loaded_network import LoadedNetwork
from keras_alexnet.run_directory import RunConfig, RunDirectory


def load_run(path: Path) -> LoadedNetwork:
    """The network of a run directory with its newest checkpoint."""
    model, config, steps = load_trained(path)
    return LoadedNetwork(
        source=str(path),
        model=model,
        from_logits=True,
        resize=config.resize,
        resized_size=config.size_before_crops,
        class_names=config.class_names,
        display_names=config.labels(),
        training=training_record(path, model, config, steps),
        steps=steps,
        network=config.network,
        options=config.options,
    )


def training_record(model_dir: Path, model: keras.Model, config: RunConfig, steps: int) -> dict[str, Any]:
    """How the network of a run directory was trained, on what, and its error rates, as JSON can hold it.

    `error_rates` are the rows of results.csv, as `keras_alexnet.evaluate` writes it, that belong to these `steps`:
    the newest of each dataset, split and crops. Empty if the network has not been evaluated.
    """
    fields = dataclasses.asdict(config)
    bad_images = fields.pop("bad_images")
    del fields["class_names"], fields["label_names"]
    statistics, network = RunDirectory(model_dir).statistics, networks.find(config.network)
    decay = network.weight_decay if config.weight_decay is None else config.weight_decay
    biases = f", learning rate of biases x {network.bias_lr_multiplier:g}" if network.bias_lr_multiplier != 1 else ""
    biases += "" if network.decay_biases else ", no decay of biases"
    return fields | {
        "color_augmentation": config.color_augmentation or network.color_augmentation,
        "optimizer": f"SGD, momentum 0.9, weight decay {decay:g}{biases}",
        "layer_weight_decay": _layer_decays(model),
        "steps": steps,
        "bad_images_left_out": len(bad_images),
        "error_rates": read_error_rates(model_dir / "results.csv", str(steps)),
        "statistics": {
            "images": int(statistics.count),
            "rgb_mean": [float(value) for value in statistics.rgb_mean],
            "rgb_covariance": [[float(value) for value in row] for row in statistics.rgb_covariance],
        },
    }


def _layer_decays(model: keras.Model) -> dict[str, float]:
    """The weight decay of each layer that has one of its own, as a regularizer of its kernel, by the layer's name."""
    regularizers = {layer.name: getattr(layer, "kernel_regularizer", None) for layer in all_layers(model)}
    # The gradient of the penalty l2 * w ** 2 is 2 * l2 * w.
    return {name: 2 * float(each.l2) for name, each in regularizers.items() if isinstance(each, keras.regularizers.L2)}
