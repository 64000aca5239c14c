"""A network as boxes, as in Figure 2 of the paper: towers in rows, kernels as patches, connections as lines."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from keras_alexnet.plots.style import INK, shortened, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Networks with more layers are drawn by stages.
_MOST_LAYERS = 12
_INCHES = 0.43  # of one unit of the drawing
_COLUMN = 2.9  # units that the labels of a layer need
_DEPTH = (0.42, 0.26)  # where the third dimension points to
_SIDE = 0.38  # units of a box's side for the square root of a pixel
# Fill and edge of the towers, and of the rest.
_TOWERS, _NEUTRAL = (("#CFE3F3", "#0072B2"), ("#FBE0CC", "#B85000")), ("#EEEEEE", "#777777")


@dataclass(frozen=True)
class Block:
    """A layer with weights, or the image.

    Attributes:
      name: of the layer.
      shape: output of one tower: `(height, width, channels)`, `(tokens, channels)` or `(units,)`.
      towers: number of towers.
      kernel: height and width of a convolution's kernels in pixels; None for other layers.
      strides: of a convolution, in pixels.
      connectivity: whether each tower reads its own tower below ("grouped") or all of them ("full").
      after: what follows before the next block, such as "max pooling".
      layers: number of layers that the block stands for.
    """

    name: str
    shape: tuple[int, ...]
    towers: int = 1
    kernel: tuple[int, int] | None = None
    strides: int = 1
    connectivity: Literal["grouped", "full"] = "full"
    after: str = ""
    layers: int = 1


def stages(blocks: Sequence[Block]) -> list[Block]:
    """`blocks` with consecutive layers of one resolution as one block, if there are too many to draw each.

    Layers of a lower resolution in between, such as those of squeeze-and-excitation, count to the stage around them.
    """
    if len(blocks) - 1 <= _MOST_LAYERS:
        return list(blocks)
    image, *layers = blocks
    areas = [math.prod(block.shape[:-1]) if len(block.shape) > 1 else 0 for block in layers]
    levels = list(itertools.accumulate(reversed(areas), max))[::-1]
    merged = [image]
    for level, group in itertools.groupby(zip(levels, areas, layers, strict=True), key=lambda entry: entry[0]):
        members = list(group)
        if level == 0:
            merged += [block for *_, block in members]
            continue
        last = [block for _, area, block in members if area == level][-1]
        kernels = [block.kernel for *_, block in members]
        # The largest kernel is what widens the receptive field.
        largest = max((kernel for kernel in kernels if kernel), default=None)
        name = f"{len(members)} layers" if len(members) > 1 else last.name
        merged.append(dataclasses.replace(last, name=name, kernel=largest, strides=1, layers=len(members)))
    return merged


@styled
def architecture_figure(blocks: Sequence[Block], title: str = "") -> Figure:
    """Draws a network with the shapes of its layers.

    Sides of boxes grow with the square root of pixels and channels. Networks of more than twelve layers are drawn by
    stages of one resolution.

    Args:
      blocks: the image, then the layers with weights in their order.
      title: of the figure.

    Returns:
      The figure.

    Example:

    ```python
    architecture_figure([Block("image", (28, 28, 1)), Block("conv1", (24, 24, 6), kernel=(5, 5)), Block("fc", (10,))])
    ```
    """
    from matplotlib.figure import Figure

    drawn = _placed(stages(blocks))
    towers = max(block.towers for block, _ in drawn)
    all_boxes = [box for _, boxes in drawn for box in boxes]
    bottom = min(box.y for box in all_boxes) - 0.75
    top = max(box.y + box.height + box.depth[1] for box in all_boxes) + (1.6 if title else 0.7)
    width = max(box.x + box.width / 2 for box in all_boxes) + _COLUMN / 2
    figure = Figure(figsize=(width * _INCHES, (top - bottom + 1.8) * _INCHES))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set_aspect("equal")
    axes.set(xlim=(0, width), ylim=(bottom - 1.8, top))
    axes.text(0.3, top - 0.4, title, fontsize=11, fontweight="bold", va="top")
    colors = [[_color(block, tower, towers) for tower in range(block.towers)] for block, _ in drawn]
    colors[0] = [_NEUTRAL]
    for place, (block, boxes) in enumerate(drawn):
        for tower, box in enumerate(boxes):
            _draw_box(axes, box, *colors[place][tower], block.layers)
            size = " × ".join(map(str, block.shape))
            axes.text(box.x + box.width / 2, box.y - 0.2, size, fontsize=7, ha="center", va="top")
        if place:
            _draw_connections(axes, block, boxes, drawn[place - 1][1], colors[place - 1])
        _draw_labels(axes, block, boxes[0], bottom)
    if towers > 1:
        block, boxes = next(entry for entry in drawn if entry[0].towers == towers)
        for tower, box in enumerate(boxes):
            x, y = box.x + box.width / 2, box.y + box.height + box.depth[1] + 0.2
            color = _color(block, tower, towers)[1]
            axes.text(x, y, f"tower {tower + 1}", color=color, fontsize=8, ha="center", fontweight="bold")
    return figure


def _color(block: Block, tower: int, towers: int) -> tuple[str, str]:
    """Fill and edge of a box; layers that belong to no single tower are neutral."""
    return _TOWERS[tower % len(_TOWERS)] if block.towers == towers else _NEUTRAL


@dataclass(frozen=True)
class _Box:
    """A box of the drawing: front face, and the vector to its back."""

    x: float
    y: float
    width: float
    height: float
    depth: tuple[float, float]

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    def on_right_face(self, along: float, up: float) -> tuple[float, float]:
        """A point of the right face, from 0, 0 at the front and bottom to 1, 1."""
        x, y = self.x + self.width + along * self.depth[0], self.y + up * self.height + along * self.depth[1]
        return x, y


def _placed(blocks: Sequence[Block]) -> list[tuple[Block, list[_Box]]]:
    """The boxes of each block, one per tower, from left to right; towers from top to bottom."""
    sizes = [_size(block) for block in blocks]
    split = [height + depth[1] for (_, height, depth), block in zip(sizes, blocks, strict=True) if block.towers > 1]
    distance = max(split, default=0.0) + 1.3
    placed, x = [], 0.0
    for (width, height, depth), block in zip(sizes, blocks, strict=True):
        middles = [distance * ((block.towers - 1) / 2 - tower) for tower in range(block.towers)]
        # Labels are centred below the front face.
        left = x + max(0.0, (_COLUMN - width) / 2 - 0.3)
        placed.append((block, [_Box(left, y - (height + depth[1]) / 2, width, height, depth) for y in middles]))
        x = max(x + _COLUMN, left + width + depth[0] + 0.5 - max(0.0, _COLUMN / 2 - 0.9))
    return placed


def _size(block: Block) -> tuple[float, float, tuple[float, float]]:
    """Width, height and depth of a block's box."""
    *resolution, channels = block.shape
    if not resolution:
        return 0.32, max(0.5, 0.09 * math.sqrt(channels)), (0.12, 0.08)
    # Tokens of a transformer are drawn as a square of patches.
    rows, columns = resolution if len(resolution) == 2 else [math.sqrt(resolution[0])] * 2
    height, across = (max(0.3, _SIDE * math.sqrt(side)) for side in (rows, columns))
    return 0.14 + 0.075 * math.sqrt(channels), height, (_DEPTH[0] * across, _DEPTH[1] * across)


def _draw_box(axes: Axes, box: _Box, fill: str, edge: str, layers: int) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    x, y, (right, up) = box.x, box.y, box.depth
    front = [(x, y), (x + box.width, y), (x + box.width, y + box.height), (x, y + box.height)]
    top = [front[3], front[2], (front[2][0] + right, front[2][1] + up), (front[3][0] + right, front[3][1] + up)]
    side = [front[1], (front[1][0] + right, front[1][1] + up), top[2], front[2]]
    for face, light in ((front, 1.0), (top, 1.06), (side, 0.9)):
        color = [min(1.0, light * part) for part in to_rgb(fill)]
        axes.add_patch(Polygon(face, facecolor=color, edgecolor=edge, linewidth=0.8, joinstyle="round", zorder=3))
    slices = min(layers, 6)
    for index in range(1, slices):
        at = x + box.width * index / slices
        points = [(at, y), (at, y + box.height), (at + right, y + box.height + up)]
        axes.plot(*zip(*points, strict=True), color=edge, linewidth=0.4, zorder=3)


def _draw_connections(
    axes: Axes, block: Block, boxes: Sequence[_Box], below: Sequence[_Box], colors: Sequence[tuple[str, str]]
) -> None:
    """Lines to each box from what it reads below: a kernel's patch, or a whole face. They have the source's colour."""
    from matplotlib.patches import Polygon

    is_grouped = block.connectivity == "grouped" and len(below) == block.towers
    for index, source in enumerate(below):
        for box in [boxes[index]] if is_grouped else boxes:
            if block.kernel is None:
                starts = [source.on_right_face(0.5, 1.0), source.on_right_face(0.5, 0.0)]
                ends = [(box.x, box.y + box.height), (box.x, box.y)]
            else:
                corners = _patch(block.kernel, source)
                starts, ends = [corners[0], corners[2]], [(box.x, box.middle)] * 2
            style = "-" if block.kernel is None else (0, (3, 2))
            for (x0, y0), (x1, y1) in zip(starts, ends, strict=True):
                axes.plot([x0, x1], [y0, y1], color=colors[index][1], linewidth=0.7, linestyle=style, zorder=4)
        if block.kernel is not None:
            patch = _patch(block.kernel, source)
            axes.add_patch(Polygon(patch, facecolor="#FFFFFFAA", edgecolor=INK, linewidth=0.8, zorder=4))


def _patch(kernel: tuple[int, int], source: _Box) -> list[tuple[float, float]]:
    """Corners of the part of a source's right face that one kernel reads, in the scale of the boxes."""
    across = source.depth[0] / _DEPTH[0]
    sides = ((kernel[0], source.height), (kernel[1], across))
    up, along = (min(0.9, 0.6 * _SIDE * math.sqrt(pixels) / side) for pixels, side in sides)
    low, high, front, back = 0.5 - up / 2, 0.5 + up / 2, 0.5 - along / 2, 0.5 + along / 2
    return [source.on_right_face(*point) for point in ((front, low), (back, low), (back, high), (front, high))]


def _draw_labels(axes: Axes, block: Block, box: _Box, bottom: float) -> None:
    lines = []
    if block.kernel is not None:
        stride = f", stride {block.strides}" if block.strides > 1 else ""
        lines.append(f"{'≤ ' if block.layers > 1 else ''}{block.kernel[0]} × {block.kernel[1]}{stride}")
    elif len(block.shape) == 1:
        lines.append("dense")
    if block.after:
        lines.append(shortened(block.after, 22))
    x = box.x + box.width / 2
    axes.text(x, bottom, shortened(block.name, 20), fontsize=8, fontweight="bold", ha="center", va="top")
    axes.text(x, bottom - 0.5, "\n".join(lines), fontsize=7, color="#444444", ha="center", va="top", linespacing=1.3)
