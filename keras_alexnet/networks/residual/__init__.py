"""The residual family: one builder and its networks as data.

Importing this package needs neither TensorFlow nor Keras; building a network does.
"""

import functools
from typing import Any

from keras_alexnet.networks.network import Network
from keras_alexnet.networks.residual.architecture import Residual
from keras_alexnet.networks.residual.presets import PRESETS, Preset


def networks() -> list[Network]:
    """One network for each of `PRESETS`."""
    return [
        Network(
            name=name,
            build=functools.partial(_build, name, preset),
            image_size=preset.image_size,
            resize_size=preset.resize_size,
            resize_policy="shorter_side",
            weight_decay=preset.weight_decay,
            features_layer="features",
            options=_options(preset.architecture),
        )
        for name, preset in PRESETS.items()
    ]


def _options(architecture: Residual) -> tuple[str, ...]:
    """The regularisers that apply to an architecture."""
    if architecture.branches > 1:
        return ("width", "forward", "backward", "per", "draw")
    # ShakeDrop needs a branch that ends with batch normalization; wide networks have dropout within their blocks.
    own = ("dropout",) if architecture.order == "pre" else ("shake_drop", "shake_drop_per")
    return ("width", "survival", "survival_per", "survival_rescale", "swapout", *own)


def _build(
    name: str,
    preset: Preset,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    **options: Any,
) -> Any:
    from keras_alexnet.networks.residual.builder import build_model

    network = (preset.architecture, preset.preprocessing, classes, image_size, classifier_activation)
    return build_model(name, *network, **preset.defaults | options)
