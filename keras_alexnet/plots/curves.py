"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from keras_alexnet.plots.style import (
    COLORS,
    GREY,
    INK,
    new_figure,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from keras_alexnet.plots.style import AnyFigure

# (column, its validation column, label, factor)
_QUANTITIES = (("top1_error", "val_top1_error", "top-1 error (%)", 100), ("loss", "val_loss", "cross-entropy", 1))
_TRAINING: dict[str, Any] = {"linestyle": (0, (2, 1.5)), "linewidth": 1.3}
_VALIDATION: dict[str, Any] = {"linestyle": "-", "linewidth": 1.8}
# With more runs, the lines of training and validation can no longer be told apart.
_MOST_WITH_TRAINING = 4

Rows = Sequence[Mapping[str, float]]


@styled
def learning_curves_figure(
    runs: Mapping[str, Rows | Sequence[Rows]],
    title: str = "Learning curves",
    stacked: bool = False,
    figure: AnyFigure | None = None,
) -> AnyFigure:
    """Draws error and loss by epoch, and marks where the learning rate of a single run was lowered.

    Of more than four runs, the validation alone is drawn if there is one.

    Args:
      runs: name of a run -> its rows of metrics.csv: "epoch" and any of "top1_error", "val_top1_error" (0..1), "loss",
        "val_loss", "learning_rate". Of a run with several seeds: one sequence of rows for each, which are drawn as
        their mean and a band from the least to the largest value. Of several runs the name is in the legend.
      title: of the figure.
      stacked: whether the loss is below the error, not beside it.
      figure: to draw into; a new one by default.

    Returns:
      The figure.

    Raises:
      ValueError: there is no row.
    """
    seeds = _by_seed(runs)
    every = [row for run in seeds.values() for rows in run for row in rows]
    shown = [quantity for quantity in _QUANTITIES if any(set(quantity) & row.keys() for row in every)]
    rows, columns = (len(shown), 1) if stacked else (1, len(shown))
    figure = figure or new_figure(4.2 * columns, 3.2 * rows + (0.5 if len(runs) > 1 else 0))
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (column, validation, label, factor) in zip(panels, shown, strict=True):
        is_validated = any(validation in row for row in every)
        for index, run in enumerate(seeds.values()):
            color = COLORS[index % len(COLORS)]
            if len(runs) <= _MOST_WITH_TRAINING or not is_validated:
                _draw(axes, run, column, factor, label="training", color=color, **_TRAINING)
            _draw(axes, run, validation, factor, label="validation", color=color, **_VALIDATION)
        _set_axes(axes, [row["epoch"] for row in every], label)
        if len(runs) == 1:
            _mark_steps(axes, next(iter(seeds.values()))[0])
        _add_key(axes, seeds)
    if len(runs) > 1:
        _add_legend(figure, list(runs), 4.2 * columns)
    return figure


@styled
def training_error_figure(
    runs: Mapping[str, Rows | Sequence[Rows]], target: float, title: str = "Training error"
) -> AnyFigure:
    """Draws the training error rate by epoch and where it reaches a target, as in Figure 1 of the paper.

    Args:
      runs: as for `learning_curves_figure`; "top1_error" is drawn. The first run has a solid line, the second a dashed
        one.
      target: a fraction 0..1.
      title: of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: there is no row.
    """
    seeds = _by_seed(runs)
    figure = new_figure(5.6, 3.8)
    figure.suptitle(title, x=0.01, ha="left")
    axes = figure.subplots()
    for index, (name, run) in enumerate(seeds.items()):
        color = COLORS[index % len(COLORS)]
        line = ("-", (0, (4, 2)), (0, (1, 1)))[index % 3]
        _draw(axes, run, "top1_error", 100, label=shortened(name, 60), color=color, linestyle=line, linewidth=1.8)
        # Labels at different heights do not overlap.
        _mark_target(axes, run, target, 0.75 - 0.2 * (index % 3), color)
    _set_axes(
        axes,
        [0.0, *(row["epoch"] for run in seeds.values() for rows in run for row in rows)],
        "training error rate (%)",
    )
    axes.set_xlim(left=0)
    axes.axhline(100 * target, color=INK, linewidth=0.8)
    axes.text(0.01, 100 * target, f"{100 * target:.0f} %", transform=axes.get_yaxis_transform(), va="bottom")
    axes.legend(handles=[*axes.get_legend_handles_labels()[0], *_range_key(seeds, INK)])
    return figure


def _by_seed(runs: Mapping[str, Rows | Sequence[Rows]]) -> dict[str, Sequence[Rows]]:
    """The rows of each run, for each of its seeds.

    Raises:
      ValueError: there is no run, or one without rows.
    """
    seeds = {
        name: cast(Sequence[Rows], [rows] if rows and isinstance(rows[0], Mapping) else rows)
        for name, rows in runs.items()
    }
    if not seeds or not all(run and all(run) for run in seeds.values()):
        raise ValueError("runs: found no finished epoch; expected rows of metrics.csv")
    return seeds


def _set_axes(axes: Axes, epochs: Sequence[float], label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epoch", ylabel=label)
    axes.set_ylim(bottom=0)
    if max(epochs) - min(epochs) < 2:
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)


def _draw(axes: Axes, run: Sequence[Rows], column: str, factor: float, **style: Any) -> None:
    """Draws a column by epoch; of several seeds the mean and the range, in the epochs that all of them have."""
    seeds = [{row["epoch"]: factor * row[column] for row in rows if column in row} for rows in run]
    epochs = sorted(set(seeds[0]).intersection(*seeds[1:]))
    if not epochs:
        return
    values = np.array([[seed[epoch] for epoch in epochs] for seed in seeds])
    axes.plot(epochs, values.mean(0), marker="o" if len(epochs) < 3 else None, markersize=4, clip_on=False, **style)
    if len(seeds) > 1:
        axes.fill_between(epochs, values.min(0), values.max(0), color=style["color"], alpha=0.15, linewidth=0)


def _mark_target(axes: Axes, run: Sequence[Rows], target: float, height: float, color: str) -> None:
    """Marks the mean epoch of the seeds that reach the target; the label is at a share of the target's height."""
    reached = [epoch for epoch in (epoch_of_error(rows, target) for rows in run) if epoch is not None]
    if reached:
        epoch, top = float(np.mean(reached)), 100 * target
        axes.plot(epoch, top, "o", color=color, markersize=6)
        axes.vlines(epoch, 0, top, color=color, linewidth=0.8, linestyle=":")
        place = (epoch, height * top)
        axes.annotate(f"epoch {epoch:.1f}", place, (5, 0), textcoords="offset points", fontsize=8, color=color)


def epoch_of_error(rows: Rows, target: float) -> float | None:
    """The epoch in which the training error falls to `target`, linear between two epochs; None if it never does.

    Args:
      rows: with "epoch" and "top1_error" (0..1).
      target: 0..1.
    """
    points = [(row["epoch"], row["top1_error"]) for row in rows if "top1_error" in row]
    place = next((place for place, (_, error) in enumerate(points) if error <= target), None)
    if place is None:
        return None
    epochs, errors = zip(*points[max(place - 1, 0) : place + 1], strict=True)
    return float(np.interp(-target, np.negative(errors), epochs))


def _add_legend(figure: AnyFigure, names: Sequence[str], width: float) -> None:
    """The colour of each run, below the panels."""
    from matplotlib.lines import Line2D

    labels = [shortened(name, 60) for name in names]
    handles = [Line2D([], [], color=COLORS[index % len(COLORS)], linewidth=3) for index in range(len(names))]
    # A letter has about 0.065 inches, the line in front of it 0.5.
    columns = max(1, min(len(labels), int(width / (0.065 * max(map(len, labels)) + 0.5))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def _add_key(axes: Axes, seeds: Mapping[str, Sequence[Rows]]) -> None:
    """Which line is training and which validation."""
    from matplotlib.lines import Line2D

    drawn = axes.get_legend_handles_labels()[1]
    color = INK if len(seeds) > 1 else COLORS[0]
    key = {"training": _TRAINING, "validation": _VALIDATION}
    lines = [Line2D([], [], color=color, label=label, **style) for label, style in key.items() if label in drawn]
    axes.legend(handles=[*lines, *_range_key(seeds, color)])


def _range_key(seeds: Mapping[str, Sequence[Rows]], color: str) -> list[Any]:
    """The legend's entry for the bands of `_draw`, if there are any."""
    from matplotlib.patches import Patch

    has_bands = any(len(run) > 1 for run in seeds.values())
    return [Patch(facecolor=color, alpha=0.15, label="range of seeds")] if has_bands else []


def _mark_steps(axes: Axes, rows: Rows) -> None:
    """Dotted lines where the learning rate drops to half or less, from one constant value to another."""
    rates = [(row["epoch"], row["learning_rate"]) for row in rows if "learning_rate" in row]
    steps = []
    for place in range(1, len(rates)):
        before, after = rates[max(place - 2, 0) : place], rates[place : place + 2]
        # With two epochs alone, a step and a gradual schedule look the same.
        is_constant = len(before + after) > 2 and all(
            math.isclose(part[0][1], part[-1][1], rel_tol=1e-3) for part in (before, after)
        )
        if is_constant and after[0][1] < 0.501 * before[-1][1]:
            steps.append(after[0])
    for epoch, rate in steps:
        axes.axvline(epoch - 0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{'learning rate ' if len(steps) == 1 else ''}{rate:.2g}",
            (epoch - 0.5, 1),
            xycoords=("data", "axes fraction"),
            fontsize=7,
            color="#666666",
            ha="center",
            va="bottom",
        )
