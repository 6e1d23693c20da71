"""Box plots of the Dice of every organ, with a point for each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from autoseg.figures.canvas import new_figure, plain_axes
from autoseg.figures.colours import INK, TESTING, TRAINING

_STYLES = ((TRAINING, "o"), (TESTING, "D"), ("#D55E00", "s"))  # colour and marker of each set
MANY_POINTS = 200  # of a set, from which they are pixels in an SVG
MANY_ORGANS = 30  # that are drawn in two columns, of one set of cases only
_STEP = 0.6180339887  # golden ratio: the points of a set spread evenly, the same way every time


def boxes_figure(sets: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Return the Dice of every organ, one set of cases beside the other.

    Args:
        sets: Name of a set ("training", "testing"; at most three) to organ to Dice (0 to 1) of its cases; the order
            of the organs is that of the first set.
    """
    if len(next(iter(sets.values()), {})) > MANY_ORGANS:
        return _dense_figure(sets)
    organs = list(next(iter(sets.values()), {}))
    rows = max(1, len(organs))
    figure = new_figure(7.5, 1.1 + (0.22 * max(1, len(sets)) + 0.14) * rows)
    axes = plain_axes(figure.subplots())
    axes.grid(visible=False, axis="y")
    height = 0.8 / max(1, len(sets))
    for place, ((name, values), (colour, marker)) in enumerate(zip(sets.items(), _STYLES, strict=False)):
        for row, organ in enumerate(organs):
            percent = np.asarray(values.get(organ, ()), dtype=float) * 100
            _draw_set(axes, percent, row - 0.4 + height * (place + 0.5), height, colour, marker)
        axes.add_line(Line2D([], [], color=colour, marker=marker, linestyle="", markersize=6, label=name))
    every = [value * 100 for values in sets.values() for organ in values.values() for value in organ]
    low = min(80.0, 10.0 * (min(every, default=0.0) // 10.0))
    label = f"Dice (%; axis begins at {low:.0f})" if low else "Dice (%)"
    axes.set(xlabel=label, xlim=(low - (100 - low) / 100, 101), ylim=(rows - 0.45, -0.55))
    axes.set_yticks(range(len(organs)), organs)
    for place, values in enumerate(sets.values() if every else ()):  # how many cases each row of points has
        for row, organ in enumerate(organs):
            count = len(values.get(organ, ()))
            axes.text(102, row - 0.4 + height * (place + 0.5), f"n = {count}", fontsize=7, color=INK, va="center")
    if every:
        figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    else:
        axes.text(50, (rows - 1) / 2, "no case scored yet", ha="center", va="center", color="#666666", fontsize=9)
    return figure


def _dense_figure(sets: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Return the Dice of many organs in two columns of panels: the last set alone, the lowest median first."""
    name, values = list(sets.items())[-1]
    percent = {organ: np.asarray(numbers, dtype=float) * 100 for organ, numbers in values.items() if len(numbers)}
    ordered = sorted(percent, key=lambda organ: float(np.median(percent[organ])))
    half = max(1, -(-len(ordered) // 2))
    figure = new_figure(11.0, 0.9 + 0.17 * half)
    panels = figure.subplots(1, 2, sharex=True)
    for axes, organs in zip(panels, (ordered[:half], ordered[half:]), strict=True):
        plain_axes(axes).grid(visible=False, axis="y")
        for row, organ in enumerate(organs):
            _draw_set(axes, percent[organ], row, 0.9, TESTING, "D")
        axes.set(xlim=(-1, 101), ylim=(half - 0.45, -0.55), xlabel=f"Dice (%), {name} cases")
        axes.set_yticks(range(len(organs)), organs, fontsize=7)
    return figure


def _draw_set(axes: Axes, percent: npt.NDArray[np.float64], y: float, height: float, colour: str, marker: str) -> None:
    """Draw the points and, from 5 cases on, quartiles and range of one organ in one set, around `y`."""
    spread = 0.6 if len(percent) >= 5 else 0.0  # a few points need none, and would look like two rows
    jitter = (np.arange(len(percent)) * _STEP % 1 - 0.5) * height * spread
    alpha = 0.9 if len(percent) <= 50 else 0.5
    points = axes.scatter(percent, y + jitter, s=10, color=colour, marker=marker, alpha=alpha, linewidths=0, zorder=2)
    points.set_rasterized(len(percent) > MANY_POINTS)
    if len(percent) >= 5:  # quartiles of fewer cases say less than the points themselves
        low, first, middle, third, high = np.percentile(percent, (0, 25, 50, 75, 100))
        side = height * 0.375
        box = Rectangle((first, y - side), third - first, 2 * side, fill=False, edgecolor=INK, linewidth=0.9, zorder=3)
        axes.add_patch(box)
        axes.hlines([y, y], [low, third], [first, high], colors=INK, linewidth=0.9, zorder=3)
        axes.vlines(middle, y - side, y + side, colors=INK, linewidth=2.0, zorder=3)
