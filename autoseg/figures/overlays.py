"""A case in three planes with the outlines of its organs: truth solid, prediction dashed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from autoseg.figures.canvas import legend_below, new_figure
from autoseg.figures.colours import INK, luminance, organ_colour
from autoseg.figures.planes import (
    PLANES,
    CaseArrays,
    Cut,
    Labels,
    Plane,
    grey_panels,
    hatch_unknown,
    name_sides,
    scale_bar,
    show,
    unknown_patch,
)

CT_WINDOW_HU = (-160.0, 240.0)  # soft tissue of the abdomen
_STRIP_IN = (6.0, 2.5)  # a strip's width, and its height at most
_GAP_IN = 0.03  # between the planes of a strip

Style = Literal["solid", "dashed"]  # of truth and of prediction


def overlay_figure(case: CaseArrays, title: str = "", focus: int | None = None) -> Figure:
    """Return the axial, coronal and sagittal plane in which the organs are densest.

    Axial planes have the patient's front up and right side on the left, as radiologists look at them; coronal and
    sagittal planes have the head up. The view is cut to the organs and a margin; 1 mm is as long on every axis.

    Args:
        case: What to show.
        title: Heading, as in "case_07, Dice 93.1 %".
        focus: Label value of the organ that alone decides slices and view; None: all organs do.
    """
    cut, organs, styled, unknown = case.best_cut(focus), case.organs, _styled(case), case.unknown
    figure, panels = grey_panels(cut, case.image, case.shades)
    for axes, plane in zip(panels, PLANES, strict=True):
        hatch_unknown(axes, plane, cut, unknown)
        for style, labels in styled.items():
            outline(axes, plane, cut, labels, organs, style)
    figure.suptitle(title, fontsize=11, color=INK)
    names: dict[Style, str] = {"solid": "truth", "dashed": "prediction"}
    visible = _visible(cut, styled.values(), organs)
    lines: list[Artist] = [
        Line2D([], [], color=organ_colour(i), linewidth=3) for i, value in enumerate(organs) if value in visible
    ]
    lines += [Line2D([], [], color=INK, linewidth=1.3, linestyle=style) for style in styled]
    labels_shown = [name for value, name in organs.items() if value in visible]
    lines += [] if unknown is None else [unknown_patch()]
    notes = [] if unknown is None else ["not annotated"]
    legend_below(figure, lines, [*labels_shown, *(names[style] for style in styled), *notes])
    return figure


def case_figure(case: CaseArrays) -> Figure:
    """Return the planes of `overlay_figure` as a strip on black, without a legend: one of many in a report.

    It is 900 pixels wide; as "webp" it takes some tens of kB.
    """
    cut, shades, unknown = case.best_cut(), case.shades, case.unknown
    figure, panels = _strip(cut)
    for axes, plane in zip(panels, PLANES, strict=True):
        show(axes, plane, cut, case.image, shades)
        hatch_unknown(axes, plane, cut, unknown)
        name_sides(axes, (plane.sides[0], "", plane.sides[2], ""), "white", "black", 6.5)
        for style, labels in _styled(case).items():
            outline(axes, plane, cut, labels, case.organs, style, 0.9)
    scale_bar(panels[0], cut.size_mm(PLANES[0])[0], "white", "black", 6.5)
    return figure


def outline(
    axes: Axes,
    plane: Plane,
    cut: Cut,
    labels: Labels,
    organs: Mapping[int, str],
    style: Style,
    width: float = 1.2,
) -> None:
    """Draw the outline of every organ of a label map (Z, Y, X) in a plane."""
    framed = np.pad(cut.pixels(plane, labels), 1)  # closes the outline of an organ that the view cuts
    rows_mm, columns_mm = cut.steps_mm(plane)
    x = (np.arange(framed.shape[1]) - 0.5) * columns_mm
    y = (np.arange(framed.shape[0]) - 0.5) * rows_mm
    for index, value in enumerate(organs):
        mask = framed == value
        if mask.any():
            colour = organ_colour(index)
            lines = axes.contour(x, y, mask, levels=[0.5], colors=[colour], linestyles=style, linewidths=width)
            lines.set_path_effects([withStroke(linewidth=width + 0.8, foreground=_halo(colour))])


def _visible(cut: Cut, maps: Iterable[Labels], organs: Mapping[int, str]) -> set[int]:
    """Return the organs that are in any of the planes."""
    values = [np.unique(cut.pixels(plane, labels)) for labels in maps for plane in PLANES]
    return set(np.concatenate(values).tolist()) & set(organs) if values else set()


def _styled(case: CaseArrays) -> dict[Style, Labels]:
    styled: dict[Style, Labels | None] = {"solid": case.truth, "dashed": case.prediction}
    return {style: labels for style, labels in styled.items() if labels is not None}


def _halo(colour: str) -> str:
    return "black" if luminance(colour) > 0.12 else "white"


def _strip(cut: Cut) -> tuple[Figure, list[Axes]]:
    """Return a black figure in which the planes stand side by side."""
    sizes = [cut.size_mm(plane) for plane in PLANES]
    width, most = _STRIP_IN
    free = width - (len(PLANES) - 1) * _GAP_IN
    scale = min(free / sum(w for w, _ in sizes), most / max(h for _, h in sizes))  # inches a millimetre
    height = max(0.5, scale * max(h for _, h in sizes))
    figure = new_figure(width, height)
    figure.set_facecolor("black")
    figure.set_layout_engine("none")  # the panels have their places
    left = (free - scale * sum(w for w, _ in sizes)) / 2
    panels = []
    for across, up in sizes:
        low = (height - up * scale) / 2
        panels.append(figure.add_axes((left / width, low / height, across * scale / width, up * scale / height)))
        left += across * scale + _GAP_IN
    return figure, panels
