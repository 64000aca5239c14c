"""The vocabulary of residual networks: layers, orders of operations and widths as data. Needs no TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Steps before the first convolution of a branch, between its convolutions, after the last one, and after the addition.
ORDERS = {
    "post": ("", "bn relu", "bn", "relu"),
    "pre": ("bn relu", "bn relu", "", ""),
    "single": ("bn", "bn relu", "bn", ""),  # one ReLU, as PyramidNet
    "relu_first": ("relu", "bn relu", "bn", ""),  # as shake-shake
}


@dataclass(frozen=True)
class Residual:
    """A residual network: a stem, stages of blocks, global average pooling and a dense layer.

    Attributes:
      widths: base width of each stage; of a pyramid the first one, to which `alpha` is added over all blocks.
      blocks: blocks of each stage.
      stem: width and kernel size of the first convolution.
      stem_stride: its stride; with 2 a 3x3 max pooling of stride 2 follows, as for ImageNet: without padding, rounded
        up, as in SENet's prototxt.
      stem_after: steps after it, of "bn" and "relu".
      kind: "basic" (3x3, 3x3) or "bottleneck" (1x1, 3x3, 1x1).
      expand: output of a block / base width.
      inner: width of a bottleneck's 3x3 convolution / base width.
      groups: of that convolution.
      order: one of `ORDERS`.
      share: in which blocks of order "pre" the shortcut starts after the first batch normalization and ReLU: "never",
        "width" (where the width changes) or "first" (the first block of every stage).
      shortcut: where shapes differ. "pad": zero channels, every second pixel; "average": zero channels, 2x2 average
        pooling; "proj": 1x1 convolution; "proj_bn": with batch normalization; "two_paths": as shake-shake.
      down: what halves the maps: "3x3" or "1x1", the stride of the branch's first convolution of that size; "pool": a
        2x2 average pooling before the first block of a stage.
      se: reduction of squeeze-and-excitation, 0 for none.
      levels: 1, or 3 with a shortcut per stage and one over all stages (RoR).
      alpha: what a pyramid adds to its width, from the first to the last block; 0 for stages of equal width.
      rounding: of a pyramid's widths: "half_up" or "floor".
      branches: of a block, 1 or 2; 2 are joined by shake-shake.
      end: steps after the last block, of "bn" and "relu".
      bias: whether convolutions have a bias.
      init: of the kernels, see `networks.blocks.initializer`.
      epsilon: of batch normalization.
    """

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: tuple[int, ...] = (3, 3, 3)
    stem: tuple[int, int] = (16, 3)
    stem_stride: int = 1
    stem_after: str = ""
    kind: Literal["basic", "bottleneck"] = "basic"
    expand: int = 1
    inner: float = 1.0
    groups: int = 1
    order: str = "post"
    share: Literal["never", "width", "first"] = "never"
    shortcut: Literal["pad", "average", "proj", "proj_bn", "two_paths"] = "pad"
    down: Literal["3x3", "1x1", "pool"] = "3x3"
    se: int = 0
    levels: int = 1
    alpha: float = 0.0
    rounding: Literal["half_up", "floor"] = "half_up"
    branches: int = 1
    end: str = ""
    bias: bool = False
    init: str = "he_fan_out"
    epsilon: float = 1e-5

    def block_widths(self) -> list[list[int]]:
        """The base width of every block, by stage."""
        if not self.alpha:
            return [[width] * count for width, count in zip(self.widths, self.blocks, strict=True)]
        half = 0.5 if self.rounding == "half_up" else 0.0
        # The running value stays real; only its copy is rounded.
        step, total, widths = self.alpha / sum(self.blocks), 0, []
        for count in self.blocks:
            indices = range(total + 1, total + count + 1)
            widths.append([math.floor(self.widths[0] + index * step + half) for index in indices])
            total += count
        return widths

    def scaled(self, width: float) -> "Residual":
        """The network with its widths multiplied by `width`, at least one channel (of each group) everywhere."""
        return dataclasses.replace(
            self,
            widths=tuple(max(1, round(base * width)) for base in self.widths),
            stem=(max(1, round(self.stem[0] * width)), self.stem[1]),
            alpha=self.alpha * width,
        )


@dataclass(frozen=True)
class Noise:
    """The regularisers of one block; None for those that it does not have.

    Attributes:
      arguments: further arguments of their layers: `survival_per` is `per` of the layer of `survival`. Those of
        `ShakeShake` have their own names.
    """

    survival: float | None = None
    shake_drop: float | None = None
    swapout: float | None = None
    dropout: float = 0.0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def arguments_of(self, regulariser: str) -> dict[str, Any]:
        """The further arguments of the layer of a regulariser."""
        prefix = f"{regulariser}_"
        return {name.removeprefix(prefix): x for name, x in self.arguments.items() if name.startswith(prefix)}


def survival(last: float, index: int, count: int) -> float:
    """Survival probability of block `index` from 0 of `count`: linear from almost 1 to `last`.

    References: Huang et al. 2016, equation 4.
    """
    return 1 - (index + 1) / count * (1 - last)


def swapout_keep(last: float, index: int, count: int) -> float:
    """Keep probability of block `index`: linear from 1 at the first block to `last`.

    References: Singh et al. 2016, section 4, "Linear(1, 0.5)".
    """
    return 1 - index / max(1, count - 1) * (1 - last)
