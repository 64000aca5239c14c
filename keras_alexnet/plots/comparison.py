"""Error of networks against what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from keras_alexnet.plots.style import BLUE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def comparison_figure(
    errors: Mapping[str, float],
    costs: Mapping[str, Mapping[str, float]],
    title: str = "Networks under equal conditions",
) -> Figure:
    """Draws the error of each network against each cost, on a logarithmic axis.

    Args:
      errors: network -> error, a fraction 0..1.
      costs: what is measured, with its unit -> network -> value above 0.
      title: of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: there is no network.
    """
    if not errors:
        raise ValueError("errors: expected at least one network")
    columns = min(2, len(costs))
    rows = -(-len(costs) // columns)
    figure = new_figure(4.6 * columns, 3.4 * rows)
    figure.suptitle(title, x=0.01, ha="left")
    for axes, (label, values) in zip(figure.subplots(rows, columns, squeeze=False).flat, costs.items(), strict=False):
        for name, error in errors.items():
            axes.scatter(values[name], 100 * error, color=BLUE, s=28)
            axes.annotate(
                name.removeprefix("keras.applications."),
                (values[name], 100 * error),
                textcoords="offset points",
                xytext=(4, 4),
                fontsize=7,
            )
        axes.set(xlabel=label, ylabel="ten-crop top-1 error (%)", xscale="log")
        axes.margins(x=0.25, y=0.12)
        axes.grid(color="#E5E5E5", linewidth=0.6)
    return figure
