"""Keras layers of AlexNet, and regularization layers of the networks that followed.

Layers pass a list of tensors `[N, H, W, channels / towers]`, one per tower, to each other. A layer with a single tower
maps a tensor to a tensor. `layer.get_weights()` returns kernel and bias of tower 0, then of tower 1.
"""

from keras_alexnet.layers.activation import TowerActivation
from keras_alexnet.layers.batch_normalization import BatchNormalization
from keras_alexnet.layers.drop_path import DropPathColumn, DropPathJoin
from keras_alexnet.layers.grouped_convolution import GroupedConv2D
from keras_alexnet.layers.lenet import PartialConv2D, RadialBasisOutput, TrainableSubsampling, scaled_tanh
from keras_alexnet.layers.locally_connected import LocallyConnected2D
from keras_alexnet.layers.normalization import LocalResponseNormalization, MapResponseNormalization
from keras_alexnet.layers.pooling import OverlappingMaxPool
from keras_alexnet.layers.preprocessing import MeanSubtraction
from keras_alexnet.layers.regularisers import TowerDropout
from keras_alexnet.layers.shake import ShakeDrop, ShakeShake
from keras_alexnet.layers.stochastic_depth import StochasticDepth, Swapout, stochastic_inference
from keras_alexnet.layers.tower_layers import TowerConv2D, TowerDense

__all__ = [
    "BatchNormalization",
    "DropPathColumn",
    "DropPathJoin",
    "GroupedConv2D",
    "LocalResponseNormalization",
    "LocallyConnected2D",
    "MapResponseNormalization",
    "MeanSubtraction",
    "OverlappingMaxPool",
    "PartialConv2D",
    "RadialBasisOutput",
    "ShakeDrop",
    "ShakeShake",
    "StochasticDepth",
    "Swapout",
    "TowerActivation",
    "TowerConv2D",
    "TowerDense",
    "TowerDropout",
    "TrainableSubsampling",
    "scaled_tanh",
    "stochastic_inference",
]
