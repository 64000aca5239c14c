"""Inception-v4.

References: Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning, AAAI 2017, Figures 3 to 9; TensorFlow-Slim, nets/inception_v4.py (batch normalization, dropout, weight decay,
He initialization, the auxiliary head and the weight of its loss: train_image_classifier.py). Batch normalization has
gamma, as in the published PyTorch ports; Slim has none.
"""

import functools
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.inception import module, sequence
from keras_alexnet.networks.network import Network

# Momentum and epsilon. Slim's momentum is 0.9997: its moving averages need some ten thousand steps.
_BATCH_NORM = (0.99, 0.001)

# The number of modules of a kind, and their branches.
_STEM = "3x3-32/2 3x3-32v 3x3-64"
_STEM_MODULES = (
    ("max/2", "3x3-96/2"),
    ("1x1-64 3x3-96v", "1x1-64 1x7-64 7x1-64 3x3-96v"),
    ("3x3-192/2", "max/2"),
)
_A = ("1x1-96", "1x1-64 3x3-96", "1x1-64 3x3-96 3x3-96", "average 1x1-96")
_REDUCTION_A = ("3x3-384/2", "1x1-192 3x3-224 3x3-256/2", "max/2")
_B = ("1x1-384", "1x1-192 1x7-224 7x1-256", "1x1-192 7x1-192 1x7-224 7x1-224 1x7-256", "average 1x1-128")
_REDUCTION_B = ("1x1-192 3x3-192/2", "1x1-256 1x7-256 7x1-320 3x3-320/2", "max/2")
_C = ("1x1-256", "1x1-384 (1x3-256|3x1-256)", "1x1-384 3x1-448 1x3-512 (1x3-256|3x1-256)", "average 1x1-256")
_MODULES = (
    *((f"stem{index}", branches) for index, branches in enumerate(_STEM_MODULES, 1)),
    *((f"a{index}", _A) for index in range(1, 5)),
    ("reduction_a", _REDUCTION_A),
    *((f"b{index}", _B) for index in range(1, 8)),
    ("reduction_b", _REDUCTION_B),
    *((f"c{index}", _C) for index in range(1, 4)),
)
# The last of the modules with 17 x 17 maps.
_WITH_HEAD = "b7"


def networks() -> list[Network]:
    """The network of this module."""
    return [
        Network(
            name="inception_v4",
            build=_build,
            image_size=299,
            resize_size=342,
            resize_policy="shorter_side",
            weight_decay=0.00004,
            features_layer="global_pool",
            aux_loss_weights=(0.4,),
            options=("width",),
        )
    ]


def _build(classes: int, image_size: int, classifier_activation: str | None = "softmax", width: float = 1.0) -> Any:
    import keras

    images, maps = inputs.image_input("inception_v4", image_size, 75, inputs.MINUS_ONE_TO_ONE)
    unit = functools.partial(blocks.normalized_convolution, constants=_BATCH_NORM)
    scale = functools.partial(blocks.scaled, width=width)
    maps = sequence(maps, _STEM, unit, scale, "stem")
    head = None
    for name, branches in _MODULES:
        maps = module(maps, branches, unit, scale, name)
        head = _head(maps, classes, unit, scale) if name == _WITH_HEAD else head
    features = keras.layers.GlobalAveragePooling2D(name="global_pool")(maps)
    logits = blocks.classifier(blocks.dropout(features, 0.2, "dropout"), classes)
    outputs = [
        blocks.output(logits, classifier_activation),
        blocks.output(head, classifier_activation, "aux_predictions"),
    ]
    return keras.Model(images, outputs, name="inception_v4")


def _head(maps: Any, classes: int, unit: Any, scale: Any) -> Any:
    """The logits of the auxiliary head. Smaller images leave maps smaller than its pooling window."""
    import keras

    maps = keras.layers.AveragePooling2D(min(5, maps.shape[1]), 3, name="aux_pool")(maps)
    maps = unit(maps, scale(128), 1, name="aux_conv1")
    maps = unit(maps, scale(768), maps.shape[1], padding="valid", name="aux_conv2")
    return blocks.classifier(keras.layers.Flatten(name="aux_flatten")(maps), classes, name="aux_fc")
