"""Feature maps and units of a network for one photograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_alexnet.plots.style import add_caption, mosaic, new_figure, show_image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH_INCHES = 9.0
# Maps shown of each layer, and of a single layer.
_STRONGEST, _STRONGEST_OF_ONE = 12, 96


@styled
def activations_figure(
    image: np.ndarray,
    layers: Mapping[str, np.ndarray],
    title: str = "Activations",
) -> Figure:
    """Draws a photograph and the strongest maps of each layer; of layers without maps, all units.

    Args:
      image: `[H, W, 3]` uint8, what the network saw.
      layers: name -> activations `[H, W, C]` or `[C]`, in the network's order; at least one.
      title: of the figure.

    Returns:
      The figure.
    """
    count = _STRONGEST_OF_ONE if len(layers) == 1 else _STRONGEST
    shown = {name: _picture(np.asarray(values, np.float32), count) for name, values in layers.items()}
    heights = [max(picture.shape[0] / picture.shape[1], 0.02) for picture in shown.values()]
    maps_width = _WIDTH_INCHES - 2.4
    figure = new_figure(_WIDTH_INCHES, max(0.8 + sum(maps_width * height + 0.32 for height in heights), 3.2))
    figure.suptitle(title, x=0.01, ha="left")
    halves: Any = figure.subfigures(1, 2, width_ratios=[2.2, maps_width])
    left, right = halves
    photograph = left.subplots()
    show_image(photograph, image)
    photograph.set_anchor("N")
    rows = right.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, picture) in zip(rows, shown.items(), strict=True):
        show_image(axes, np.ma.masked_invalid(picture), cmap="magma", vmin=0, vmax=1)
        axes.set_anchor("W")
        axes.set_title(f"{name}  {_text(np.asarray(layers[name]), count)}")
    add_caption(
        figure, "maps: strongest channels first, each scaled to its largest value; dark is 0 or less, light the maximum"
    )
    return figure


def _picture(values: np.ndarray, count: int) -> np.ndarray:
    """The strongest maps side by side, or all units in rows; 0..1, NaN between and after them."""
    if values.ndim == 3:
        maps = values[..., np.argsort(-values.max((0, 1)), kind="stable")[:count]]
        maps = np.clip(maps, 0, None) / np.maximum(maps.max((0, 1)), 1e-30)
        tiles = maps.transpose(2, 0, 1)[..., np.newaxis]
        return mosaic(tiles, _STRONGEST, gap=max(1, tiles.shape[1] // 14), background=np.nan)[..., 0]
    units = np.clip(values.reshape(-1), 0, None) / max(values.max(), 1e-30)
    columns = min(len(units), 256)
    return mosaic(units.reshape(-1, 1, 1, 1), columns, gap=0, background=np.nan)[..., 0]


def _text(values: np.ndarray, count: int) -> str:
    size = " × ".join(map(str, values.shape)) + (" units" if values.ndim == 1 else "")
    active = f"{np.mean(values > 0):.0%} active"
    some = f", {count} strongest of {values.shape[-1]} maps" if values.ndim == 3 and values.shape[-1] > count else ""
    return f"({size}{some}; {active})"
