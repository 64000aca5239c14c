"""Networks of keras-hub that neither `keras.applications` nor this package has: ResNet-18 and ResNet-34.

keras-hub is the optional extra `hub`. A saved model consists of Keras' own layers; loading it does not need keras-hub.

References: He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, CVPR 2016, Table 1 and section 3.4
(weight decay); keras-hub's `ResNetBackbone`, whose padding and projection shortcuts are torchvision's.
"""

import functools
from typing import Any

from keras_alexnet.networks import blocks, inputs
from keras_alexnet.networks.network import Network

# The number of blocks in each stage.
_BLOCKS = {"resnet_18": (2, 2, 2, 2), "resnet_34": (3, 4, 6, 3)}


def networks() -> list[Network]:
    """The networks of this module, whether or not keras-hub is installed."""
    return [
        Network(
            name=name,
            build=functools.partial(_build, name, counts),
            image_size=224,
            resize_size=256,
            resize_policy="shorter_side",
            weight_decay=0.0001,
            features_layer="global_pool",
        )
        for name, counts in _BLOCKS.items()
    ]


def _build(
    name: str,
    counts: tuple[int, ...],
    classes: int,
    image_size: int,
    classifier_activation: str | None = "softmax",
) -> Any:
    import keras

    try:
        from keras_hub.models import ResNetBackbone
    except ImportError as error:
        raise ValueError(f"network={name}: needs keras-hub: pip install 'keras-alexnet[hub]'") from error

    images, maps = inputs.image_input(name, image_size, 32, inputs.IMAGENET)
    backbone = ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=counts,
        stackwise_num_strides=(1, 2, 2, 2),
        block_type="basic_block",
        image_shape=(image_size, image_size, 3),
    )
    # Without keras-hub's class around the layers.
    maps = keras.Model(backbone.inputs, backbone.outputs[0], name="backbone")(maps)
    features = keras.layers.GlobalAveragePooling2D(name="global_pool")(maps)
    return keras.Model(images, blocks.output(blocks.classifier(features, classes), classifier_activation), name=name)
