"""The CIFAR-10 networks of the AlexNet paper, from cuda-convnet.

References (layers-*.cfg and layer-params-*.cfg of cuda-convnet's example-layers; Krizhevsky 2011):
  - `convnet_13pct`: layers-conv-local-13pct.cfg, the paper's "four-layer" network with 13 % error (section 3.3).
  - `convnet_13pct_lrn`: the first version of layers-conv-local-11pct.cfg (revision 540, replaced minutes later): the
    same network with LRN over 5 channels (scale 0.001, power 0.75) after the ReLU of both convolutions.
  - `convnet_11pct`: layers-conv-local-11pct.cfg, the paper's 11 % with LRN. The first locally connected layer has 64
    instead of 32 filters, and pooling comes before the first LRN: it differs by more than LRN.
  - `figure1_convnet`: layers-19pct.cfg without weight decay. The paper does not specify the network of Figure 1; this
    is the closest published one with four layers of weights.

Images of the first three are 24-pixel crops of 32 pixels, and their published errors are of nine crops. Training there:
momentum 0.9, batch 128, learning rate 0.001; twice that for biases, as here.
"""

import dataclasses

from keras_alexnet.networks import inputs
from keras_alexnet.networks.network import Network
from keras_alexnet.networks.plain_builder import network
from keras_alexnet.networks.stack import Stack, Weights

# cuda-convnet divides `scale` by the number of channels in the window.
_LRN_5 = (2, 1.0, 0.001 / 5, 0.75)
_LRN_9 = (4, 1.0, 0.001 / 9, 0.75)

# initW of the .cfg files; wc, the weight decay, of the layer-params files. Convolutions have none.
_CONV1 = Weights("conv1", 64, 5, kernel=0.0001)
_CONV2 = Weights("conv2", 64, 5, kernel=0.01)
_LOCAL3 = Weights("local3", 32, 3, local=True, kernel=0.04, decay=0.004)
_LOCAL4 = Weights("local4", 32, 3, local=True, kernel=0.04, decay=0.004)
_FC10 = Weights("fc10", None, kernel=0.01, decay=0.004)
_HEAD = (_LOCAL3, "act", _LOCAL4, "act", "flatten", _FC10)

_CONVNET_13PCT = Stack(
    layers=(_CONV1, "act", "max", _CONV2, "act", "max", *_HEAD),
    image_size=24,
    resize_size=32,
    preprocessing=inputs.CIFAR_MEAN,
    least=8,
    weight_decay=0.0,
    bias_lr_multiplier=2.0,  # epsB 0.002, epsW 0.001
    options=("width", "init", "pool_size"),
    published_crops="nine",
)
_STACKS = {
    "convnet_13pct": _CONVNET_13PCT,
    "convnet_13pct_lrn": dataclasses.replace(
        _CONVNET_13PCT, layers=(_CONV1, "act", "lrn", "max", _CONV2, "act", "lrn", "max", *_HEAD), lrn=_LRN_5
    ),
    "convnet_11pct": dataclasses.replace(
        _CONVNET_13PCT,
        layers=(
            *(_CONV1, "act", "max", "lrn", _CONV2, "act", "lrn", "max"),
            *(dataclasses.replace(_LOCAL3, size=64), "act", _LOCAL4, "act", "flatten"),
            dataclasses.replace(_FC10, decay=0.01),
        ),
        lrn=_LRN_9,
    ),
    "figure1_convnet": Stack(
        layers=(
            *(Weights("conv1", 32, 5, kernel=0.0001), "max", "act"),
            *(Weights("conv2", 32, 5, kernel=0.01), "act", "average"),
            *(Weights("conv3", 64, 5, kernel=0.01), "act", "average"),
            *("flatten", Weights("fc10", None, kernel=0.01)),
        ),
        image_size=32,
        resize_size=32,
        preprocessing=inputs.CIFAR_MEAN,
        least=8,
        weight_decay=0.0,
        options=("width", "init", "activation"),
    ),
}


def networks() -> list[Network]:
    """The networks of this module."""
    return [network(name, stack) for name, stack in _STACKS.items()]
