"""Kernels of the first convolution, as in Figure 3 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_alexnet.plots.style import add_caption, mosaic, new_figure, percent, show_image, styled

if TYPE_CHECKING:
    from keras_alexnet.plots.style import AnyFigure

_WIDTH_INCHES = 8.0
_MOST_TILE_INCHES = 0.6  # a kernel of few pixels needs no more


def color_share(kernels: np.ndarray) -> float:
    """How coloured kernels are: the mean share of their energy that differs between the colour channels.

    A kernel is the sum of its mean over the channels, which is grey, and of the rest, which is colour. The share is the
    sum of the squares of the rest divided by that of the whole kernel.

    Args:
      kernels: `[height, width, 3, N]`, N at least 1.

    Returns:
      0 for grey kernels, 1 for purely coloured ones; 2/3 on average for kernels of independent random numbers. Kernels
      of zeros do not count; NaN if there are no others.
    """
    kernels = np.asarray(kernels, np.float64)
    energy = np.square(kernels).sum((0, 1, 2))
    color = np.square(kernels - kernels.mean(2, keepdims=True)).sum((0, 1, 2))
    alive = energy > 0
    return float(np.mean(color[alive] / energy[alive])) if alive.any() else float("nan")


def kernel_tiles(kernels: np.ndarray) -> np.ndarray:
    """Kernels as images: zero is mid-grey, and each kernel has its own scale.

    Args:
      kernels: `[height, width, 3, N]`, or with 1 channel.

    Returns:
      float32 `[N, height, width, 3]` in 0..1.

    Raises:
      ValueError: the kernels see neither RGB nor grey.
    """
    kernels = np.asarray(kernels, np.float32)
    if kernels.ndim != 4 or kernels.shape[2] not in (1, 3):
        raise ValueError(f"kernels=array of shape {kernels.shape}: expected (height, width, 3 or 1, filters)")
    largest = np.abs(kernels).max((0, 1, 2), keepdims=True)
    tiles = (0.5 + 0.5 * kernels / np.maximum(largest, 1e-30)).transpose(3, 0, 1, 2)
    return np.broadcast_to(tiles, (*tiles.shape[:3], 3))


def kernels_height(towers: Sequence[np.ndarray], width: float) -> float:
    """Height in inches of a kernels figure of `width` inches."""
    width = min(width, _MOST_TILE_INCHES * _columns(towers))
    return 0.6 + sum(width * image.shape[0] / image.shape[1] + 0.2 for image in _mosaics(towers))


def _columns(towers: Sequence[np.ndarray]) -> int:
    most = max(np.shape(kernels)[-1] for kernels in towers)
    return min(most, 16 if most <= 128 else 32)


def _mosaics(towers: Sequence[np.ndarray]) -> list[np.ndarray]:
    tiles = [kernel_tiles(np.asarray(kernels)) for kernels in towers]
    return [mosaic(part, _columns(towers), gap=max(1, part.shape[1] // 8)) for part in tiles]


@styled
def kernels_figure(
    towers: Sequence[np.ndarray], title: str = "Kernels of the first convolution", figure: AnyFigure | None = None
) -> AnyFigure:
    """Draws the kernels of each tower, and how coloured each tower is.

    Args:
      towers: for each tower its kernels `[height, width, 3, N]`; one element for a network without towers.
      title: of the figure.
      figure: to draw into; a new one by default.

    Returns:
      The figure.

    Raises:
      ValueError: the kernels see neither RGB nor grey.

    Example:

    ```python
    kernels_figure(model.get_layer("conv1").kernels).savefig("kernels.png")
    ```
    """
    mosaics = _mosaics(towers)
    heights = [image.shape[0] / image.shape[1] for image in mosaics]
    # The caption needs 6 inches.
    width = max(6.2, _WIDTH_INCHES * min(1.0, np.shape(towers[0])[-1] / 8))
    figure = figure or new_figure(width, kernels_height(towers, width))
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(len(mosaics), 1, squeeze=False, height_ratios=heights)[:, 0]
    for index, (axes, image, kernels) in enumerate(zip(panels, mosaics, towers, strict=True)):
        show_image(axes, image)
        axes.set_anchor("W")
        rows, columns, channels, count = np.shape(kernels)
        text = f"{count} kernel{'s' * (count > 1)}, {rows} × {columns} × {channels}"
        if channels == 3:
            text += f" · colour {_percent_or_none(color_share(kernels))}"
        axes.set_title(f"tower {index + 1}: {text}" if len(towers) > 1 else text)
    if np.shape(towers[0])[2] == 3:
        add_caption(
            figure,
            "colour: share of the kernels' energy that differs between R, G and B; noise has 67 %, grey kernels 0 %",
        )
    return figure


def _percent_or_none(share: float) -> str:
    return "undefined (all kernels are 0)" if np.isnan(share) else percent(round(share, 6))
