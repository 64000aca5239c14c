"""ZFNet, Network in Network, and VGG-16 for CIFAR.

References:
  - `zfnet`: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, Figure 3 and section 3
    (initialization). The constants of its normalization are not printed; these are AlexNet's. It does not state its
    weight decay either.
  - `nin`: Lin, Chen, Yan, Network in Network, ICLR 2014, as in its code (mavenlin/cuda-convnet, NIN/cifar-10_def and
    cifar-10_params: initialization). Weight decay: its Caffe port.
  - `nin_imagenet`: the Caffe model zoo's "NIN ImageNet", train_val.prototxt and solver.prototxt.
  - `vgg16_cifar`: Simonyan and Zisserman, ICLR 2015, configuration D with batch normalization, and one instead of three
    fully connected layers, as szagoruyko/cifar.torch and later CIFAR ports. Weight decay: the same.
"""

from keras_alexnet.networks import inputs
from keras_alexnet.networks.network import Network
from keras_alexnet.networks.plain_builder import network
from keras_alexnet.networks.stack import Stack, Weights


def _mlpconv(first: Weights, *sizes: int | None, index: int) -> tuple[Weights | str, ...]:
    """A convolution and 1 x 1 convolutions ("cccp" in the code), each with its ReLU."""
    layers: list[Weights | str] = [first, "act"]
    for place, size in enumerate(sizes):
        layers += [Weights(f"cccp{index + place}", size, 1, kernel=0.05), "act"]
    return tuple(layers)


_ZFNET = Stack(
    layers=(
        *(Weights("conv1", 96, 7, 2, padding=1, kernel=0.01), "act", "max", "lrn"),
        *(Weights("conv2", 256, 5, 2, padding="valid", kernel=0.01), "act", "max", "lrn"),
        *(Weights("conv3", 384, 3, kernel=0.01), "act", Weights("conv4", 384, 3, kernel=0.01), "act"),
        *(Weights("conv5", 256, 3, kernel=0.01), "act", "max", "flatten"),
        *(Weights("fc6", 4096, kernel=0.01), "act", "dropout", Weights("fc7", 4096, kernel=0.01), "act", "dropout"),
        Weights("fc8", None, kernel=0.01),
    ),
    image_size=224,
    preprocessing=inputs.IMAGENET_MEAN,
    least=63,
    weight_decay=0.0005,
    features_layer="fc7_act",
)
_NIN = Stack(
    layers=(
        *(*_mlpconv(Weights("conv1", 192, 5, kernel=0.05), 160, 96, index=1), "max", "dropout"),
        *(*_mlpconv(Weights("conv2", 192, 5, kernel=0.05), 192, 192, index=3), "max", "dropout"),
        *(*_mlpconv(Weights("conv3", 192, 3, kernel=0.05), 192, None, index=5), "global"),
    ),
    image_size=32,
    resize_size=32,
    preprocessing=inputs.CIFAR,
    least=8,
    weight_decay=0.0001,
)
_NIN_IMAGENET = Stack(
    layers=(
        *(*_mlpconv(Weights("conv1", 96, 11, 4, padding="valid", kernel=0.01), 96, 96, index=1), "max"),
        *(*_mlpconv(Weights("conv2", 256, 5, kernel=0.05), 256, 256, index=3), "max"),
        *(*_mlpconv(Weights("conv3", 384, 3, kernel=0.01), 384, 384, index=5), "max", "dropout"),
        *_mlpconv(Weights("conv4", 1024, 3, kernel=0.05), 1024, index=7),
        *(Weights("cccp8", None, 1, kernel=0.01), "act", "global"),
    ),
    image_size=224,
    preprocessing=inputs.CAFFE,
    least=67,
    weight_decay=0.0005,
)


def _vgg16_cifar() -> Stack:
    layers: list[Weights | str] = []
    for block, (filters, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for place in range(1, count + 1):
            layers += [Weights(f"conv{block}_{place}", filters, 3, bias=None), "bn", "act"]
        layers.append("max2")
    return Stack(
        layers=(*layers, "flatten", Weights("fc", None, kernel="xavier")),
        image_size=32,
        resize_size=32,
        preprocessing=inputs.CIFAR,
        least=32,
        weight_decay=0.0005,
        options=("width",),
    )


def networks() -> list[Network]:
    """The networks of this module."""
    stacks = {"zfnet": _ZFNET, "nin": _NIN, "nin_imagenet": _NIN_IMAGENET, "vgg16_cifar": _vgg16_cifar()}
    return [network(name, stack) for name, stack in stacks.items()]
