"""The flow of patients and cases as boxes, one below the other: found, left out, used, and the sides of the split."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoseg.figures.canvas import new_figure
from autoseg.figures.colours import INK

WIDTH, HEIGHT = 0.28, 0.55  # of a box: share of the figure's width, and of a row
Box = tuple[str, ...]  # what it is, then the counts in words


def flow_figure(found: Box, left_out: Sequence[Box], used: Box, sides: Sequence[Box]) -> Figure:
    """Return a flow chart as papers have it: what is left out stands to the right of the line from found to used.

    Args:
        found: All that the dataset holds.
        left_out: A box a reason.
        used: What is left.
        sides: A box a side of the split.
    """
    rows = 3 + len(left_out)
    figure = new_figure(7.5, 0.85 * rows)
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(-rows + 0.4, 0.6))
    axes.set_axis_off()
    bottom = -(1 + len(left_out))
    middle = 0.5
    axes.annotate(
        "", (middle, bottom + HEIGHT / 2), (middle, -HEIGHT / 2), arrowprops={"arrowstyle": "-|>", "color": INK}
    )
    _draw(axes, middle, 0, found)
    for number, box in enumerate(left_out, start=1):
        axes.annotate("", (0.66, -number), (middle, -number), arrowprops={"arrowstyle": "-|>", "color": INK})
        _draw(axes, 0.66 + WIDTH / 2, -number, box)
    _draw(axes, middle, bottom, used)
    for place, box in enumerate(sides):
        at = (place + 0.5) / len(sides)
        _point(axes, (middle, bottom - HEIGHT / 2), (at, bottom - 1 + HEIGHT / 2))
        _draw(axes, at, bottom - 1, box)
    return figure


def _point(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0})


def _draw(axes: Axes, x: float, y: float, box: Box) -> None:
    what, *counts = box
    text = f"{fill(what, 36)}\n{', '.join(counts)}"
    frame = {"boxstyle": "square,pad=0.5", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=INK, bbox=frame)
