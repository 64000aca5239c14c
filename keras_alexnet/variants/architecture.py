"""Layers as data, and the `Variant`, a network that consists of them.

`keras_alexnet.variants` lists the networks; `keras_alexnet.model` builds Keras models from them.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

# Mean RGB pixel values 0..255 of the central 224 x 224 crops of ILSVRC-2012's training images (cuda-convnet2,
# input_meta).
IMAGENET_RGB_MEAN = (127.226, 118.587, 103.448)

# The part of a resized image's side that a crop covers (paper, section 4.1), where a network's authors name no other.
CROP_FRACTION = 224 / 256


@dataclass(frozen=True)
class Convolution:
    """A convolution. `filters` is the number of all towers together; padding is (top, bottom, left, right) in pixels.

    With "grouped" connectivity each tower reads its own tower below, with "full" all of them. `stddev` is that of the
    Gaussian initialization of the kernels (mean 0), `bias` the constant initialization of the biases.
    """

    name: str
    filters: int
    kernel_size: int
    strides: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    connectivity: Literal["grouped", "full"] = "grouped"
    stddev: float = 0.01
    bias: float = 0.0


@dataclass(frozen=True)
class Activation:
    """An elementwise activation, by its name in Keras."""

    name: str
    function: str = "relu"


@dataclass(frozen=True)
class Normalization:
    """Local response normalization across channels, in the paper's notation (section 3.3).

    alpha multiplies the plain sum of `n` squares. The window of channels stays within its "tower", or spans "all".
    """

    name: str
    k: float = 2.0
    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    across: Literal["tower", "all"] = "tower"


@dataclass(frozen=True)
class MapNormalization:
    """Response normalization within each map, over n x n pixels; alpha multiplies the plain sum of n * n squares."""

    name: str
    k: float
    n: int
    alpha: float
    beta: float


@dataclass(frozen=True)
class Pooling:
    """Max pooling over size x size pixels; with `overhang` there is one more window where the last does not fit."""

    name: str
    size: int = 3
    strides: int = 2
    overhang: bool = False


@dataclass(frozen=True)
class Dropout:
    """Rescales the outputs at "inference", as printed, or during "training" (inverted dropout)."""

    name: str
    rate: float = 0.5
    rescale: Literal["inference", "training"] = "inference"


@dataclass(frozen=True)
class Dense:
    """A fully connected layer that reads all towers; its units are shared by the towers, or all on the first."""

    name: str
    units: int
    stddev: float = 0.01
    bias: float = 1.0
    split: bool = True


Layer = Convolution | Activation | Normalization | MapNormalization | Pooling | Dropout | Dense


@dataclass(frozen=True)
class Variant:
    """An AlexNet as data: its layers, and the constants of its training.

    Attributes:
      name: key in `VARIANTS`; `AlexNet` names its model `alexnet_<name>`.
      summary: one line that describes the network, for tables.
      layers: from the image to the features of fc7.
      head: from there to the logits; its last layer is fc8, whose units `AlexNet(classes=...)` sets.
      towers: number of towers.
      crop_size: side of the network's input in pixels.
      init: "gaussian" takes each layer's `stddev` and `bias`; "fan_in_uniform" draws kernels and biases uniformly from
        +-1 / sqrt(fan-in); "he" draws kernels with standard deviation sqrt(2 / fan-in), biases are 0.
      mean: what training subtracts: the training set's mean "image" or its mean of each channel ("channels"), or
        `rgb_mean` whatever the training set ("constant").
      mean_crop: which crop of the mean image training subtracts: the "central" one from every crop, or the one at the
        position of the "crop" itself.
      rgb_mean: RGB mean, pixel values 0..255, that the network subtracts by default; pretrained weights expect it.
      input_scale: factor of the difference, one number or one per channel.
      resize: resize policy of its images (`pipelines.choices.RESIZE_POLICIES`).
      color_augmentation: of its training (`pipelines.choices.COLOR_AUGMENTATIONS`).
      weight_decay, bias_lr_multiplier, decay_biases: see `PaperSGD`.
      weight_formats: formats of foreign weight files that may hold this network.
      sources: pairs of the beginning of a field's or layer's name and the source of its constants; "" is the default.
    """

    name: str
    summary: str
    layers: tuple[Layer, ...]
    head: tuple[Layer, ...]
    towers: int = 2
    crop_size: int = 224
    init: Literal["gaussian", "fan_in_uniform", "he"] = "gaussian"
    mean: Literal["image", "channels", "constant"] = "image"
    mean_crop: Literal["central", "crop"] = "central"
    rgb_mean: tuple[float, float, float] = IMAGENET_RGB_MEAN
    input_scale: float | tuple[float, float, float] = 1.0
    resize: Literal["shorter_side", "warp", "torchvision"] = "shorter_side"
    color_augmentation: Literal["paper", "source2012", "none"] = "paper"
    weight_decay: float = 0.0005
    bias_lr_multiplier: float = 1.0
    decay_biases: bool = True
    weight_formats: tuple[Literal["caffe", "torch"], ...] = ("torch",)
    sources: tuple[tuple[str, str], ...] = ()

    def scaled(self, width: float) -> "Variant":
        """The same network with `width` times as many filters and units, rounded to a multiple of the towers.

        Raises:
          ValueError: if width is not a positive number.
        """
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width={width}: expected a positive number; 1 is the published network")

        def wide(layer: Layer) -> Layer:
            size = {Convolution: "filters", Dense: "units"}.get(type(layer))
            if size is None:
                return layer
            share = max(1, round(getattr(layer, size) * width / self.towers))
            return dataclasses.replace(layer, **{size: self.towers * share})

        return dataclasses.replace(self, layers=tuple(wide(layer) for layer in self.layers))

    def with_he_initialization(self) -> "Variant":
        """The same network with He initialization and input of about unit variance (not in the paper)."""
        return dataclasses.replace(self, init="he", input_scale=1 / 64 if self.input_scale == 1 else self.input_scale)

    def changed(self, name: str, summary: str, source: str, **changes: dict[str, Any] | None) -> "Variant":
        """Returns a variant with some of `layers` changed or removed. Layers of `head` cannot be changed.

        Args:
          name: of the new variant.
          summary: one line that describes it, for tables.
          source: where its constants come from, for `describe`.
          **changes: layer name -> the fields to replace, or None to remove the layer.

        Raises:
          ValueError: there is no such layer, or it has no such field.

        Example:

        ```python
        mine = VARIANTS["paper"].changed("mine", "wider conv2", "own experiment", conv2={"filters": 384})
        ```
        """
        known = {layer.name: layer for layer in self.layers}
        for layer_name, fields in changes.items():
            if layer_name not in known:
                raise ValueError(f"{layer_name}={fields!r}: expected one of {', '.join(known)}")
            unknown = [field for field in fields or () if not hasattr(known[layer_name], field)]
            if unknown:
                raise ValueError(f"{layer_name}={fields!r}: {layer_name} has no field {unknown[0]!r}")
        layers = tuple(
            dataclasses.replace(layer, **(changes.get(layer.name) or {}))
            for layer in self.layers
            if changes.get(layer.name, {}) is not None
        )
        return dataclasses.replace(self, name=name, summary=summary, layers=layers, sources=(("", source),))

    def source(self, subject: str) -> str:
        """The source of a layer or a field: that of the longest matching entry of `sources`."""
        return max((entry for entry in self.sources if subject.startswith(entry[0])), key=lambda entry: len(entry[0]))[
            1
        ]


def all_sides(pixels: int) -> tuple[int, int, int, int]:
    """Padding with the same number of zeros at the top, the bottom, the left and the right."""
    return (pixels, pixels, pixels, pixels)
