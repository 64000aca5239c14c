"""Photographs with their nearest neighbours, as in the right half of Figure 4 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_alexnet.plots.style import (
    BLUE,
    GREY,
    VERMILLION,
    add_caption,
    frame,
    new_figure,
    shortened,
    show_image,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL_INCHES = 1.35


@dataclass(frozen=True)
class Picture:
    """A photograph of a neighbours figure.

    Attributes:
      image: `[H, W, 3]` uint8.
      name: its class or file name; may be empty.
      distance: of a neighbour: Euclidean, to the query.
      label: the number of its class, if known. Two classes may have the same name.
    """

    image: np.ndarray
    name: str = ""
    distance: float = 0.0
    label: int | None = None


@styled
def neighbours_figure(
    queries: Sequence[Picture],
    neighbours: Sequence[Sequence[Picture]],
    title: str = "Nearest neighbours",
    caption: str = "",
) -> Figure:
    """Draws a row for each query: the photograph, and its neighbours from the nearest on.

    A frame shows whether a neighbour has the class of its query, if both are known.

    Args:
      queries: at least one.
      neighbours: for each query, nearest first.
      title, caption: above and below the figure.

    Returns:
      The figure.
    """
    most = max(len(row) for row in neighbours)
    figure = new_figure((1.2 + most) * (_CELL_INCHES + 0.1), len(queries) * (_CELL_INCHES + 0.3) + 0.8)
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(len(queries), most + 2, squeeze=False, width_ratios=[1, 0.15, *([1] * most)])
    for cells, query, row in zip(grid, queries, neighbours, strict=True):
        show_image(cells[0], query.image)
        cells[0].set_title(shortened(query.name, 18), fontsize=8, fontweight="bold", loc="center")
        for axes in cells[1:]:
            axes.axis("off")
        for axes, picture in zip(cells[2:], row, strict=False):
            show_image(axes, picture.image)
            axes.set_title(shortened(picture.name, 18), fontsize=8, loc="center")
            axes.set_xlabel(f"{picture.distance:#.3g}".rstrip("."), fontsize=7, color="#555555", labelpad=2)
            if query.label is None or picture.label is None:
                frame(axes, GREY)
            else:
                frame(axes, BLUE if picture.label == query.label else VERMILLION)
    if any(query.label is not None for query in queries):
        caption += f"{' · ' if caption else ''}blue frame: the class of the query; orange: another"
    add_caption(figure, f"left: query; right: nearest first, with distance{' · ' if caption else ''}{caption}")
    return figure
