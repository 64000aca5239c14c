"""The words in which a network is described: layers as data, and the `Variant` that lists them.

`keras_alexnet.variants` has the networks themselves, `keras_alexnet.model` builds Keras models of them.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

# Mean over ILSVRC-2012's training images of the central 224 x 224 window, grey levels (cuda-convnet2, input_meta).
IMAGENET_RGB_MEAN = (127.226, 118.587, 103.448)


@dataclass(frozen=True)
class Convolution:
    """`filters` counts all towers; padding is (top, bottom, left, right).

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
    """An elementwise function that Keras knows by name."""

    name: str
    function: str = "relu"


@dataclass(frozen=True)
class Normalization:
    """Local response normalisation across channels, in the paper's terms (section 3.3).

    alpha multiplies the plain sum of `n` squares. The window of channels stays in its "tower", or goes across "all".
    """

    name: str
    k: float = 2.0
    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    across: Literal["tower", "all"] = "tower"


@dataclass(frozen=True)
class MapNormalization:
    """Response normalisation inside each map, over n x n pixels; alpha multiplies the plain sum of n * n squares."""

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
    """A network and the constants of its recipe.

    Attributes:
      layers: from the image to the features of fc7.
      head: from there to the logits; its last layer is fc8, whose units `AlexNet(classes=...)` sets.
      towers: how many the network is split into.
      crop_size: side of the network's input in pixels.
      init: "gaussian" takes each layer's `stddev` and `bias`; "fan_in_uniform" draws kernels and biases uniformly from
        +-1 / sqrt(fan-in); "he" draws kernels with standard deviation sqrt(2 / fan-in), biases are 0.
      mean: what training subtracts: the training set's mean "image" or its mean of each channel ("channels"), or
        `rgb_mean` whatever the training set ("constant").
      mean_crop: which part of the mean image training subtracts from a crop: the "central" one from every crop, or
        the one at the "crop"'s own place.
      rgb_mean: what the network subtracts if nobody says otherwise, grey levels; published weights expect it.
      input_scale: what the difference is multiplied by, one number or one a channel.
      resize: how a photograph becomes 256 x 256 (`pipelines.images.crops.RESIZE_POLICIES`).
      color_augmentation: of training (`pipelines.images.augment.COLOR_AUGMENTATIONS`).
      weight_decay, bias_lr_multiplier, decay_biases: see `PaperSGD`.
      weight_formats: of which kinds foreign weight files may be, as far as their shapes agree.
      sources: (how the name of a field or a layer begins; where its constants come from); "" stands for all others.
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
    resize: Literal["shorter_side", "warp"] = "shorter_side"
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
            raise ValueError(f"width={width}; expected a positive number (1 is the network as published)")

        def wide(layer: Layer) -> Layer:
            size = {Convolution: "filters", Dense: "units"}.get(type(layer))
            if size is None:
                return layer
            share = max(1, round(getattr(layer, size) * width / self.towers))
            return dataclasses.replace(layer, **{size: self.towers * share})

        return dataclasses.replace(self, layers=tuple(wide(layer) for layer in self.layers))

    def with_he_initialization(self) -> "Variant":
        """The same network with He's initial values and input of about unit variance (not in the paper)."""
        return dataclasses.replace(self, init="he", input_scale=1 / 64 if self.input_scale == 1 else self.input_scale)

    def changed(self, name: str, summary: str, source: str, **changes: dict[str, Any] | None) -> "Variant":
        """A variant of this one: for each layer named, the fields to replace, or None to leave the layer out."""
        assert changes.keys() <= {layer.name for layer in self.layers}, changes
        layers = tuple(
            dataclasses.replace(layer, **(changes.get(layer.name) or {}))
            for layer in self.layers
            if changes.get(layer.name, {}) is not None
        )
        return dataclasses.replace(self, name=name, summary=summary, layers=layers, sources=(("", source),))

    def source(self, subject: str) -> str:
        """Where a layer or a field of this variant comes from: what `sources` says of the longest part of its name."""
        return max((entry for entry in self.sources if subject.startswith(entry[0])), key=lambda entry: len(entry[0]))[
            1
        ]


def all_sides(pixels: int) -> tuple[int, int, int, int]:
    """Padding of so many zeros at the top, the bottom, the left and the right."""
    return (pixels, pixels, pixels, pixels)
