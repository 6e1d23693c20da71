"""Dice of each organ beside the ceiling of the working grid: the loss from the grid alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import blended_transform_factory

from autoseg.figures.canvas import legend_below, new_figure, plain_axes, say
from autoseg.figures.colours import FAINT, INK, colours_by_name

_STEP = 0.6180339887  # golden ratio: the points of an organ spread evenly, the same way every time
_HALF = 0.36  # of a row
_BEYOND = "#E3E3E3"
_COLUMNS = {"mean": 1.06, "ceiling": 1.14}  # where they end, in widths of the panel


def ceilings_figure(
    reached: Mapping[str, Sequence[float]], ceiling: Mapping[str, float], colours: Mapping[str, str] | None = None
) -> Figure:
    """Return the Dice of the cases of every organ beside its ceiling.

    What lies beyond the ceiling is lost when the truth goes to the working grid and back; what lies between mean and
    ceiling is lost by the network. A ceiling is a mean over cases: a single case may lie above it.

    Args:
        reached: Organ to the Dice (0 to 1) of its cases, in label order; cases without a number are left out.
        ceiling: Organ to the Dice (0 to 1) of its truth after the working grid and back; organs may be missing.
        colours: Organ to its colour; None: in the order of `reached`, as where these are all organs.
    """
    colours = colours or colours_by_name(reached)
    percent = {organ: 100 * np.asarray([v for v in values if np.isfinite(v)]) for organ, values in reached.items()}
    most = {organ: 100 * ceiling[organ] for organ in reached if np.isfinite(ceiling.get(organ, np.nan))}
    every = [*most.values(), *(float(value) for values in percent.values() for value in values)]
    low = min(80.0, 10.0 * (min(every, default=0.0) // 10.0))
    rows = max(1, len(percent))
    figure = new_figure(7.5, 0.75 + (0.32 if rows <= 20 else 0.2) * rows)
    axes = plain_axes(figure.subplots())
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="Dice (%)", xlim=(low - (100 - low) / 100, 100.4), ylim=(rows - 0.45, -0.55))
    axes.set_yticks(range(len(percent)), list(percent))
    for row, (organ, values) in enumerate(percent.items()):
        _draw(axes, row, values, most.get(organ), colours[organ])
    if every:
        _write(axes, -0.8, dict(zip(_COLUMNS, _COLUMNS, strict=True)))
        legend_below(figure, _handles(), ["case", "mean", "ceiling of the working grid", "lost to the grid"])
    else:
        say(axes, "no case scored yet")
    return figure


def _draw(axes: Axes, row: int, values: npt.NDArray[np.float64], most: float | None, colour: str) -> None:
    """Draw the cases of an organ, their mean and the ceiling, in %."""
    numbers = dict.fromkeys(_COLUMNS, "–")
    if most is not None:
        axes.add_patch(Rectangle((most, row - _HALF), 100 - most, 2 * _HALF, facecolor=_BEYOND, zorder=1))
        axes.vlines(most, row - _HALF, row + _HALF, colors=INK, linewidth=1.4, zorder=3)
        numbers["ceiling"] = f"{most:.1f}"
    if len(values):
        mean = float(values.mean())
        jitter = (np.arange(len(values)) * _STEP % 1 - 0.5) * _HALF
        axes.scatter(values, row + jitter, s=10, color=colour, alpha=0.7, linewidths=0, zorder=2)
        axes.plot(mean, row, "D", color=colour, markeredgecolor=INK, markersize=6, zorder=4)
        numbers["mean"] = f"{mean:.1f}"
    _write(axes, row, numbers)


def _write(axes: Axes, y: float, texts: Mapping[str, str]) -> None:
    """Write one text a column beside the panel."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for column, text in texts.items():
        axes.text(_COLUMNS[column], y, text, transform=beside, ha="right", va="center", fontsize=8, color=INK)


def _handles() -> list[Artist]:
    return [
        Line2D([], [], color=FAINT, marker="o", linestyle="", markersize=4),
        Line2D([], [], color=FAINT, marker="D", markeredgecolor=INK, linestyle="", markersize=6),
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=10, markeredgewidth=1.4),
        Patch(facecolor=_BEYOND),
    ]
