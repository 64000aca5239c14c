"""Converts kernels of other frameworks to ours: one kernel and one bias per tower (`keras_alexnet.layers`)."""

import math

import numpy as np

from keras_alexnet.layers.tower_layers import TowerConv2D, TowerDense
from keras_alexnet.weights.formats import Layout

WeightLayer = TowerConv2D | TowerDense


def kernel_shape(layer: WeightLayer, layout: Layout) -> tuple[int, ...]:
    """The shape of the kernel of `layer`, all towers together, in a file of this layout."""
    *shape, outputs = layer.kernels[0].shape
    shape = (*shape, outputs * layer.towers)
    if layout.axes == "HWIO":
        return shape
    return shape[::-1] if len(shape) == 2 else (shape[3], shape[2], shape[0], shape[1])


def per_tower(
    kernel: np.ndarray, bias: np.ndarray, layer: WeightLayer, below: WeightLayer | None, layout: Layout
) -> list[np.ndarray]:
    """Converts the kernel and bias of all towers to the arrays of `layer.get_weights()`.

    Args:
      kernel: of shape `kernel_shape(layer, layout)`.
      bias: `[outputs]`.
      layer: a built layer.
      below: the layer with weights before it; None if `layer` reads the image.
      layout: of the kernel.
    """
    if kernel.ndim == 4:
        kernel = kernel.transpose(2, 3, 1, 0) if layout.axes == "OIHW" else kernel
        if below is None and layout.bgr:
            kernel = kernel[:, :, ::-1]
    else:
        kernel = kernel.T if layout.axes == "OIHW" else kernel
        if isinstance(below, TowerConv2D):
            kernel = _rows_by_tower(kernel, below, layout)
    kernels, biases = np.split(kernel, layer.towers, axis=-1), np.split(bias, layer.towers)
    return [array for pair in zip(kernels, biases, strict=True) for array in pair]


def _rows_by_tower(kernel: np.ndarray, below: WeightLayer, layout: Layout) -> np.ndarray:
    """Reorders rows to tower, height, width, channel; in files the channels of all towers are adjacent."""
    rows, outputs = kernel.shape
    channels = below.size // below.towers
    # Images and maps are square.
    side = math.isqrt(rows // below.size)
    if layout.axes == "OIHW":
        maps = kernel.reshape(below.towers, channels, side, side, outputs).transpose(0, 2, 3, 1, 4)
    else:
        maps = kernel.reshape(side, side, below.towers, channels, outputs).transpose(2, 0, 1, 3, 4)
    return maps.reshape(rows, outputs)
