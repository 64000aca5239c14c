"""GoogLeNet (Inception-v1) with its auxiliary heads, and the survey's GoogLeNet for CIFAR.

References: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, Table 1 and section 5 (the heads, whose losses
count 0.3 each); BVLC's bvlc_googlenet, train_val.prototxt and solver.prototxt (initialization, normalization, weight
decay). The third branch has 5 x 5 convolutions; torchvision's has 3 x 3.

`googlenet_cifar` has the same modules behind a 3 x 3 stem without stride, batch normalization, and no heads. Weight
decay: nutszebra/googlenet.
"""

import functools
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.inception import module
from keras_alexnet.networks.network import Network

# 1x1; 1x1 and 3x3; 1x1 and 5x5; 1x1 after pooling.
_TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# The modules whose outputs are pooled, and those that have a head.
_POOLED, _HEADS = ("3b", "4e"), ("4a", "4d")
# Caffe divides alpha = 1e-4 by the 5 channels of the window.
_LRN = (2, 1.0, 1e-4 / 5, 0.75)
_BIAS = 0.2


def networks() -> list[Network]:
    """The networks of this module."""
    common: dict[str, Any] = {"resize_policy": "shorter_side", "features_layer": "global_pool"}
    return [
        Network(
            name="googlenet",
            build=_googlenet,
            image_size=224,
            resize_size=256,
            weight_decay=0.0002,
            aux_loss_weights=(0.3, 0.3),
            options=("width", "init"),
            **common,
        ),
        Network(
            name="googlenet_cifar",
            build=_googlenet_cifar,
            image_size=32,
            resize_size=32,
            weight_decay=0.0001,
            options=("width",),
            **common,
        ),
    ]


def _googlenet(
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    width: float = 1.0,
    init: str = "paper",
) -> Any:
    """Builds the network; its second and third output are the heads on modules 4a and 4d."""
    import keras

    from keras_alexnet.layers import LocalResponseNormalization

    kernel, bias = ("he", 0.0) if init == "he" else ("xavier", _BIAS)
    unit = functools.partial(_unit, kernel=kernel, bias=bias)
    scale = functools.partial(blocks.scaled, width=width)
    images, maps = inputs.image_input("googlenet", image_size, 17, inputs.CAFFE, init)
    maps = blocks.max_pool(unit(maps, scale(64), 7, 2, 3, name="conv1"), "pool1")
    maps = LocalResponseNormalization(*_LRN, name="lrn1")(maps)
    maps = unit(maps, scale(64), 1, name="conv2_reduce")
    maps = unit(maps, scale(192), 3, name="conv2")
    maps = blocks.max_pool(LocalResponseNormalization(*_LRN, name="lrn2")(maps), "pool2")
    maps, with_head = _modules(maps, unit, scale)
    outputs = [_main_output(maps, classes, classifier_activation)]
    for number, below in enumerate(with_head, 1):
        head = _head(below, classes, unit, scale, kernel, bias, f"aux{number}")
        outputs.append(blocks.output(head, classifier_activation, f"aux{number}_predictions"))
    return keras.Model(images, outputs, name="googlenet")


def _googlenet_cifar(
    classes: int, image_size: int, classifier_activation: str | None = "softmax", width: float = 1.0
) -> Any:
    import keras

    images, maps = inputs.image_input("googlenet_cifar", image_size, 4, inputs.CIFAR)
    scale = functools.partial(blocks.scaled, width=width)
    maps = blocks.normalized_convolution(maps, scale(192), 3, name="conv1")
    maps, _ = _modules(maps, blocks.normalized_convolution, scale)
    return keras.Model(images, _main_output(maps, classes, classifier_activation), name="googlenet_cifar")


def _unit(maps: Any, *arguments: Any, name: str, kernel: str, bias: float) -> Any:
    """A convolution with biases, and ReLU."""
    return blocks.relu(blocks.convolution(maps, *arguments, name=name, kernel=kernel, bias=bias), f"{name}_relu")


def _modules(maps: Any, unit: Any, scale: Any) -> tuple[Any, list]:
    """The output of the nine modules, and the outputs of those that have a head."""
    with_head = []
    for name, (one, reduce3, three, reduce5, five, pool) in _TABLE.items():
        branches = (f"1x1-{one}", f"1x1-{reduce3} 3x3-{three}", f"1x1-{reduce5} 5x5-{five}", f"max 1x1-{pool}")
        maps = module(maps, branches, unit, scale, f"inception_{name}")
        if name in _HEADS:
            with_head.append(maps)
        if name in _POOLED:
            maps = blocks.max_pool(maps, f"pool{name[0]}")
    return maps, with_head


def _main_output(maps: Any, classes: int, activation: str | None) -> Any:
    import keras

    features = keras.layers.GlobalAveragePooling2D(name="global_pool")(maps)
    return blocks.output(blocks.classifier(blocks.dropout(features, 0.4, "dropout"), classes), activation)


def _head(maps: Any, classes: int, unit: Any, scale: Any, kernel: str, bias: float, name: str) -> Any:
    """The logits of an auxiliary head. Smaller images leave maps smaller than its pooling window."""
    import keras

    maps = keras.layers.AveragePooling2D(min(5, maps.shape[1]), 3, name=f"{name}_pool")(maps)
    maps = keras.layers.Flatten(name=f"{name}_flatten")(unit(maps, scale(128), 1, name=f"{name}_conv"))
    features = blocks.classifier(maps, scale(1024), kernel, bias, name=f"{name}_fc")
    features = blocks.dropout(blocks.relu(features, f"{name}_relu"), 0.7, f"{name}_dropout")
    return blocks.classifier(features, classes, kernel, name=f"{name}_classifier")
