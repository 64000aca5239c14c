"""The first layers of the ten views, computed once for all views where that gives what each view would give.

The views overlap, and those of the paper begin at multiples of 16 pixels: a multiple of the 8 pixels from one window of
pool1 to the next. So convolution, normalisation and pooling of the whole stored image and of its mirror image hold
nearly all that the ten views need. Only the windows that reach the zeros beyond a view are left: its last row and
column.

A mean image is another matter: each view subtracts it at another place of the stored image. The convolution is linear
and can still be shared: conv(view - mean) = conv(view) - conv(mean). What comes after it cannot.
"""

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
from pipelines.crops import five_corners

# function of (layers, towers below) -> towers above
Run = Callable[[Sequence[keras.layers.Layer], list[tf.Tensor]], list[tf.Tensor]]


@dataclass(frozen=True)
class _Windows:
    """Which pixels of a view the windows of the last shared layer see: window k sees `reach` pixels from k * `step`.

    Of `all` in a row or a column, `interior` see pixels of the view only; those after them see zeros beyond it, too.
    """

    step: int
    reach: int
    interior: int
    all: int

    @property
    def pixels(self) -> int:
        """How many pixels the interior windows see together."""
        return (self.interior - 1) * self.step + self.reach


class SharedViews:
    """What ten views of a stored image are after the first layers of a network.

    Args:
      centring: subtracts the mean.
      layers: `shareable_layers` of the network.
      size: side of a view in pixels.
      run: how layers are applied.
    """

    def __init__(self, centring: MeanSubtraction, layers: Sequence[keras.layers.Layer], size: int, run: Run):
        self._layers, self._size, self._run = list(layers), size, run
        self._windows = _windows(layers, size)
        self._mean, self._scale = centring.mean, np.broadcast_to(np.float32(centring.scale), 3)
        # Of a mean image, all but its average is subtracted behind the convolution. Without the average subtracted
        # before, large numbers would cancel out there.
        self._average = centring.mean.reshape(-1, 3).mean(0)
        self._is_linear_only = centring.mean.ndim == 3
        self._convolved_mean = self._convolve_mean() if self._is_linear_only else []

    def __call__(self, stored: tf.Tensor) -> list[tf.Tensor]:
        """uint8 `[N,256,256,3]` -> towers `[10 N, H, W, C]`; the N images of the first view come first."""
        pixels = tf.cast(stored, tf.float32)
        pixels = tf.concat([pixels, tf.reverse(pixels, [2])], 0)
        inner = self._inner(self._centred(pixels, self._average))
        if self._windows.interior == self._windows.all:
            return inner
        below, beside = self._beyond(pixels)
        return [
            tf.concat([tf.concat([maps, right], 2), bottom], 1)
            for maps, right, bottom in zip(inner, beside, below, strict=True)
        ]

    def _inner(self, whole: tf.Tensor) -> list[tf.Tensor]:
        """The interior windows of all views, from whole images."""
        if not self._is_linear_only:
            views = _cut(self._run(self._layers, [whole]), self._windows.step, self._windows.interior, self._size)
        else:
            convolution, *rest = self._layers
            count = (self._windows.pixels - convolution.kernel_size) // convolution.strides + 1
            means = [tf.constant(mean[:, :count, :count]) for mean in self._convolved_mean]
            views = [
                # View by view up to where they have become small: less goes through memory at a time.
                self._run(rest, [tf.cast(maps, tf.float32) - mean for maps, mean in zip(towers, means, strict=True)])
                for towers in _cut(self._run([convolution], [whole]), convolution.strides, count, self._size)
            ]
        return [tf.concat(maps, 0) for maps in zip(*views, strict=True)]

    def _beyond(self, pixels: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The windows that see zeros below the views, over their whole width, and those at the right, above these."""
        size, interior = self._size, self._windows.interior
        start, height = interior * self._windows.step, self._windows.pixels
        bottom = [pixels[:, y + start : y + size, x : x + size] for y, x in five_corners(size)]
        right = [pixels[:, y : y + height, x + start : x + size] for y, x in five_corners(size)]
        mean = np.broadcast_to(self._mean, (size, size, 3))
        below = self._run(self._layers, [self._centred(tf.concat(bottom, 0), mean[start:])])
        beside = self._run(self._layers, [self._centred(tf.concat(right, 0), mean[:height, start:])])
        return below, [maps[:, :interior] for maps in beside]

    def _centred(self, pixels: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
        """`(pixels - mean) * scale`, as the network's own layer has it."""
        # Row by row: TensorFlow's CPU kernel is several times slower at broadcasting over the three channels only.
        height, width = pixels.shape[1:3]
        mean = np.broadcast_to(mean, (height, width, 3)) if mean.ndim == 3 else np.tile(mean, (1, width))
        rows = tf.reshape(pixels, [-1, height, 3 * width]) - mean.reshape(-1, 3 * width)
        if not np.all(self._scale == 1):
            rows *= np.tile(self._scale, width)
        return tf.reshape(rows, [-1, height, width, 3])

    def _convolve_mean(self) -> list[np.ndarray]:
        """What the convolution makes of the mean image without its average, float32 `[1, H, W, C]` a tower."""
        convolution = self._layers[0]
        with tf.init_scope():
            towers = convolution([tf.constant(((self._mean - self._average) * self._scale)[np.newaxis])])
            biases = [tf.cast(bias, tf.float32) for bias in convolution.biases]
            return [(tf.cast(maps, tf.float32) - bias).numpy() for maps, bias in zip(towers, biases, strict=True)]


def shareable_layers(layers: Sequence[keras.layers.Layer], size: int) -> list[keras.layers.Layer]:
    """The first of `layers` (without the one that subtracts the mean) that `SharedViews` can compute; may be none.

    Views must begin at multiples of the windows' step, and zeros may be added below and at the right only, as many here
    as there.
    """
    if not layers or not isinstance(layers[0], TowerConv2D):
        return []
    top, bottom, left, right = layers[0].padding
    if top or left or bottom != right:
        return []
    by_pixel_or_window = (LocalResponseNormalization, OverlappingMaxPool, TowerActivation)
    others = (index for index, layer in enumerate(layers) if index and not isinstance(layer, by_pixel_or_window))
    first = list(layers[: next(others, len(layers))])
    windows = _windows(first, size)
    begin_at_windows = all(start % windows.step == 0 for corner in five_corners(size) for start in corner)
    return first if begin_at_windows and windows.interior > 0 else []


def _windows(layers: Sequence[keras.layers.Layer], size: int) -> _Windows:
    step, reach = layers[0].strides, layers[0].kernel_size
    for layer in layers:
        if isinstance(layer, OverlappingMaxPool):
            step, reach = step * layer.strides, reach + (layer.pool_size - 1) * step
    every = TowerConv2D.listed(layers[-1].output)[0].shape[1]
    return _Windows(step, reach, min((size - reach) // step + 1, every), every)


def _cut(towers: list[tf.Tensor], step: int, count: int, size: int) -> list[list[tf.Tensor]]:
    """For each of five views its part, `count` windows wide, of `towers` of whole images."""
    corners = [(y // step, x // step) for y, x in five_corners(size)]
    return [[maps[:, y : y + count, x : x + count] for maps in towers] for y, x in corners]
