"""What a model says of itself: how often its probabilities are right, its expected Dice, risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoseg.figures.canvas import legend_below, new_figure, plain_axes, say
from autoseg.figures.colours import FAINT, INK, colours_by_name

MOST_NAMED = 12  # organs in the legend
MANY_POINTS = 500  # that are pixels in an SVG


def trust_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    risks: Sequence[float],
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Return three panels: reliability curves, expected against true Dice, risk against coverage.

    Args:
        curves: Organ to the mean probability of each bin and the share of its voxels that are of the organ, 0 to 1.
        pairs: Organ to the expected and the true Dice of its cases, 0 to 1.
        risks: One minus the mean Dice of the most trusted case, of the two most trusted, and so on to all; empty where
            the model trusts none more than another.
        colours: Organ to its colour; None: in the order in which they come.
    """
    shown = list(dict.fromkeys([*curves, *pairs]))
    colours = colours or colours_by_name(shown)
    figure = new_figure(9.0, 3.1)
    reliability, agreement, risk = figure.subplots(1, 3)
    for organ, (probability, true) in curves.items():
        reliability.plot(probability, true, "o-", color=colours[organ], markersize=3, linewidth=1.2)
    _square(reliability, "Probability", "Share of voxels that are the organ", bool(curves))
    many = sum(len(dice) for _, dice in pairs.values()) > MANY_POINTS
    for organ, (expected, dice) in pairs.items():
        agreement.scatter(expected, dice, s=10, color=colours[organ], linewidths=0, alpha=0.7, rasterized=many)
    _square(agreement, "Expected Dice", "Dice", bool(pairs))
    _draw_risk(risk, risks)
    if 1 < len(shown) <= MOST_NAMED:
        lines = [Line2D([], [], color=colours[organ], marker="o", markersize=3, linewidth=1.2) for organ in shown]
        legend_below(figure, lines, shown)
    return figure


def _square(axes: Axes, across: str, up: str, has_points: bool) -> None:
    """Draw the diagonal, on which what is said is true."""
    plain_axes(axes).set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, zorder=1)
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    if not has_points:
        say(axes, "not measured")


def _draw_risk(axes: Axes, risks: Sequence[float]) -> None:
    plain_axes(axes)
    axes.set_xlabel("Cases kept, the most trusted first (%)", fontsize=9, color=INK)
    axes.set_ylabel("Risk (1 − mean Dice)", fontsize=9, color=INK)
    if not risks:
        say(axes, "the model ranks no case")
        return
    axes.plot([100 * (n + 1) / len(risks) for n in range(len(risks))], risks, color=INK, linewidth=1.4)
    axes.axhline(risks[-1], color=FAINT, linewidth=0.8, zorder=1)
    axes.set(xlim=(0, 100), ylim=(0, None))
