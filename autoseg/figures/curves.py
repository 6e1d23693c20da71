"""Learning curves: the loss, and the Dice of every organ, over the iterations (the paper's Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from autoseg.dataset.split import SIDES
from autoseg.figures.canvas import legend_below, new_figure, plain_axes, say
from autoseg.figures.colours import FAINT, INK, TESTING, TRAINING, VALIDATION, organ_colour
from autoseg.words import counted

LEAST_BREAK = 30  # percent, below which the axis of the Dice begins at 0
LEAST_ROOM = 5  # percent, below the lowest of the settled curves
MOST_LINES = 20  # with a name and a colour; of more organs those that end lowest have one
FEW_NAMED = 8
_MOST_POINTS = 1000  # of a smooth line: more is not seen, and makes the SVG heavy


def curves_figure(log: pd.DataFrame, organs: Sequence[str], cases: Mapping[str, int] | None = None) -> Figure:
    """Return the learning curves of a training, finished or not.

    Args:
        log: Column `iteration`; any of `loss`, `loss_<split>` and `dice_<split>_<organ>` (0 to 1); a row an
            iteration, NaN where not measured. Rows may be missing altogether.
        organs: Names in label order; the order gives the colours.
        cases: Split to the number of its cases that were measured, for the titles.

    Returns:
        A panel for the loss, then one for the Dice of each split that the log has.
    """
    log = log.drop_duplicates("iteration", keep="last").sort_values("iteration") if len(log) else log
    splits = [s for s in SIDES if any(len(_measured(log, f"dice_{s}_{organ}")) for organ in organs)]
    panel_splits = splits or ["validation"]
    figure = new_figure(4.2 * (1 + len(panel_splits)), 3.9)
    panels = figure.subplots(1, 1 + len(panel_splits), squeeze=False)[0]
    _draw_loss(panels[0], log)
    lowest = _lowest_percent([_measured(log, f"dice_{s}_{organ}") for s in splits for organ in organs])
    for axes, split in zip(panels[1:], panel_splits, strict=True):
        _draw_dice(axes, log, split, organs, lowest)
        axes.set_title(_title(split, (cases or {}).get(split)))
    last = float(log["iteration"].max()) if len(log) else 1.0
    for axes in panels:
        axes.set_xlim(0, last * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if splits:
        entries = {
            name: line for axes in panels[1:] for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        legend_below(figure, list(entries.values()), list(entries))
    return figure


def smoothed(values: pd.Series[float], window: int) -> pd.Series[float]:
    """Return the centred running mean of `values` over `window` of them, fewer at both ends."""
    return values.rolling(window, min_periods=1, center=True).mean()


def _draw_loss(axes: Axes, log: pd.DataFrame) -> None:
    plain_axes(axes).set(title="Loss", xlabel="Iteration", ylabel="Loss")
    loss = _measured(log, "loss")
    if len(loss):
        window = max(1, len(loss) // 50)
        axes.plot(
            loss.index, loss, color=FAINT, linewidth=0.5, alpha=0.5, rasterized=True, label="training, each iteration"
        )
        line = _thinned(smoothed(loss, window))
        axes.plot(line.index, line, color=INK, linewidth=1.4, label=f"training, mean of {window}")
    whole = {split: _measured(log, f"loss_{split}") for split in SIDES}
    styles = ((TRAINING, "-"), (VALIDATION, ":"), (TESTING, "--"))
    for place, ((split, line), (colour, style)) in enumerate(zip(whole.items(), styles, strict=True)):
        if len(line):
            dots, name = _marker(line, place), f"{split}, whole volumes"
            axes.plot(line.index, line, style, color=colour, marker=dots, markersize=3.5, label=name)
    if axes.lines:
        _fit_height(axes, loss, *whole.values())
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    else:
        say(axes, "no iteration logged yet")


def _lowest_percent(lines: Sequence[pd.Series[float]]) -> int:
    """Return where the axis of the Dice begins: at 0, or where all lines are far above it after their first quarter."""
    settled = [float(line.iloc[len(line) // 4 :].min()) for line in lines if len(line)]
    lowest = 10 * int((100 * min(settled, default=0.0) - LEAST_ROOM) / 10)
    return lowest if lowest >= LEAST_BREAK else 0


def _draw_dice(axes: Axes, log: pd.DataFrame, split: str, organs: Sequence[str], lowest: int) -> None:
    label = f"Dice (%; axis begins at {lowest})" if lowest else "Dice (%)"
    plain_axes(axes).set(xlabel="Iteration", ylabel=label, ylim=(lowest, 100))
    lines = {i: _measured(log, f"dice_{split}_{organ}") * 100 for i, organ in enumerate(organs)}
    ends = {i: float(line.iloc[-1]) for i, line in lines.items() if len(line)}
    named = set(sorted(ends, key=lambda i: ends[i])[:FEW_NAMED] if len(organs) > MOST_LINES else ends)
    for i, line in lines.items():
        if i not in named:
            axes.plot(line.index, line, color=FAINT, linewidth=0.5, zorder=1)
            continue
        dots = _marker(line, i)
        axes.plot(line.index, line, color=organ_colour(i), marker=dots, markersize=3.5, linewidth=1.3, label=organs[i])
    if not any(len(line) for line in lines.values()):
        say(axes, "not measured yet")
    elif len(organs) > 1:
        mean = pd.DataFrame(lines).mean(axis=1).dropna()
        axes.plot(mean.index, mean, color=INK, linewidth=2.0, linestyle=(0, (4, 1.5)), label="mean of organs")


def _title(split: str, cases: int | None) -> str:
    return f"Dice, {split}" if cases is None else f"Dice of {counted(cases, f'{split} case')}, working grid"


def _measured(log: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column by iteration, where it was measured; empty where the log lacks it."""
    if column not in log or "iteration" not in log:
        return pd.Series(dtype=float)
    line = pd.Series(log[column].to_numpy(dtype=float), index=log["iteration"].to_numpy())
    return line[np.isfinite(line)]


def _marker(line: pd.Series[float], index: int) -> str:
    """Return a marker that tells organs apart without colour; none where the points would touch."""
    return "osD^vPX"[index % 7] if len(line) <= 40 else ""


def _thinned(line: pd.Series[float]) -> pd.Series[float]:
    return line.iloc[:: max(1, len(line) // _MOST_POINTS)]


def _fit_height(axes: Axes, *lines: pd.Series[float]) -> None:
    """Show all but the highest 1 % of each line: a few spikes would flatten the rest."""
    measured = [line for line in lines if len(line)]
    low, high = min(float(line.min()) for line in measured), max(float(line.quantile(0.99)) for line in measured)
    margin = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
