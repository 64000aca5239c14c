"""Learning curves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_alexnet.plots.style import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION, new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from keras_alexnet.plots.style import AnyFigure

# (column, its validation column, label, factor)
_QUANTITIES = (("top1_error", "val_top1_error", "top-1 error (%)", 100), ("loss", "val_loss", "cross-entropy", 1))
_COLORS = (BLUE, VERMILLION, GREEN, ORANGE, SKY, "#CC79A7", GREY)

Rows = Sequence[Mapping[str, float]]


@styled
def learning_curves_figure(
    runs: Mapping[str, Rows],
    title: str = "Learning curves",
    stacked: bool = False,
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draws error and loss by epoch, and marks where the learning rate was lowered.

    Args:
      runs: name of a run -> its rows of metrics.csv: "epoch" and any of "top1_error", "val_top1_error" (0..1), "loss",
        "val_loss", "learning_rate". Of several runs the name is in the legend.
      title: of the figure.
      stacked: whether the loss is below the error, not beside it.
      figure: to draw into; a new one by default.

    Returns:
      The figure.

    Raises:
      ValueError: there is no row.
    """
    if not runs or not all(runs.values()):
        raise ValueError("runs: found no finished epoch; expected rows of metrics.csv")
    shown = [quantity for quantity in _QUANTITIES if any(set(quantity) & row.keys() for row in _all_rows(runs))]
    rows, columns = (len(shown), 1) if stacked else (1, len(shown))
    figure = figure or new_figure(4.2 * columns, 3.2 * rows)
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (column, validation, label, factor) in zip(panels, shown, strict=True):
        for index, (name, points) in enumerate(runs.items()):
            color = _COLORS[index % len(_COLORS)]
            prefix = f"{shortened(name, 28)}, " if len(runs) > 1 else ""
            _draw(axes, points, column, factor, f"{prefix}training", color=color, linestyle=(0, (2, 1.5)))
            _draw(axes, points, validation, factor, f"{prefix}validation", color=color, linewidth=1.8)
        if len(runs) == 1:
            _mark_changes(axes, next(iter(runs.values())))
        axes.set(xlabel="epoch", ylabel=label)
        axes.set_ylim(bottom=0)
        epochs = [row["epoch"] for row in _all_rows(runs)]
        if max(epochs) - min(epochs) < 2:
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
        axes.legend()
    return figure


def _all_rows(runs: Mapping[str, Rows]) -> list[Mapping[str, float]]:
    return [row for rows in runs.values() for row in rows]


def _draw(axes: Axes, rows: Rows, column: str, factor: float, label: str, **style: Any) -> None:
    points = [(row["epoch"], factor * row[column]) for row in rows if column in row]
    if points:
        marker = "o" if len(points) < 3 else None
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=4, **style)


def _mark_changes(axes: Axes, rows: Rows) -> None:
    """Dotted lines where the learning rate drops, if that happens a few times, not gradually."""
    rates = [(row["epoch"], row["learning_rate"]) for row in rows if "learning_rate" in row]
    changes = [(now[0], now[1]) for before, now in itertools.pairwise(rates) if now[1] < 0.7 * before[1]]
    if len(changes) > 8:
        return
    for epoch, rate in changes:
        axes.axvline(epoch - 0.5, color=GREY, linewidth=0.8, linestyle=":")
        text = f"{'learning rate ' if len(changes) == 1 else ''}{rate:.1g}"
        axes.annotate(
            text,
            (epoch - 0.5, 1),
            xycoords=("data", "axes fraction"),
            fontsize=7,
            color="#666666",
            ha="center",
            va="bottom",
        )
