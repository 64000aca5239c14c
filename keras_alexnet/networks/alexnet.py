"""AlexNet's variants as networks."""

import dataclasses
import functools
import itertools
from typing import Any

from keras_alexnet.networks.network import Network
from keras_alexnet.variants import VARIANTS, Variant
from keras_alexnet.variants.architecture import Convolution, Pooling


def networks() -> list[Network]:
    """One network for each variant."""
    return [
        Network(
            name=name,
            build=functools.partial(_build, variant),
            image_size=variant.crop_size,
            resize_size=256,
            resize_policy=variant.resize,
            weight_decay=variant.weight_decay,
            features_layer="fc7",
            options=("width", "init", "mean"),
            towers=variant.towers,
            mean=variant.mean,
            rgb_mean=variant.rgb_mean,
            mean_crop=variant.mean_crop,
            color_augmentation=variant.color_augmentation,
            bias_lr_multiplier=variant.bias_lr_multiplier,
            decay_biases=variant.decay_biases,
        )
        for name, variant in VARIANTS.items()
    ]


def _build(
    variant: Variant, classes: int, image_size: int, classifier_activation: str | None = "softmax", **options: Any
) -> Any:
    from keras_alexnet.model import AlexNet

    if _side_of_maps(variant, image_size) < 1:
        least = next(side for side in itertools.count(image_size + 1) if _side_of_maps(variant, side) >= 1)
        raise ValueError(f"image_size={image_size}: too small for {variant.name}; expected at least {least}")
    # The kernels do not depend on the size of the image, except for those of fc6.
    variant = dataclasses.replace(variant, crop_size=image_size)
    return AlexNet(variant, classes=classes, classifier_activation=classifier_activation, **options)


def _side_of_maps(variant: Variant, side: int) -> int:
    """The side of the last layer's maps for images of this side; less than 1 if a kernel or window does not fit."""
    for layer in variant.layers:
        if isinstance(layer, Convolution):
            side = (side + layer.padding[0] + layer.padding[1] - layer.kernel_size) // layer.strides + 1
        elif isinstance(layer, Pooling):
            side = (side - layer.size) // layer.strides + 1
        if side < 1:
            return side
    return side
