"""The first layers of the ten crops, computed once for all crops where that gives what each crop would give.

The crops overlap, and those of the paper begin at multiples of 16 pixels: a multiple of the 8 pixels from one window of
pool1 to the next. So convolution, normalization and pooling of the whole resized image and of its horizontal flip
contain nearly all that the ten crops need. Only the windows of the convolution that reach the zero padding of a crop
are left: its last row and column, and the windows of the pool that read them.

With a mean image, each crop subtracts it at another place of the resized image. The convolution is linear and can still
be shared: conv(crop - mean) = conv(crop) - conv(mean). The layers after it cannot.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.layers import (
    LocalResponseNormalization,
    MeanSubtraction,
    OverlappingMaxPool,
    TowerActivation,
    TowerConv2D,
)
from keras_alexnet.layers.preprocessing import centered
from keras_alexnet.layers.tower_layers import as_list
from pipelines.choices import RESIZED_SIZE
from pipelines.images.crops import five_corners

Towers = list[tf.Tensor]
# function of (layers, towers below) -> towers above
Run = Callable[[Sequence[keras.layers.Layer], Towers], Towers]
# function of (rows, columns) -> these of a crop's maps
Region = Callable[[slice, slice], Towers]


@dataclass(frozen=True)
class _First:
    """The layers that are shared: a convolution, layers that work pixel by pixel, a pool, and such layers again.

    `interior` of the `every` windows in a row or column of the convolution read no zero padding; `pooled` of those of
    the pool read only these.
    """

    convolution: TowerConv2D
    by_pixel: Sequence[keras.layers.Layer]
    pool: OverlappingMaxPool
    after: Sequence[keras.layers.Layer]
    interior: int
    every: int

    @property
    def pooled(self) -> int:
        return (self.interior - self.pool.pool_size) // self.pool.strides + 1

    @property
    def step(self) -> int:
        """Pixels from one window of the pool to the next."""
        return self.convolution.strides * self.pool.strides


class SharedCrops:
    """The outputs of the first layers of a network for the ten crops of resized images.

    Args:
      centring: subtracts the mean.
      layers: `shareable_layers` of the network, not empty.
      size: side of a crop in pixels.
      run: how layers are applied.
      resized_size: side of the resized images in pixels.
    """

    def __init__(
        self,
        centring: MeanSubtraction,
        layers: Sequence[keras.layers.Layer],
        size: int,
        run: Run,
        resized_size: int = RESIZED_SIZE,
    ):
        first = _first(layers, size)
        assert first is not None, layers
        self._first, self._size, self._run = first, size, run
        self._corners = five_corners(size, resized_size)
        self._mean, self._scale = centring.mean, np.asarray(centring.scale, np.float32)
        # Of a mean image, all but its average is subtracted behind the convolution. Without the average subtracted
        # before, large numbers would cancel out there.
        self._average = centring.mean.reshape(-1, 3).mean(0)
        self._is_linear_only = centring.mean.ndim == 3
        self._convolved_mean = self._convolve_mean() if self._is_linear_only else []

    def __call__(self, images: tf.Tensor) -> Towers:
        """uint8 `[N,R,R,3]` -> towers `[10 N, H, W, C]`; the N images of the first crop come first."""
        first = self._first
        pixels = tf.cast(images, tf.float32)
        pixels = tf.concat([pixels, tf.reverse(pixels, [2])], 0)
        inner, regions = self._inner(centered(pixels, self._average, self._scale))
        if first.interior < first.every:
            below, beside = self._beyond(pixels, regions)
            inner = _joined(_joined(inner, beside, 2), below, 1)
        return self._run(first.after, inner)

    def _inner(self, whole: tf.Tensor) -> tuple[Towers, list[Region]]:
        """The pool's windows that read no zero padding, of all crops; the pool's input, for each of five crops."""
        first = self._first
        convolved = self._run([first.convolution], [whole])
        if self._is_linear_only:
            # Crop by crop up to where they have become small: less goes through memory at a time.
            means = [tf.constant(mean[:, : first.interior, : first.interior]) for mean in self._convolved_mean]
            regions = [self._region_of_crop(convolved, means, y, x) for y, x in self._corners]
            every, count = slice(first.interior), slice(first.pooled)
            pools = [self._run([first.pool], region(every, every)) for region in regions]
            crops = [_region(pooled, 0, 0, 1)(count, count) for pooled in pools]
        else:
            maps = self._run(first.by_pixel, convolved)
            regions = [_region(maps, y, x, first.convolution.strides) for y, x in self._corners]
            pooled, count = self._run([first.pool], maps), slice(first.pooled)
            crops = [_region(pooled, y, x, first.step)(count, count) for y, x in self._corners]
        return _stacked(crops), regions

    def _region_of_crop(self, convolved: Towers, means: Towers, y: int, x: int) -> Region:
        count = self._first.interior
        cut = _region(convolved, y, x, self._first.convolution.strides)(slice(count), slice(count))
        centred = [tf.cast(maps, tf.float32) - mean for maps, mean in zip(cut, means, strict=True)]
        return _region(self._run(self._first.by_pixel, centred), 0, 0, 1)

    def _beyond(self, pixels: tf.Tensor, regions: Sequence[Region]) -> tuple[Towers, Towers]:
        """The pool's last windows: below the others, over the whole width, and at their right."""
        first, size = self._first, self._size
        interior, start = first.interior, first.interior * first.convolution.strides
        height = (interior - 1) * first.convolution.strides + first.convolution.kernel_size
        bottom = [pixels[:, y + start : y + size, x : x + size] for y, x in self._corners]
        right = [pixels[:, y : y + height, x + start : x + size] for y, x in self._corners]
        mean = np.broadcast_to(self._mean, (size, size, 3))
        row = self._strip(centered(tf.concat(bottom, 0), mean[start:], self._scale))
        columns = self._strip(centered(tf.concat(right, 0), mean[:height, start:], self._scale))
        column = [maps[:, :interior] for maps in columns]

        # The last windows of the pool read these and what is beside them.
        seen = first.pooled * first.pool.strides
        last = slice(seen, interior)
        rows = _stacked([region(last, slice(interior)) for region in regions])
        below = _joined(_joined(rows, [maps[:, seen:] for maps in column], 2), row, 1)
        columns = _stacked([region(slice(interior), last) for region in regions])
        beside = self._run([first.pool], _joined(columns, column, 2))
        return self._run([first.pool], below), [maps[:, : first.pooled] for maps in beside]

    def _strip(self, pixels: tf.Tensor) -> Towers:
        """The input of the pool for centred `pixels` at the lower or right end of a crop."""
        convolution = self._first.convolution
        _, bottom, _, right = convolution.padding
        pixels = tf.pad(pixels, [[0, 0], [0, bottom], [0, right], [0, 0]])
        towers = []
        for kernel, bias in zip(convolution.kernels, convolution.biases, strict=True):
            # Always in float32: the rounding of oneDNN's convolution of such a narrow strip in bfloat16 depends on the
            # batch.
            maps = tf.nn.conv2d(pixels, tf.cast(kernel, tf.float32), convolution.strides, "VALID")
            towers.append(tf.nn.bias_add(maps, tf.cast(bias, tf.float32)))
        return self._run(self._first.by_pixel, towers)

    def _convolve_mean(self) -> list[np.ndarray]:
        """What the convolution makes of the mean image without its average, float32 `[1, H, W, C]` a tower."""
        convolution = self._first.convolution
        with tf.init_scope():
            towers = as_list(convolution([tf.constant(((self._mean - self._average) * self._scale)[np.newaxis])]))
            biases = [tf.cast(bias, tf.float32) for bias in convolution.biases]
            return [(tf.cast(maps, tf.float32) - bias).numpy() for maps, bias in zip(towers, biases, strict=True)]


def shareable_layers(
    layers: Sequence[keras.layers.Layer], size: int, resized_size: int = RESIZED_SIZE
) -> list[keras.layers.Layer]:
    """The first of `layers` (without the one that subtracts the mean) that `SharedCrops` can compute; may be none.

    These are a convolution and its pool, and what works pixel by pixel between and behind them. Crops must begin at
    multiples of the windows' step, and zeros may be padded below and at the right only, equally many.
    """
    if not layers or not isinstance(layers[0], TowerConv2D):
        return []
    top, bottom, left, right = layers[0].padding
    if top or left or bottom != right:
        return []
    first = _first(layers, size)
    if first is None or first.pooled < 1:
        return []
    if first.interior == first.every and first.pooled < as_list(first.pool.output)[0].shape[1]:
        return []
    begin_at_windows = all(start % first.step == 0 for corner in five_corners(size, resized_size) for start in corner)
    return [first.convolution, *first.by_pixel, first.pool, *first.after] if begin_at_windows else []


def _first(layers: Sequence[keras.layers.Layer], size: int) -> _First | None:
    """The layers up to the pool and those behind it that work pixel by pixel; None if there is no such pool."""
    convolution, *others = layers
    by_pixel = list(itertools.takewhile(_is_by_pixel, others))
    pool, *others = others[len(by_pixel) :] or [None]
    if not isinstance(pool, OverlappingMaxPool):
        return None
    every = as_list(convolution.output)[0].shape[1]
    interior = min((size - convolution.kernel_size) // convolution.strides + 1, every)
    return _First(convolution, by_pixel, pool, list(itertools.takewhile(_is_by_pixel, others)), interior, every)


def _is_by_pixel(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, LocalResponseNormalization | TowerActivation)


def _region(towers: Towers, y: int, x: int, step: int) -> Region:
    """What gives rows and columns of the part of `towers` that begins `step` pixels a window behind (y, x)."""
    top, left = y // step, x // step

    def region(rows: slice, columns: slice) -> Towers:
        rows, columns = slice(rows.start or 0, rows.stop), slice(columns.start or 0, columns.stop)
        down, across = slice(top + rows.start, top + rows.stop), slice(left + columns.start, left + columns.stop)
        return [maps[:, down, across] for maps in towers]

    return region


def _stacked(crops: Sequence[Towers]) -> Towers:
    return [tf.concat(maps, 0) for maps in zip(*crops, strict=True)]


def _joined(towers: Towers, others: Towers, axis: int) -> Towers:
    return [tf.concat(maps, axis) for maps in zip(towers, others, strict=True)]
