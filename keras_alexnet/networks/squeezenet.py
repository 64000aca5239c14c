"""SqueezeNet: fire modules, which squeeze with 1 x 1 convolutions and expand with 1 x 1 and 3 x 3 ones.

References:
  - `squeezenet`, `squeezenet_v1_1`: Iandola et al. 2016 (arXiv:1602.07360); the prototxt and solver files of
    DeepScale/SqueezeNet (layers, initialization, weight decay). Their version 1.0 adds a border of zeros before conv10,
    which neither version 1.1 nor torchvision has; it is left out.
  - `squeezenet_cifar`: the survey's network for 32 pixels: batch normalization and ReLU before each convolution,
    additive bypasses around every second fire module (nutszebra/squeeze_net), and a 3 x 3 stem without stride. Weight
    decay: the same.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.inputs import Preprocessing
from keras_alexnet.networks.network import Network


@dataclass(frozen=True)
class Fire:
    """A network of fire modules.

    Attributes:
      stem: filters, kernel size, stride and padding of the first convolution.
      modules: (squeeze, expand) filters of each module, numbered from 2; "max" is a 3 x 3 max pooling of stride 2.
      pre_activation: batch normalization and ReLU before each convolution but the first, and bypasses around `bypassed`
        modules; else ReLU after each convolution.
      bypassed: numbers of the modules with a bypass.
      image_size, resize_size, preprocessing, weight_decay: see `Network`.
      least: smallest side of an image.
    """

    stem: tuple[int, int, int, str]
    modules: tuple[tuple[int, int] | Literal["max"], ...]
    image_size: int = 227
    resize_size: int = 256
    preprocessing: Preprocessing = inputs.CAFFE
    weight_decay: float = 0.0002
    least: int = 21
    pre_activation: bool = False
    bypassed: tuple[int, ...] = ()


_V1_0 = Fire(
    stem=(96, 7, 2, "valid"),
    modules=(
        *("max", (16, 64), (16, 64), (32, 128)),
        *("max", (32, 128), (48, 192), (48, 192), (64, 256)),
        *("max", (64, 256)),
    ),
)
_NETWORKS = {
    "squeezenet": _V1_0,
    "squeezenet_v1_1": Fire(
        stem=(64, 3, 2, "valid"),
        modules=(
            *("max", (16, 64), (16, 64)),
            *("max", (32, 128), (32, 128)),
            *("max", (48, 192), (48, 192), (64, 256), (64, 256)),
        ),
    ),
    "squeezenet_cifar": Fire(
        stem=(96, 3, 1, "same"),
        modules=_V1_0.modules,
        image_size=32,
        resize_size=32,
        preprocessing=inputs.CIFAR,
        weight_decay=0.0001,
        least=8,
        pre_activation=True,
        bypassed=(3, 5, 7, 9),
    ),
}


def networks() -> list[Network]:
    """The networks of this module."""
    return [
        Network(
            name=name,
            build=functools.partial(_build, name, fire),
            image_size=fire.image_size,
            resize_size=fire.resize_size,
            resize_policy="shorter_side",
            weight_decay=fire.weight_decay,
            features_layer=None,
            options=("width",) if fire.pre_activation else ("width", "init"),
        )
        for name, fire in _NETWORKS.items()
    ]


def _build(
    name: str,
    fire: Fire,
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
    width: float = 1.0,
    init: str = "paper",
) -> Any:
    import keras

    images, maps = inputs.image_input(name, image_size, fire.least, fire.preprocessing, init)
    kernel = "he" if fire.pre_activation or init == "he" else "xavier"
    unit = functools.partial(_unit, pre_activation=fire.pre_activation, kernel=kernel)
    filters, size, strides, padding = fire.stem
    filters = blocks.scaled(filters, width)
    maps = blocks.convolution(maps, filters, size, strides, padding, name="conv1", kernel=kernel)
    maps = maps if fire.pre_activation else blocks.relu(maps, "conv1_relu")
    number = 2
    for module in fire.modules:
        if module == "max":
            maps = blocks.max_pool(maps, f"pool{number - 1}")
            continue
        squeeze, expand = (blocks.scaled(size, width) for size in module)
        outputs = _fire(maps, squeeze, expand, unit, f"fire{number}")
        bypass = number in fire.bypassed
        maps = keras.layers.Add(name=f"fire{number}_bypass")([maps, outputs]) if bypass else outputs
        number += 1
    maps = blocks.dropout(maps, 0.5, f"fire{number - 1}_dropout")
    maps = unit(maps, classes, 1, name="conv10", kernel="he" if kernel == "he" else 0.01)
    logits = keras.layers.GlobalAveragePooling2D(name="global_pool")(maps)
    return keras.Model(images, blocks.output(logits, classifier_activation), name=name)


def _fire(maps: Any, squeeze: int, expand: int, unit: Any, name: str) -> Any:
    import keras

    squeezed = unit(maps, squeeze, 1, name=f"{name}_squeeze1x1")
    expanded = [unit(squeezed, expand, size, name=f"{name}_expand{size}x{size}") for size in (1, 3)]
    return keras.layers.Concatenate(name=f"{name}_concat")(expanded)


def _unit(maps: Any, filters: int, size: int, *, name: str, pre_activation: bool, kernel: str | float) -> Any:
    if pre_activation:
        maps = blocks.relu(blocks.batch_norm(maps, f"{name}_bn"), f"{name}_relu")
        return blocks.convolution(maps, filters, size, name=name, kernel=kernel)
    return blocks.relu(blocks.convolution(maps, filters, size, name=name, kernel=kernel), f"{name}_relu")
