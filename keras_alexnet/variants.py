"""What a network is, as data: `AlexNet` is built from a `Variant` and nothing else."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

# Mean over ILSVRC-2012's training images of the central 224 x 224 window, grey levels (cuda-convnet2, input_meta).
IMAGENET_RGB_MEAN = (127.226, 118.587, 103.448)


@dataclass(frozen=True)
class Normalization:
    """Constants of local response normalisation, in the paper's terms (section 3.3): k, n, alpha, beta."""

    k: float = 2.0
    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True)
class Convolution:
    """One convolution and what follows it.

    filters counts all towers; padding is (top, bottom, left, right); `stddev` and `bias` are the initial values
    (Gaussian of mean 0; constant); `then` names the steps behind the convolution: relu, lrn, pool.
    """

    filters: int
    kernel_size: int
    strides: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    reads: Literal["own", "all"] = "own"
    stddev: float = 0.01
    bias: float = 0.0
    then: tuple[str, ...] = ("relu",)


@dataclass(frozen=True)
class Dense:
    """One fully connected layer; it reads all towers and is followed by ReLU and dropout, but for the last."""

    units: int
    stddev: float = 0.01
    bias: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A network and the constants of its recipe.

    `init` "he" replaces every `stddev` by sqrt(2 / fan-in) and every bias by 0, and needs `input_scale` 1/64.
    """

    name: str
    summary: str
    convolutions: tuple[Convolution, ...]
    dense: tuple[Dense, ...] = (Dense(4096), Dense(4096))
    classifier: Dense = Dense(1000, bias=0.0)
    towers: int = 2
    crop_size: int = 224
    normalization: Normalization = Normalization()
    pool_size: int = 3
    pool_strides: int = 2
    dropout_rate: float = 0.5
    dropout_rescale: Literal["inference", "training"] = "inference"
    init: Literal["paper", "he"] = "paper"
    input_scale: float = 1.0
    resize: Literal["shorter_side", "warp"] = "shorter_side"
    color_shift: Literal["paper", "none"] = "paper"
    bias_lr_multiplier: float = 1.0
    decay_biases: bool = True

    def scaled(self, width: float) -> "Variant":
        """The same network with `width` times as many filters and units, rounded to a multiple of the towers.

        Raises:
          ValueError: if width is not a positive number.
        """
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width={width}; expected a positive number (1 is the network as published)")

        def wide(size: int) -> int:
            return self.towers * max(1, round(size * width / self.towers))

        return dataclasses.replace(
            self,
            convolutions=tuple(dataclasses.replace(c, filters=wide(c.filters)) for c in self.convolutions),
            dense=tuple(dataclasses.replace(d, units=wide(d.units)) for d in self.dense),
        )

    def he_initialised(self) -> "Variant":
        """The same network with He's initial values and input of about unit variance (not in the paper)."""
        return dataclasses.replace(self, init="he", input_scale=1 / 64)


PAPER = Variant(
    name="paper",
    summary="the network as printed in the NIPS 2012 paper",
    # 224 with 3 zeros at the right and the bottom is how the 2012 code reaches 55 x 55: it rounds the number of windows
    # up and reads zeros beyond the image (layer.py). Initial values: section 5; what is normalised and pooled: 3.5.
    convolutions=(
        Convolution(96, 11, strides=4, padding=(0, 3, 0, 3), reads="all", then=("relu", "lrn", "pool")),
        Convolution(256, 5, padding=(2, 2, 2, 2), bias=1.0, then=("relu", "lrn", "pool")),
        Convolution(384, 3, padding=(1, 1, 1, 1), reads="all"),
        Convolution(384, 3, padding=(1, 1, 1, 1), bias=1.0),
        Convolution(256, 3, padding=(1, 1, 1, 1), bias=1.0, then=("relu", "pool")),
    ),
)

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in (PAPER,)}


def find_variant(name: str) -> Variant:
    """The variant called `name`.

    Raises:
      ValueError: if there is none; the message lists those there are.
    """
    if name not in VARIANTS:
        raise ValueError(f"variant={name!r} is unknown; expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]
