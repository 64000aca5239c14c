"""The first layers of the ten crops, computed once for all crops where that gives what each crop would give.

The crops overlap, and those of the paper begin at multiples of 16 pixels: a multiple of the 8 pixels from one window of
pool1 to the next, and of the 16 of pool2. So the layers' outputs for the whole resized image and for its horizontal
flip contain most of what the ten crops need: all windows that read no zero padding. The others are a frame around
these, which is computed for each crop from its own inputs: for the paper's network one row and column of conv1 and
pool1, two to three of conv2 and pool2. Further layers are not shared, because most of their outputs would be frame.

With a mean image, each crop subtracts it at another place of the resized image. The first convolution is linear and
can still be shared: conv(crop - mean) = conv(crop) - conv(mean). The layers after it cannot.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

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
from keras_alexnet.saved_model.crop_maps import CropMaps, Geometry, Towers, cut
from pipelines.choices import RESIZED_SIZE
from pipelines.images.crops import five_corners

# function of (layers, towers below) -> towers above
Run = Callable[[Sequence[keras.layers.Layer], Towers], Towers]

# A frame takes longer than as many outputs in the middle: sharing less than this fraction would not pay.
_LEAST_SHARED = 0.5


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
        self._layers, self._run = layers, run
        self._pixels = _pixels(size, resized_size)
        self._scale = np.asarray(centring.scale, np.float32)
        # Of a mean image, all but its average is subtracted behind the convolution. Without the average subtracted
        # before, large numbers would cancel out there.
        self._average = centring.mean.reshape(-1, 3).mean(0)
        self._convolved_mean = self._convolve_mean(centring.mean) if centring.mean.ndim == 3 else []

    def __call__(self, images: tf.Tensor) -> Towers:
        """uint8 `[N,R,R,3]` -> towers `[10 N, H, W, C]`; the N images of the first crop come first."""
        pixels = tf.cast(images, tf.float32)
        pixels = centered(tf.concat([pixels, tf.reverse(pixels, [2])], 0), self._average, self._scale)
        maps = CropMaps(self._pixels, [[pixels]], [], [], [], [])
        for layer in self._layers:
            maps = maps.map(functools.partial(self._run, [layer])) if _is_by_pixel(layer) else maps.behind(layer)
            if layer is self._layers[0] and self._convolved_mean:
                maps = _without_mean(maps, self._convolved_mean)
        every = range(maps.geometry.size)
        return maps.region(every, every)

    def _convolve_mean(self, mean: np.ndarray) -> list[np.ndarray]:
        """What the convolution makes of the mean image without its average, float32 `[H, W, C]` per tower."""
        convolution = self._layers[0]
        with tf.init_scope():
            towers = as_list(convolution([tf.constant(((mean - self._average) * self._scale)[np.newaxis])]))
            biases = [tf.cast(bias, tf.float32) for bias in convolution.biases]
            return [(tf.cast(maps, tf.float32) - bias).numpy()[0] for maps, bias in zip(towers, biases, strict=True)]


def shareable_layers(
    layers: Sequence[keras.layers.Layer], size: int, resized_size: int = RESIZED_SIZE, *, has_mean_image: bool = False
) -> list[keras.layers.Layer]:
    """The first of `layers` (without the one that subtracts the mean) that `SharedCrops` can compute; may be none.

    These are stages of a convolution and its pool, and what works pixel by pixel between and behind them. Crops must
    begin at windows. With a mean image there is one stage at most.
    """
    geometry, shareable, rest = _pixels(size, resized_size), [], list(layers)
    while rest and isinstance(rest[0], TowerConv2D):
        convolution, *others = rest
        between = list(itertools.takewhile(_is_by_pixel, others))
        pool, *others = others[len(between) :] or [None]
        after_convolution = geometry.behind(convolution)
        if not isinstance(pool, OverlappingMaxPool) or after_convolution is None:
            break
        after_pool = after_convolution.behind(pool)
        if after_pool is None or after_pool.shared_fraction < _LEAST_SHARED:
            break
        behind = list(itertools.takewhile(_is_by_pixel, others))
        shareable += [convolution, *between, pool, *behind]
        geometry, rest = after_pool, others[len(behind) :]
        if has_mean_image:
            break
    return shareable


def _pixels(size: int, resized_size: int) -> Geometry:
    """Of the pixels of the crops all are shared."""
    return Geometry(size, 0, size, tuple(five_corners(size, resized_size)))


def _is_by_pixel(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, LocalResponseNormalization | TowerActivation)


def _without_mean(maps: CropMaps, means: Sequence[np.ndarray]) -> CropMaps:
    """Subtracts what the convolution makes of a mean image, of which each crop has its own part of the shared maps."""
    geometry = maps.geometry
    inner = range(geometry.first, geometry.last)
    before, behind, every = range(geometry.first), range(geometry.last, geometry.size), range(geometry.size)

    def part(rows: range, columns: range) -> Towers:
        return [tf.constant(mean[rows.start : rows.stop, columns.start : columns.stop]) for mean in means]

    def subtract(towers: Towers, part: Towers) -> Towers:
        return [tf.cast(maps, tf.float32) - mean for maps, mean in zip(towers, part, strict=True)] if towers else []

    shared_part = part(inner, inner)  # once: constants are stored in the exported graph
    return CropMaps(
        replace(geometry, corners=((-geometry.first, -geometry.first),) * len(geometry.corners)),
        # Crop by crop up to where they have become small: less goes through memory at a time.
        [subtract(cut(maps.shared[0], inner, inner, y, x), shared_part) for y, x in geometry.corners],
        subtract(maps.top, part(before, every)),
        subtract(maps.bottom, part(behind, every)),
        subtract(maps.left, part(inner, before)),
        subtract(maps.right, part(inner, behind)),
    )
