"""Photographs with the best classes of a network, as in the left half of Figure 4 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_alexnet.plots.style import (
    BLUE,
    SKY,
    VERMILLION,
    add_caption,
    check_names,
    new_figure,
    percent,
    shortened,
    show_image,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_alexnet.plots.style import AnyFigure

_CELL_INCHES = 2.0
_BAR_INCHES = 0.2
_GAP_INCHES = 0.12


@styled
def predictions_figure(
    images: Sequence[np.ndarray],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    labels: Sequence[int | None] | None = None,
    captions: Sequence[str] | None = None,
    title: str = "Predictions",
    caption: str = "",
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draws photographs, their true class and the five best classes as bars.

    Args:
      images: `[H, W, 3]` uint8, at least one.
      probabilities: `[N, classes]`, values 0..1.
      class_names: one per class.
      labels: true classes; None for images whose class is unknown.
      captions: a line for each image whose class is unknown, such as its file name.
      title: of the figure.
      caption: a line below the figure.
      figure: to draw into; a new one by default.

    Returns:
      The figure.

    Raises:
      ValueError: there is no image, or not one name per class.
    """
    probabilities = np.asarray(probabilities)
    check_names(class_names, probabilities.shape[1])
    if not len(images):
        raise ValueError("images: found none; expected at least 1")
    labels = labels if labels is not None else [None] * len(images)
    columns = min(len(images), 4)
    rows, bars = -(-len(images) // columns), min(5, probabilities.shape[1])
    heights = [_CELL_INCHES, bars * _BAR_INCHES, _GAP_INCHES]
    figure = figure or new_figure(max(columns * (_CELL_INCHES + 0.15), 3.0), rows * (sum(heights) + 0.5) + 0.5)
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(3 * rows, columns, squeeze=False, height_ratios=heights * rows)
    for axes in grid.flat:
        axes.axis("off")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        picture, chart = grid[3 * row, column], grid[3 * row + 1, column]
        show_image(picture, image)
        name = class_names[label] if label is not None else captions[index] if captions else ""
        picture.set_title(shortened(name, 28), loc="center", fontweight="bold" if label is not None else "normal")
        _draw_bars(chart, probabilities[index], class_names, label)
    if any(label is not None for label in labels):
        caption = f"{caption}{' · ' if caption else ''}blue: the true class; orange: other classes"
    if caption:
        add_caption(figure, caption)
    return figure


def _draw_bars(axes: Axes, probabilities: np.ndarray, class_names: Sequence[str], label: int | None) -> None:
    best = np.argsort(-probabilities, kind="stable")[:5]
    places = np.arange(len(best))
    colors = [SKY if label is None or index == label else "#F3B183" for index in best]
    axes.barh(places, np.ones(len(best)), color="#F4F4F4", height=0.86)
    axes.barh(places, probabilities[best], color=colors, height=0.86)
    for place, index in enumerate(best):
        weight = "bold" if index == label else "normal"
        axes.text(0.015, place, shortened(class_names[index], 22), va="center", fontsize=7.5, fontweight=weight)
        axes.text(0.985, place, percent(probabilities[index]), va="center", ha="right", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(len(best) - 0.5, -0.5))


@styled
def mistakes_figure(
    images: Sequence[np.ndarray],
    probabilities: np.ndarray,
    labels: Sequence[int],
    class_names: Sequence[str],
    title: str = "Most confident mistakes",
    caption: str = "",
) -> Figure:
    """Draws wrongly classified photographs with the predicted and the true class.

    Args:
      images: `[H, W, 3]` uint8, most confident first; may be empty.
      probabilities: `[N, classes]`, values 0..1.
      labels: true classes.
      class_names: one per class.
      title, caption: above and below the figure.

    Returns:
      The figure.

    Raises:
      ValueError: there is not one name per class.
    """
    if not len(images):
        figure = new_figure(4.0, 1.0)
        figure.suptitle("no mistakes", x=0.01, ha="left")
        add_caption(figure, caption)
        return figure
    probabilities = np.asarray(probabilities)
    check_names(class_names, probabilities.shape[1])
    columns = min(len(images), 4)
    rows = -(-len(images) // columns)
    heights = [_CELL_INCHES, 2 * _BAR_INCHES, _GAP_INCHES]
    figure = new_figure(max(columns * (_CELL_INCHES + 0.15), 4.5), rows * (sum(heights) + 0.3) + 0.5)
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(3 * rows, columns, squeeze=False, height_ratios=heights * rows)
    for axes in grid.flat:
        axes.axis("off")
    for index, (image, scores, label) in enumerate(zip(images, probabilities, labels, strict=True)):
        row, column = divmod(index, columns)
        show_image(grid[3 * row, column], image)
        below = grid[3 * row + 1, column]
        below.set(xlim=(0, 1), ylim=(1.5, -0.5))
        predicted = int(np.argmax(scores))
        for line, (mark, class_, color) in enumerate((("✗", predicted, VERMILLION), ("✓", label, BLUE))):
            text = f"{mark} {shortened(class_names[class_], 25)}"
            below.text(0, line, text, color=color, va="center", fontsize=8)
            below.text(1, line, percent(scores[class_]), color=color, va="center", ha="right", fontsize=8)
    add_caption(figure, f"{caption}{' · ' if caption else ''}✗ predicted class, ✓ true class, with their probabilities")
    return figure
