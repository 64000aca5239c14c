"""What a weight file holds, whatever its format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from keras_alexnet.architecture import Layer, Normalization

Kind = Literal["keras_h5", "keras", "caffemodel", "caffe_npy", "torch"]

# Kind -> what to call such a file.
KINDS: dict[Kind, str] = {
    "keras_h5": "Keras weights (.weights.h5)",
    "keras": "Keras model (.keras)",
    "caffemodel": "Caffe model (.caffemodel)",
    "caffe_npy": "Caffe weights as NumPy pickle (.npy)",
    "torch": "PyTorch state_dict (.pth)",
}

# Foreign kind -> the name of its family in `Variant.weight_formats`.
FAMILIES: dict[Kind, Literal["caffe", "torch"]] = {"caffemodel": "caffe", "caffe_npy": "caffe", "torch": "torch"}


@dataclass(frozen=True)
class Layout:
    """How a foreign format lays kernels out.

    Attributes:
      axes: of a convolution kernel. Where it is "OIHW", dense kernels are `[out, in]` and maps are flattened channel by
        channel; where it is "HWIO" they are `[in, out]`, and pixel by pixel. Groups lie one after the other along O.
      bgr: whether the network reads blue first.
    """

    axes: Literal["OIHW", "HWIO"]
    bgr: bool = False


@dataclass(frozen=True)
class Operation:
    """A layer without weights that a file describes: its kind, and its constants if the file has them."""

    name: str
    kind: type[Layer]
    constants: Normalization | None = None


@dataclass(frozen=True)
class WeightFile:
    """The content of a weight file.

    Attributes:
      layers: name in the file -> arrays, in the file's order. In foreign files these are one kernel and one bias; in
        Keras' they are what `layer.get_weights()` gives.
      layout: of foreign kernels; None for Keras' files, which have our own.
      operations: normalisations and poolings in the order in which the network runs them; empty if the file does not
        say.
    """

    path: Path
    kind: Kind
    layers: dict[str, list[np.ndarray]]
    layout: Layout | None = None
    operations: tuple[Operation, ...] = ()
