"""What the figures share: typography, palette, and helpers for grids of images."""

from __future__ import annotations

import functools
import logging
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from pipelines.cli.safe_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    # A Figure or SubFigure: the same kind that a function was given, or a Figure if it was given none.
    AnyFigure: TypeAlias = Any

# Distinguishable with every kind of colour blindness: Okabe and Ito, "Color Universal Design", 2008.
BLUE, VERMILLION, GREEN, ORANGE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#8C8C8C"
INK = "#222222"
# Of curves and points, in this order.
COLORS = (BLUE, VERMILLION, GREEN, ORANGE, SKY, "#CC79A7", GREY)

_PARAMETERS: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": INK,
    "text.parse_math": False,  # class names may contain dollar signs
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
}

# Of a caption, in its font and size.
_CAPTION_CHARACTERS_PER_INCH = 17

# For class names in Chinese, Japanese and Korean: fonts of the usual systems; matplotlib's own has none of these.
_FALLBACK_FONTS = (
    *("Noto Sans CJK JP", "IPAexGothic", "IPAGothic", "WenQuanYi Zen Hei", "NanumGothic"),  # Linux
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),  # macOS
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic"),  # Windows
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def styled(draw: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorator: `draw` runs with the typography of this project, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_PARAMETERS | {"font.family": _font_families()})  # type: ignore[arg-type]  # a dict of Any
            return draw(*args, **kwargs)

    return drawn


@functools.cache
def _font_families() -> list[str]:
    """matplotlib's own font, and for characters that it lacks those of `_FALLBACK_FONTS` that are installed."""
    from matplotlib import font_manager

    # Most of these fonts have no bold face; matplotlib would report that for each figure with a bold title.
    logging.getLogger(font_manager.__name__).addFilter(lambda record: "font weight" not in record.getMessage())
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]


def new_figure(width: float, height: float) -> Figure:
    """A figure of `width` x `height` inches."""
    # Not pyplot: it would keep every figure alive and choose a backend for the whole process.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def add_caption(figure: AnyFigure, text: str) -> None:
    """Writes a small line below everything else, or several if the figure is narrow."""
    inches = figure.bbox.width / figure.dpi
    lines = textwrap.fill(text, max(20, int(inches * _CAPTION_CHARACTERS_PER_INCH)))
    figure.supxlabel(lines, fontsize=8, color="#555555", x=0.01, ha="left")


def show_image(axes: Axes, image: np.ndarray, **options: Any) -> None:
    """Shows pixels without axes. Options are those of `Axes.imshow`."""
    axes.axis("on")
    axes.imshow(image, **{"interpolation": "nearest", "aspect": "equal"} | options)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def frame(axes: Axes, color: str) -> None:
    """Draws a coloured frame around an image of `show_image`."""
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(color)
        spine.set_linewidth(2.5)


def mosaic(tiles: np.ndarray, columns: int, gap: int = 1, background: float = 1.0) -> np.ndarray:
    """Images side by side in one image.

    Args:
      tiles: `[N, H, W, C]`, N at least 1.
      columns: tiles in a row; the last row may have fewer.
      gap: pixels between tiles.
      background: value of gaps and missing tiles.

    Returns:
      `[rows * (H + gap) - gap, columns * (W + gap) - gap, C]`.
    """
    count, height, width, channels = tiles.shape
    rows = -(-count // columns)
    padded = np.full((rows * columns, height + gap, width + gap, channels), background, tiles.dtype)
    padded[:count, :height, :width] = tiles
    image = padded.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    return image.reshape(rows * (height + gap), columns * (width + gap), channels)[
        : rows * (height + gap) - gap, : columns * (width + gap) - gap
    ]


def shortened(text: str, limit: int) -> str:
    """`text` in one line with at most `limit` characters; an ellipsis replaces the rest."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def fitted(text: str, inches: float, size: float) -> str:
    """`text` in one line that is at most `inches` wide in letters of `size` points; an ellipsis replaces the rest."""
    from matplotlib.textpath import TextPath

    limit = min(len(text), 80)
    while limit > 1 and TextPath((0, 0), shortened(text, limit), size=size).get_extents().width > 72 * inches:
        limit -= 1
    return shortened(text, limit)


def percent(fraction: float) -> str:
    """A fraction 0..1 as text: "93 %", "0.4 %", "<0.1 %"."""
    value = 100 * fraction
    if 0 < value < 0.1:
        return "<0.1 %"
    # 99.96 % must not read as certainty.
    return f"{value:.0f} %" if value == 0 or 10 <= value < 99.5 or value == 100 else f"{min(value, 99.9):.1f} %"


def check_names(class_names: Sequence[str], classes: int) -> None:
    """Raises ValueError unless there is one name per class."""
    if len(class_names) != classes:
        raise ValueError(f"class_names: found {len(class_names)}; expected {classes}, one per class")
