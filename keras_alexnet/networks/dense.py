"""DenseNet for CIFAR: each layer reads the outputs of all layers below it in its block.

References: Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, CVPR 2017, sections 3 and
4.2 (weight decay, initialization as in He et al. 2015); liuzhuang13/DenseNet. The published sizes of networks without
bottlenecks fit a stem of 16 filters, as in the paper; that code has 2 * growth.
"""

import functools
from dataclasses import dataclass
from typing import Any

from keras_alexnet.networks import blocks
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
    """

    depth: int
    growth: int
    bottleneck: bool = False


_NETWORKS = {
    "densenet_40_12": Dense(40, 12),
    "densenet_bc_100_12": Dense(100, 12, bottleneck=True),
    "densenet_bc_190_40": Dense(190, 40, bottleneck=True),
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

    images, maps = blocks.image_input(name, image_size, 4, blocks.CIFAR)
    growth = blocks.scaled(dense.growth, width)
    stem = 2 * growth if dense.bottleneck else blocks.scaled(16, width)
    maps = blocks.convolution(maps, stem, 3, name="conv0", kernel="he_fan_out", bias=None)
    layers = (dense.depth - 4) // (_BLOCKS * (2 if dense.bottleneck else 1))
    for block in range(1, _BLOCKS + 1):
        for layer in range(1, layers + 1):
            prefix = f"block{block}_layer{layer}"
            new = _layer(maps, growth, dense.bottleneck, dropout, prefix)
            maps = keras.layers.Concatenate(name=f"{prefix}_concat")([maps, new])
        if block < _BLOCKS:
            channels = maps.shape[-1] // (2 if dense.bottleneck else 1)
            maps = _unit(maps, channels, 1, dropout, f"transition{block}_conv")
            maps = keras.layers.AveragePooling2D(2, name=f"transition{block}_pool")(maps)
    maps = blocks.relu(blocks.batch_norm(maps, "end_bn"), "end_relu")
    features = keras.layers.GlobalAveragePooling2D(name="global_pool")(maps)
    logits = blocks.classifier(features, classes)
    return keras.Model(images, blocks.output(logits, classifier_activation), name=name)


def _layer(maps: Any, growth: int, bottleneck: bool, dropout: float, prefix: str) -> Any:
    if bottleneck:
        maps = _unit(maps, 4 * growth, 1, dropout, f"{prefix}_conv1")
    return _unit(maps, growth, 3, dropout, f"{prefix}_conv2")


def _unit(maps: Any, filters: int, size: int, dropout: float, name: str) -> Any:
    """Batch normalization, ReLU, convolution, dropout."""
    maps = blocks.relu(blocks.batch_norm(maps, f"{name}_bn"), f"{name}_relu")
    maps = blocks.convolution(maps, filters, size, name=name, kernel="he_fan_out", bias=None)
    return blocks.dropout(maps, dropout, f"{name}_dropout")
