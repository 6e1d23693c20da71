"""Paired differences between methods: a point for each case, the mean with its confidence interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoseg.figures.canvas import legend_below, new_figure, plain_axes, say
from autoseg.figures.colours import INK, TESTING

_STEP = 0.6180339887  # golden ratio: the points of a row spread evenly, the same way every time
_COLOURS = (TESTING, "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#332288")  # far apart for the colour-blind too
_MARKERS = "oDs^vP"


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The differences of one organ, in the unit that is drawn."""

    values: Sequence[float]  # one a case
    interval: tuple[float, float] | None  # of the mean


def differences_figure(others: Mapping[str, Mapping[str, Paired]], baseline: str, what: str, better: str) -> Figure:
    """Return the differences by case of every organ, one method beside the other.

    Args:
        others: Method to organ to its differences, method minus baseline; the order of the organs is that of the
            first.
        baseline: The method that the others are compared with.
        what: That is drawn, as in "Difference of Dice (percentage points)".
        better: The side of zero where a method is better than the baseline, "right" or "left".
    """
    organs = list(dict.fromkeys(organ for rows in others.values() for organ in rows))
    height = 0.8 / max(1, len(others))
    row_in = (0.3 if len(organs) <= 20 else 0.2) * max(1, len(others)) + 0.1
    figure = new_figure(7.5, 0.8 + row_in * max(1, len(organs)))
    axes = plain_axes(figure.subplots())
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    keys: dict[str, Line2D] = {}
    for place, (name, rows) in enumerate(others.items()):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        for row, organ in enumerate(organs):
            if organ in rows:
                _draw(axes, rows[organ], row - 0.4 + height * (place + 0.5), height, colour, marker)
        keys[name] = Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4)
    keys["mean, 95 % interval"] = Line2D([], [], color=INK, linewidth=1.6, marker="|", markersize=8, markeredgewidth=2)
    _frame(axes, organs, others)
    axes.set_xlabel(f"{what}; {better} of 0: better than {baseline}", fontsize=9)
    legend_below(figure, list(keys.values()), list(keys))
    return figure


def _frame(axes: Axes, organs: Sequence[str], others: Mapping[str, Mapping[str, Paired]]) -> None:
    """Set the limits so that zero and every point are in, and name the rows."""
    every = [value for rows in others.values() for paired in rows.values() for value in paired.values]
    low, high = min(0.0, *every, 0.0), max(0.0, *every, 0.0)
    margin = 0.04 * (high - low) or 1.0
    axes.set(xlim=(low - margin, high + margin), ylim=(len(organs) - 0.45, -0.55))
    axes.set_yticks(range(len(organs)), organs)
    if not every:
        say(axes, "no case has a value in both")


def _draw(axes: Axes, paired: Paired, y: float, height: float, colour: str, marker: str) -> None:
    """Draw the points of one organ around `y`, and their mean over them."""
    values = np.asarray(paired.values, dtype=float)
    if not len(values):
        return
    jitter = (np.arange(len(values)) * _STEP % 1 - 0.5) * height * 0.7
    alpha = 0.6 if len(values) <= 50 else 0.35
    axes.scatter(values, y + jitter, s=9, color=colour, marker=marker, alpha=alpha, linewidths=0, zorder=2)
    mean, half = float(values.mean()), height * 0.3
    axes.vlines(mean, y - half, y + half, colors=INK, linewidth=2.0, zorder=4)
    if paired.interval is not None:
        axes.hlines(y, *paired.interval, colors=INK, linewidth=1.6, zorder=3)
