"""A trained network at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_alexnet.plots.curves import Rows, learning_curves_figure
from keras_alexnet.plots.kernels import kernels_figure, kernels_height
from keras_alexnet.plots.predictions import predictions_figure
from keras_alexnet.plots.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT_INCHES, _RIGHT_INCHES = 6.2, 8.8


@styled
def summary_figure(
    kernels: Sequence[np.ndarray], predictions: Mapping[str, Any], runs: Mapping[str, Rows], title: str
) -> Figure:
    """Draws learning curves and kernels on the left, predictions on the right.

    Args:
      kernels: see `kernels_figure`.
      predictions: arguments of `predictions_figure`.
      runs: see `learning_curves_figure`.
      title: of the figure.

    Returns:
      The figure.
    """
    rows = -(-len(predictions["images"]) // 4)
    below = kernels_height(kernels, _LEFT_INCHES - 0.2)
    height = max(rows * 3.65 + 0.8, below + 5.5)
    figure = new_figure(_LEFT_INCHES + _RIGHT_INCHES, height)
    figure.suptitle(title, x=0.005, ha="left", fontsize=13)
    halves: Any = figure.subfigures(1, 2, width_ratios=[_LEFT_INCHES, _RIGHT_INCHES])
    left, right = halves
    curves_part, kernels_part = left.subfigures(2, 1, height_ratios=[height - below, below])
    learning_curves_figure(runs, stacked=True, figure=curves_part)
    kernels_figure(kernels, figure=kernels_part)
    predictions_figure(**predictions, figure=right)
    return figure
