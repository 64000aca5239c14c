"""Networks compared: error against costs, and learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_alexnet.plots.style import COLORS, new_figure, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A colour that returns has another marker and another line.
_MARKERS, _DASHES = ("o", "s", "^", "D"), ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_QUANTITIES = (("val_top1_error", "validation error, centre crop (%)", 100), ("val_loss", "validation loss", 1))


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
    figure = new_figure(4.2 * columns + 2.2, 3.2 * rows)
    figure.suptitle(title, x=0.01, ha="left")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(costs) :]:
        axes.set_visible(False)
    for axes, (label, values) in zip(panels, costs.items(), strict=False):
        for index, (name, error) in enumerate(errors.items()):
            color, marker, _ = _style(index)
            axes.scatter(values[name], 100 * error, color=color, marker=marker, s=34, label=_label(name))
        axes.set(xlabel=label, ylabel="ten-crop top-1 error (%)", xscale="log")
        axes.margins(x=0.08, y=0.12)
        _plain_ticks(axes, values.values())
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    return figure


@styled
def comparison_curves_figure(
    runs: Mapping[str, Sequence[Mapping[str, float]]], title: str = "Learning curves"
) -> Figure:
    """Draws error and loss on the validation images by epoch, one line for each network.

    Args:
      runs: network -> its rows of metrics.csv, with "epoch", "val_top1_error" (0..1) and "val_loss".
      title: of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: there is no network, or one without epochs.
    """
    if not runs or not all(runs.values()):
        raise ValueError("runs: found no finished epoch; expected rows of metrics.csv")
    figure = new_figure(4.2 * len(_QUANTITIES) + 2.2, 3.6)
    figure.suptitle(title, x=0.01, ha="left")
    for axes, (column, label, factor) in zip(figure.subplots(1, len(_QUANTITIES)), _QUANTITIES, strict=True):
        for index, (name, rows) in enumerate(runs.items()):
            points = [(row["epoch"], factor * row[column]) for row in rows if column in row]
            color, marker, dashes = _style(index)
            style: dict[str, Any] = {"marker": marker} if len(points) < 3 else {"linestyle": dashes}
            axes.plot(*zip(*points, strict=True), color=color, label=_label(name), markersize=4, **style)
        axes.set(xlabel="epoch", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    return figure


def _style(index: int) -> tuple[str, str, Any]:
    """Colour, marker and dashes of a network."""
    turn = index // len(COLORS)
    return COLORS[index % len(COLORS)], _MARKERS[turn % len(_MARKERS)], _DASHES[turn % len(_DASHES)]


def _label(name: str) -> str:
    return shortened(name.removeprefix("keras.applications."), 32)


def _plain_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Ticks such as 2 M and 4 M, not powers of ten, where the values span less than a decade."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter

    found = list(values)
    axes.xaxis.set_minor_formatter(NullFormatter())
    if max(found) < 10 * min(found):
        axes.xaxis.set_major_locator(MaxNLocator(4))
        large, small = EngFormatter(), FuncFormatter(lambda value, _: f"{value:.3g}")
        axes.xaxis.set_major_formatter(large if min(found) > 1000 else small)
