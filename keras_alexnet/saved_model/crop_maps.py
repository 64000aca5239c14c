"""The outputs of a layer for ten crops of an image: what they have in common, and the frame of each crop."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.layers import OverlappingMaxPool, TowerConv2D
from keras_alexnet.layers.tower_layers import as_list, concatenate

Towers = list[tf.Tensor]


@dataclass(frozen=True)
class Geometry:
    """Which of a layer's outputs for a crop are shared: rows and columns `first` to `last - 1` of `size`.

    Attributes:
      size: rows and columns of the outputs for one crop.
      first, last: see above; the other outputs are the frame of each crop.
      corners: of each of five crops, the row and column of the shared outputs at which it begins, whether or not these
        are part of its own; may be negative.
    """

    size: int
    first: int
    last: int
    corners: tuple[tuple[int, int], ...]

    def behind(self, layer: keras.layers.Layer) -> "Geometry | None":
        """The geometry of the outputs of a convolution or pool; None if the crops can share none of them."""
        kernel, stride, zeros = _windows(layer)
        _, size, width, _ = as_list(layer.output)[0].shape
        is_square = size == width and (not isinstance(layer, TowerConv2D) or layer.padding[2] == zeros)
        if not is_square or any((place - zeros) % stride for corner in self.corners for place in corner):
            return None
        first = -(-(self.first + zeros) // stride)
        last = min((self.last - kernel + zeros) // stride + 1, size)
        corners = tuple(((y - zeros) // stride, (x - zeros) // stride) for y, x in self.corners)
        return Geometry(size, first, last, corners) if first < last else None

    @property
    def shared_fraction(self) -> float:
        """The fraction of a crop's outputs that are shared."""
        return ((self.last - self.first) / self.size) ** 2


@dataclass(frozen=True)
class CropMaps:
    """The outputs of a layer for ten crops of N images: shared outputs, and the frame of each crop.

    Attributes:
      geometry: which rows and columns are in which.
      shared: the shared outputs `[2 N, H, W, C]` per tower, once for all crops or once for each of the five.
      top, bottom, left, right: the frame `[10 N, ...]`; left and right of the shared rows only. Empty lists where the
        frame has no rows or columns.
    """

    geometry: Geometry
    shared: Sequence[Towers]
    top: Towers
    bottom: Towers
    left: Towers
    right: Towers

    def map(self, function: Callable[[Towers], Towers]) -> "CropMaps":
        """Applies a function that works pixel by pixel."""
        frame = [function(towers) if towers else [] for towers in (self.top, self.bottom, self.left, self.right)]
        return CropMaps(self.geometry, [function(towers) for towers in self.shared], *frame)

    def behind(self, layer: keras.layers.Layer) -> "CropMaps":
        """The outputs of a convolution or pool."""
        geometry = self.geometry.behind(layer)
        assert geometry is not None, layer
        size, first, last = geometry.size, geometry.first, geometry.last
        return CropMaps(
            geometry,
            [_windows_of(layer, towers) for towers in self.shared],
            self._frame(layer, range(first), range(size)),
            self._frame(layer, range(last, size), range(size)),
            self._frame(layer, range(first, last), range(first)),
            self._frame(layer, range(first, last), range(last, size)),
        )

    def region(self, rows: range, columns: range) -> Towers:
        """Some rows and columns of all crops, `[10 N, rows, columns, C]` per tower; empty if there are none."""
        first, last = self.geometry.first, self.geometry.last
        above, within, below = _parts(rows, first, last)
        before, between, behind = _parts(columns, first, last)
        left = cut(self.left, within, before, -first, 0)
        right = cut(self.right, within, behind, -first, -last)
        middle = _joined([left, self._shared_region(within, between), right], 2)
        return _joined([cut(self.top, above, columns), middle, cut(self.bottom, below, columns, -last, 0)], 1)

    def _shared_region(self, rows: range, columns: range) -> Towers:
        shared = itertools.cycle(self.shared)
        crops = [cut(next(shared), rows, columns, y, x) for y, x in self.geometry.corners]
        return _joined(crops, 0)

    def _frame(self, layer: keras.layers.Layer, rows: range, columns: range) -> Towers:
        """Some outputs of a layer for each crop, from the inputs that they read."""
        if not rows or not columns:
            return []
        kernel, stride, zeros = _windows(layer)
        needed = [range(part.start * stride - zeros, part[-1] * stride - zeros + kernel) for part in (rows, columns)]
        size = self.geometry.size
        inputs = self.region(*(range(max(part.start, 0), min(part.stop, size)) for part in needed))
        return _windows_of(layer, inputs, [(max(-part.start, 0), max(part.stop - size, 0)) for part in needed])


def _windows(layer: keras.layers.Layer) -> tuple[int, int, int]:
    """Side and stride of the windows, and the zeros above and to the left of the maps."""
    if isinstance(layer, OverlappingMaxPool):
        return layer.pool_size, layer.strides, 0
    return layer.kernel_size, layer.strides, layer.padding[0]


def _windows_of(
    layer: keras.layers.Layer, towers: Towers, zeros: Sequence[tuple[int, int]] = ((0, 0), (0, 0))
) -> Towers:
    """The outputs of a convolution or pool for all windows in `towers`, with zeros above, below, left and right."""
    if isinstance(layer, OverlappingMaxPool):
        return as_list(layer(towers))  # adds what it needs itself
    towers = [tf.pad(maps, [(0, 0), *zeros, (0, 0)]) if np.any(zeros) else maps for maps in towers]
    # oneDNN computes a row at a time, so that narrow maps are faster when they are long ones.
    is_narrow = towers[0].shape[1] > towers[0].shape[2]
    turn = (lambda maps: tf.transpose(maps, [0, 2, 1, 3])) if is_narrow else tf.identity
    outputs = []
    for index, (weights, bias) in enumerate(zip(layer.kernels, layer.biases, strict=True)):
        read = concatenate(towers[index : index + 1] if layer.connectivity == "grouped" else towers)
        kernel = tf.convert_to_tensor(weights)
        kernel = tf.transpose(kernel, [1, 0, 2, 3]) if is_narrow else kernel
        maps = tf.nn.conv2d(turn(tf.cast(read, kernel.dtype)), kernel, layer.strides, "VALID")
        outputs.append(turn(tf.nn.bias_add(maps, tf.convert_to_tensor(bias))))
    return outputs


def _parts(places: range, first: int, last: int) -> tuple[range, range, range]:
    """The places before `first`, from there before `last`, and from there."""
    start, stop = places.start, places.stop
    return range(start, min(stop, first)), range(max(start, first), min(stop, last)), range(max(start, last), stop)


def cut(towers: Towers, rows: range, columns: range, y: int = 0, x: int = 0) -> Towers:
    """Rows and columns of maps, counted from (y, x); an empty list if there are none."""
    if not rows or not columns:
        return []
    return [maps[:, y + rows.start : y + rows.stop, x + columns.start : x + columns.stop] for maps in towers]


def _joined(parts: Sequence[Towers], axis: int) -> Towers:
    """The parts that are not empty, one behind the other; an empty list if there are none."""
    found = [part for part in parts if part]
    return found[0] if len(found) == 1 else [tf.concat(maps, axis) for maps in zip(*found, strict=True)]
