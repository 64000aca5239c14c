"""Reads weight files of every format."""

import os
from collections.abc import Callable
from pathlib import Path

from keras_alexnet.weights.caffe_npy import read_npy
from keras_alexnet.weights.caffemodel import read_caffemodel
from keras_alexnet.weights.formats import Kind, WeightFile, recognise
from keras_alexnet.weights.keras_file import read_h5, read_keras
from keras_alexnet.weights.keras_hub_preset import read_preset
from keras_alexnet.weights.torch_file import read_torch

_READERS: dict[Kind, Callable[[Path], WeightFile]] = {
    "keras_h5": read_h5,
    "keras": read_keras,
    "keras_hub": read_preset,
    "caffemodel": read_caffemodel,
    "caffe_npy": read_npy,
    "torch": read_torch,
}


def read_weights(path: str | os.PathLike) -> WeightFile:
    """Reads a file in any format of `KINDS`; nothing in it is executed.

    Raises:
      ValueError: if it is missing, of another format or damaged.
    """
    return _READERS[recognise(path)](Path(path))
