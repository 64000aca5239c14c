"""Confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_alexnet.plots.style import INK, check_names, fitted, new_figure, percent, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above these numbers of classes, cells have no numbers, and rows and columns no names.
_MOST_NUMBERED, _MOST_NAMED = 20, 50
_LISTED = 12
_LIST_INCHES, _NAME_INCHES = 3.6, 2.4


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts the images of each true class that were given each class.

    Args:
      labels: true classes, integers 0 to classes - 1, `[N]`.
      predictions: predicted classes, `[N]`.
      classes: number of classes.

    Returns:
      int64 `[classes, classes]`: rows are true classes, columns predictions.
    """
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def confusion_image(counts: np.ndarray) -> np.ndarray:
    """A confusion matrix as pixels, without text: white for none of the true class (row), dark blue for all.

    Args:
      counts: `[classes, classes]` of `confusion_counts`.

    Returns:
      float32 `[H, W, 3]` in 0..1, at least 200 pixels high.
    """
    shares = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))[..., np.newaxis]
    pixels = (1 - shares) * np.ones(3) + shares * np.array([0.03, 0.19, 0.42])
    side = -(-200 // len(counts))
    return pixels.repeat(side, 0).repeat(side, 1).astype(np.float32)


@styled
def confusion_figure(
    counts: np.ndarray,
    class_names: Sequence[str],
    title: str = "Confusion matrix",
) -> Figure:
    """Draws a confusion matrix and lists the most frequent confusions.

    Args:
      counts: `[classes, classes]` of `confusion_counts`.
      class_names: one per class.
      title: of the figure; the error is added.

    Returns:
      The figure.

    Raises:
      ValueError: there is not one name per class.
    """
    counts = np.asarray(counts)
    classes, images = len(counts), int(counts.sum())
    check_names(class_names, classes)
    side = float(np.clip(0.42 * classes, 3.0, 7.0))
    margin = 0.065 * min(24, max(map(len, class_names))) if classes <= _MOST_NAMED else 0.4
    figure = new_figure(side + margin + 1.1 + _LIST_INCHES, max(side + 0.75 * margin + 0.9, 3.8))
    wrong = images - int(np.trace(counts))
    error = f": {wrong} of {images} images wrong ({percent(wrong / images)})" if images else ": no images"
    figure.suptitle(title + error, x=0.01, ha="left")
    halves: Any = figure.subfigures(1, 2, width_ratios=[side + margin + 1.1, _LIST_INCHES])
    left, right = halves
    matrix, listing = left.subplots(), right.subplots()
    _draw_matrix(matrix, counts, class_names)
    _list_confusions(listing, counts, class_names)
    return figure


def _draw_matrix(axes: Axes, counts: np.ndarray, class_names: Sequence[str]) -> None:
    from matplotlib.colors import PowerNorm

    classes = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # Confusions are rare: with a linear scale they could not be seen next to the diagonal.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set_ylabel("true class")
    axes.set_xlabel("predicted class")
    if classes <= _MOST_NAMED:
        names = [shortened(name, 24) for name in class_names]
        size = 8 if classes <= 30 else 6
        axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(classes), names, fontsize=size)
        axes.tick_params(length=0)
    if classes <= _MOST_NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.4 else INK
            size = 8 if classes <= 12 and counts.max() < 1000 else 6
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=color, fontsize=size)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "25 %", "50 %", "100 %"])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)


def _list_confusions(axes: Axes, counts: np.ndarray, class_names: Sequence[str]) -> None:
    axes.axis("off")
    off_diagonal = counts - np.diag(np.diag(counts))
    order = np.argsort(-off_diagonal, axis=None, kind="stable")[:_LISTED]
    pairs = [divmod(int(cell), len(counts)) for cell in order if off_diagonal.flat[cell]]
    axes.set_title("most frequent confusions (share of the true class)" if pairs else "no confusions")
    line = 1 / (2 * _LISTED)
    for rank, (true, predicted) in enumerate(pairs):
        top = 1 - (2 * rank + 0.4) * line
        share = counts[true, predicted] / counts[true].sum()
        text = f"{counts[true, predicted]} ×  {fitted(class_names[true], _NAME_INCHES, 8)}"
        axes.text(0, top, text, va="top", fontsize=8, transform=axes.transAxes)
        named = f"      as {fitted(class_names[predicted], _NAME_INCHES, 8)} ({percent(share)})"
        axes.text(0, top - line * 0.85, named, va="top", fontsize=8, color="#555555", transform=axes.transAxes)
