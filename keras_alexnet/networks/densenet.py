"""DenseNet for CIFAR: each layer reads the outputs of all layers below it in its block.

References: Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, CVPR 2017, sections 3 and
4.2 (weight decay, initialization as in He et al. 2015); liuzhuang13/DenseNet. The published sizes of networks without
bottlenecks fit a stem of 16 filters, as in the paper; that code has 2 * growth. `survey_densenet` is the survey's
"72 layers, k = 12" as takedarts/resnetfamily builds it: 73 layers with weights.
"""

import functools
from dataclasses import dataclass
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.network import Network

_BLOCKS = 3


@dataclass(frozen=True)
class Dense:
    """A DenseNet of three blocks.

    Attributes:
      depth: number of layers with weights.
      growth: channels that each layer adds (k).
      bottleneck: a 1 x 1 convolution to 4k channels before each 3 x 3 one, a transition that halves the channels, and a
        stem of 2k instead of 16 filters ("BC").
      resnetfamily: as that code builds it: convolutions with biases; batch normalization after the stem and after each
        3 x 3 convolution as well, but neither it nor ReLU in the transitions; a ReLU alone at the end.
    """

    depth: int
    growth: int
    bottleneck: bool = False
    resnetfamily: bool = False


# Momentum and epsilon: Chainer's epsilon.
_CHAINER = (0.9, 2e-5)
_NETWORKS = {
    "densenet_40_12": Dense(40, 12),
    "densenet_bc_100_12": Dense(100, 12, bottleneck=True),
    "densenet_bc_190_40": Dense(190, 40, bottleneck=True),
    "survey_densenet": Dense(73, 12, resnetfamily=True),
}


def networks() -> list[Network]:
    """The networks of this module."""
    return [
        Network(
            name=name,
            build=functools.partial(_build, name, dense),
            image_size=32,
            resize_size=32,
            resize_policy="shorter_side",
            weight_decay=0.0001,
            features_layer="global_pool",
            options=("width", "dropout"),
        )
        for name, dense in _NETWORKS.items()
    ]


def _build(
    name: str,
    dense: Dense,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    width: float = 1.0,
    dropout: float = 0.0,
) -> Any:
    """Builds the network; `dropout` is 0.2 in the paper where images are not augmented (section 4.2)."""
    import keras

    images, maps = inputs.image_input(name, image_size, 4, inputs.ZERO_TO_ONE if dense.resnetfamily else inputs.CIFAR)
    growth = blocks.scaled(dense.growth, width)
    stem = 2 * growth if dense.bottleneck else blocks.scaled(16, width)
    maps = _convolution(maps, stem, 3, dense, 0.0, "conv0")
    layers = (dense.depth - 4) // (_BLOCKS * (2 if dense.bottleneck else 1))
    for block in range(1, _BLOCKS + 1):
        for layer in range(1, layers + 1):
            prefix = f"block{block}_layer{layer}"
            new = _layer(maps, growth, dense, dropout, prefix)
            maps = keras.layers.Concatenate(name=f"{prefix}_concat")([maps, new])
        if block < _BLOCKS:
            channels = maps.shape[-1] // (2 if dense.bottleneck else 1)
            transition = _transition if dense.resnetfamily else _unit
            maps = transition(maps, channels, 1, dense, dropout, f"transition{block}_conv")
            maps = keras.layers.AveragePooling2D(2, name=f"transition{block}_pool")(maps)
    maps = blocks.relu(maps if dense.resnetfamily else blocks.batch_norm(maps, "end_bn"), "end_relu")
    features = keras.layers.GlobalAveragePooling2D(name="global_pool")(maps)
    logits = blocks.classifier(features, classes, "lecun" if dense.resnetfamily else "xavier")
    return keras.Model(images, blocks.output(logits, classifier_activation), name=name)


def _layer(maps: Any, growth: int, dense: Dense, dropout: float, prefix: str) -> Any:
    if dense.bottleneck:
        maps = _unit(maps, 4 * growth, 1, dense, dropout, f"{prefix}_conv1")
    return _unit(maps, growth, 3, dense, dropout, f"{prefix}_conv2")


def _unit(maps: Any, filters: int, size: int, dense: Dense, dropout: float, name: str) -> Any:
    """Batch normalization, ReLU, convolution, dropout."""
    constants = _CHAINER if dense.resnetfamily else blocks.BATCH_NORM
    maps = blocks.relu(blocks.batch_norm(maps, f"{name}_bn", constants), f"{name}_relu")
    return _convolution(maps, filters, size, dense, dropout, name)


def _convolution(maps: Any, filters: int, size: int, dense: Dense, dropout: float, name: str) -> Any:
    """A convolution, dropout; batch normalization after it as well in `resnetfamily`."""
    if dense.resnetfamily:
        maps = blocks.convolution(maps, filters, size, name=name, kernel="lecun")
        maps = blocks.batch_norm(maps, f"{name}_bn_after", _CHAINER)
    else:
        maps = blocks.convolution(maps, filters, size, name=name, kernel="he_fan_out", bias=None)
    return blocks.dropout(maps, dropout, f"{name}_dropout")


def _transition(maps: Any, filters: int, size: int, dense: Dense, dropout: float, name: str) -> Any:
    """A convolution alone."""
    return blocks.convolution(maps, filters, size, name=name, kernel="lecun")
