"""Volumes of organs, predicted against true: how far they lie apart, over their size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory
from scipy import stats

from autoseg.figures.canvas import new_figure, plain_axes, say
from autoseg.figures.colours import FAINT, INK, organ_colour

_COLUMNS = 4
_TITLE = 26  # characters of a line above a panel
MANY_POINTS = 200  # from which they are pixels in an SVG
FEWEST = 5  # cases of which limits are worth drawing
_NORMAL_95 = 1.96  # standard deviations that hold 95 % of a normal distribution

_APART = 0.15  # of a panel's height, between the middles of its texts

Numbers = npt.NDArray[np.float64]


def agreement_figure(
    volumes: Mapping[str, tuple[Sequence[float], Sequence[float]]], colours: Mapping[str, str] | None = None
) -> Figure:
    """Return a Bland-Altman plot of the volume of each organ.

    A point is a case; the lines are the mean difference (bias) and the limits between which 95 % of differences are
    expected, bias ± 1.96 standard deviations (n - 1), each with its 95 % confidence interval as a band. Cases without a
    number are left out.

    Args:
        volumes: Organ to its true and its predicted volumes in ml, by case, in label order.
        colours: Organ to #RRGGBB; None: by the order of the organs.

    Source: Bland & Altman 1986, "Statistical methods for assessing agreement between two methods of clinical
    measurement"; 1999, "Measuring agreement in method comparison studies", for the intervals.
    """
    rows = max(1, -(-len(volumes) // _COLUMNS))
    columns = max(1, -(-len(volumes) // rows))  # as even rows as there can be
    figure = new_figure(0.3 + 2.6 * columns, 0.3 + 2.0 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    colours = colours or {organ: organ_colour(index) for index, organ in enumerate(volumes)}
    for axes, (organ, (truth, prediction)) in zip(panels, volumes.items(), strict=False):
        true, predicted = np.asarray(truth, dtype=float), np.asarray(prediction, dtype=float)
        both = np.isfinite(true) & np.isfinite(predicted)
        plain_axes(axes).set_title(f"{fill(organ, _TITLE)} (n = {both.sum()})", fontsize=9, color=INK)
        _draw(axes, (true[both] + predicted[both]) / 2, predicted[both] - true[both], colours[organ])
    for axes in panels[len(volumes) :]:
        axes.set_axis_off()
    if not volumes:
        say(panels[0], "no organ measured yet")
    figure.supxlabel("Mean of reference and prediction (ml)", fontsize=9, color=INK)
    figure.supylabel("Prediction − reference (ml)", fontsize=9, color=INK)
    return figure


def limits_of(differences_ml: Numbers) -> tuple[float, float, float]:
    """Return the lower limit of agreement, the bias and the upper limit of at least two differences, in ml.

    >>> limits_of(np.array([-1.0, 0.0, 1.0]))
    (-1.96, 0.0, 1.96)
    """
    bias = float(differences_ml.mean())
    reach = _NORMAL_95 * float(differences_ml.std(ddof=1))
    return bias - reach, bias, bias + reach


def reaches_of(differences_ml: Numbers, level: float = 0.95) -> tuple[float, float]:
    """Return how far the confidence intervals of the bias and of a limit reach to each side, in ml.

    >>> reaches_of(np.array([-1.0, 0.0, 1.0, 0.0, 0.0]))
    (0.878, 1.619)
    """
    n, deviation = len(differences_ml), float(differences_ml.std(ddof=1))
    quantile = float(stats.t.ppf(0.5 + level / 2, n - 1))
    errors = (deviation / math.sqrt(n), deviation * math.sqrt(1 / n + _NORMAL_95**2 / (2 * (n - 1))))
    return round(quantile * errors[0], 3), round(quantile * errors[1], 3)


def _draw(axes: Axes, means_ml: Numbers, differences_ml: Numbers, colour: str) -> None:
    """Draw the points of one organ and, of enough cases, the lines."""
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
    points = axes.scatter(means_ml, differences_ml, s=14, color=colour, edgecolors=INK, linewidths=0.4, zorder=3)
    points.set_rasterized(len(means_ml) > MANY_POINTS)
    lines = limits_of(differences_ml) if len(differences_ml) >= FEWEST else ()
    of_bias, of_limit = reaches_of(differences_ml) if lines else (0.0, 0.0)
    bands = [(line - reach, line + reach) for line, reach in zip(lines, (of_limit, of_bias, of_limit), strict=False)]
    _frame(axes, means_ml, [0.0, *differences_ml, *(end for band in bands for end in band)])
    for low, high in bands:
        axes.axhspan(low, high, color=FAINT, alpha=0.22, linewidth=0, zorder=0)
    if lines:
        _draw_limits(axes, lines)
    else:
        text = axes.text(0.5, 0.97, "too few cases for limits", transform=axes.transAxes, ha="center", va="top")
        text.set(color="#666666", fontsize=7)


def _frame(axes: Axes, means_ml: Numbers, heights_ml: Sequence[float]) -> None:
    """Fix the view: a margin around the points."""
    low, high = (float(means_ml.min()), float(means_ml.max())) if len(means_ml) else (0.0, 1.0)
    width = high - low or max(0.2 * abs(high), 0.1)
    bottom, top = min(heights_ml), max(heights_ml)
    margin = 0.14 * (top - bottom) or 0.1
    axes.set(xlim=(low - 0.08 * width, high + 0.08 * width), ylim=(bottom - margin, top + margin))


def _draw_limits(axes: Axes, lines: tuple[float, float, float]) -> None:
    """Draw bias and limits, each with its number; only the bias where all are the same."""
    lower, bias, upper = lines
    names = {"bias": bias} | ({"+1.96 SD": upper, "−1.96 SD": lower} if upper > lower else {})
    bottom, top = axes.get_ylim()
    apart = max(upper - bias, _APART * (top - bottom))  # of the texts: lines may lie close together
    middle = float(np.clip(bias, bottom + 1.5 * apart, top - 1.5 * apart)) if apart > upper - bias else bias
    places = {"bias": middle, "+1.96 SD": middle + apart, "−1.96 SD": middle - apart}
    across = blended_transform_factory(axes.transAxes, axes.transData)
    digits = 2 if upper - lower < 2 else 1 if upper - lower < 100 else 0
    for name, height in names.items():
        style, width = ("-", 1.2) if name == "bias" else ("--", 0.9)
        axes.axhline(height, color=INK, linewidth=width, linestyle=style, zorder=2)
        text = f"{name}\n{round(height, digits) + 0.0:+.{digits}f}".replace("-", "−")  # + 0.0: no "−0.0"
        number = axes.text(1.02, places[name], text, transform=across, ha="left", va="center")  # beside the panel
        number.set(fontsize=6.5, linespacing=1.05, color=INK)
