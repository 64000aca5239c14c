"""Shared outputs and frames, put together, are what the layers give for each crop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_alexnet.layers import OverlappingMaxPool, TowerConv2D
from keras_alexnet.saved_model.crop_maps import CropMaps, Geometry
from pipelines.images.crops import five_corners, ten_crops

pytestmark = pytest.mark.numeric

RESIZED, SIZE = 40, 32  # crops begin at 0, 4 and 8


def convolution(kernel, stride, before, after, connectivity="full"):
    padding = (before, after, before, after)
    bias = keras.initializers.RandomNormal()
    return TowerConv2D(4, kernel, stride, padding, connectivity=connectivity, bias_initializer=bias)


LAYERS = {
    "zeros at the end": [convolution(3, 2, 0, 1), OverlappingMaxPool(3, 2)],
    "no zeros": [convolution(3, 2, 0, 0), OverlappingMaxPool(2, 2)],
    "zeros on all sides": [convolution(5, 1, 2, 2), OverlappingMaxPool(2, 2), convolution(3, 1, 1, 1, "grouped")],
    "two stages": [
        convolution(3, 1, 0, 2),
        OverlappingMaxPool(3, 2),
        convolution(5, 1, 2, 2, "grouped"),
        OverlappingMaxPool(3, 2),
    ],
    "a second stage without zeros": [convolution(3, 1, 0, 2), OverlappingMaxPool(3, 2), convolution(3, 2, 0, 0)],
    "more zeros at the start": [convolution(5, 2, 4, 1), OverlappingMaxPool(2, 1)],
    "the last window overhangs": [convolution(3, 1, 0, 2), OverlappingMaxPool(3, 2, overhang=True)],
    "only a pool": [OverlappingMaxPool(3, 2), OverlappingMaxPool(2, 2)],
    "every row is shared": [convolution(1, 1, 0, 0)],
}


def outputs_for_each_crop(layers, images):
    """`[10 N, H, W, C]` per tower, in the order of `CropMaps`."""
    crops = tf.unstack(ten_crops(images, SIZE), axis=1)
    # For each corner the crops of the images, then those of the flipped images. Those of a flipped image at a corner
    # are the flipped crops at the corner opposite.
    order = [0, 6, 1, 5, 2, 7, 3, 9, 4, 8]
    towers = [tf.concat([crops[index] for index in order], 0)]
    for layer in layers:
        towers = layer(towers)
        towers = towers if isinstance(towers, list) else [towers]
    return towers


@pytest.mark.parametrize("name", LAYERS)
def test_the_maps_are_those_of_each_crop(name):
    keras.utils.set_random_seed(5)
    images = tf.random.normal([2, RESIZED, RESIZED, 3], seed=1)
    layers = LAYERS[name]
    towers = keras.Input((SIZE, SIZE, 3))
    for layer in layers:
        towers = layer(towers)
    expected = outputs_for_each_crop(layers, images)
    geometry = Geometry(SIZE, 0, SIZE, five_corners(SIZE, RESIZED))
    maps = CropMaps(geometry, [[tf.concat([images, tf.reverse(images, [2])], 0)]], [], [], [], [])
    for layer in layers:
        maps = maps.behind(layer)
    size = maps.geometry.size
    assert 0 < maps.geometry.shared_fraction <= 1
    found = maps.region(range(size), range(size))
    assert [maps.shape for maps in found] == [maps.shape for maps in expected]
    for maps_found, maps_expected in zip(found, expected, strict=True):
        np.testing.assert_allclose(maps_found, maps_expected, atol=1e-5)
    # Any rectangle: within the frame, across it, and in the shared part.
    for rows, columns in (
        (range(1), range(size)),
        (range(size - 1, size), range(1, 3)),
        (range(1, size), range(size - 2, size)),
        (range(size // 2, size // 2 + 1), range(size // 2, size)),
    ):
        part = maps.region(rows, columns)[-1]
        np.testing.assert_array_equal(part, found[-1][:, rows.start : rows.stop, columns.start : columns.stop])
    assert maps.region(range(2, 2), range(size)) == []


@pytest.mark.parametrize(
    "layer",
    [
        convolution(3, 3, 0, 0),
        convolution(3, 4, 2, 2),
        TowerConv2D(4, 3, padding=(0, 0, 0, 2), connectivity="full"),
        TowerConv2D(4, 3, padding=(0, 2, 2, 0), connectivity="full"),
    ],
    ids=["crops begin between windows", "so do their zeros", "more zeros at the right", "zeros at other ends"],
)
def test_layers_of_which_crops_share_nothing_have_no_geometry(layer):
    layer(keras.Input((SIZE, SIZE, 3)))
    assert Geometry(SIZE, 0, SIZE, five_corners(SIZE, RESIZED)).behind(layer) is None
