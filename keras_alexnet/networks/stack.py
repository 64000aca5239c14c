"""A plain stack of layers as data."""

from dataclasses import dataclass

from keras_alexnet.networks.inputs import Preprocessing


@dataclass(frozen=True)
class Weights:
    """A layer with weights: a convolution; locally connected; or fully connected, if it has no kernel size.

    `size` is the number of filters or units; None stands for the number of classes. `kernel` is the initialization as
    in `blocks.initializer`. `bias` is the initial bias; None for no bias. `decay` is this layer's own weight decay.
    """

    name: str
    size: int | None
    kernel_size: int | None = None
    strides: int = 1
    padding: str | int = "same"
    local: bool = False
    kernel: str | float = "he"
    bias: float | None = 0.0
    decay: float = 0.0


@dataclass(frozen=True)
class Stack:
    """A network as a list of layers.

    Attributes:
      layers: layers with weights, and by name those without: "act" (the activation), "bn", "lrn", "max" and "average"
        (3 x 3 pixels, stride 2, the number of windows rounded up; `pool_size` changes those of "max"), "max2" (2 x 2
        pixels), "dropout" (rate 0.5), "global" (average over all pixels), "flatten".
      image_size, weight_decay, bias_lr_multiplier, preprocessing: see `Network`.
      least: smallest side of an image.
      lrn: depth radius, bias, alpha and beta of "lrn".
      options: of `width`, `init`, `activation` and `pool_size`.
      published_crops: see `Network`.
    """

    layers: tuple[Weights | str, ...]
    image_size: int
    preprocessing: Preprocessing
    least: int
    weight_decay: float
    bias_lr_multiplier: float = 1.0
    lrn: tuple[int, float, float, float] = (2, 2.0, 1e-4, 0.75)
    resize_size: int = 256
    features_layer: str | None = None
    options: tuple[str, ...] = ("width", "init")
    published_crops: str | None = None
