"""A case in three planes with the outlines of its organs: all of them, or one with the bare image above."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke

from autoseg.figures.canvas import legend_below, new_figure
from autoseg.figures.colours import INK, organ_colour
from autoseg.figures.errors import error_cut
from autoseg.figures.planes import (
    CaseArrays,
    Cut,
    Labels,
    Plane,
    bar_length_mm,
    grey_panels,
    hatch_unknown,
    name_sides,
    scale_bar,
    show,
    unknown_patch,
)
from autoseg.figures.windows import ct_window
from autoseg.imaging.grid import Box
from autoseg.labels import Mask

BOX = "#FFE14D"  # of what a second stage has looked into
REFERENCE, PREDICTION, _OTHERS = "#00E5FF", "#FF8C1A", "#C8D0DA"  # lines of one organ, and of the others
_STRIP_IN = (6.0, 2.5)  # a strip's width, and its height at most
_GAP_IN = 0.03  # between the planes of a strip

Style = Literal["solid", "dashed"]  # of truth and of prediction


def overlay_figure(case: CaseArrays, title: str = "") -> Figure:
    """Return the axial, coronal and sagittal plane in which the organs are densest.

    Axial planes have the patient's front up and right side on the left, as radiologists look at them; coronal and
    sagittal planes have the head up. The view is cut to the organs and a margin; 1 mm is as long on every axis.

    Args:
        case: What to show.
        title: Heading, as in "case_07, Dice 93.1 %".
    """
    cut, organs, styled, unknown = case.best_cut(), case.organs, _styled(case), case.unknown
    figure, (panels,) = grey_panels(cut, case.image, case.shades)
    for axes, plane in zip(panels, cut.planes, strict=True):
        hatch_unknown(axes, plane, cut, unknown)
        for style, labels in styled.items():
            outline(axes, plane, cut, labels, organs, style, within=case.within)
    figure.suptitle(title, fontsize=11, color=INK)
    names: dict[Style, str] = {"solid": "reference", "dashed": "prediction"}
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


def organ_figure(case: CaseArrays, focus: int, at_errors: bool = False, title: str = "") -> Figure:
    """Return three planes with one organ, the image alone above and with outlines below.

    The truth of the organ is light blue, its prediction orange, the truth of other organs a thin line.

    Args:
        case: What to show.
        focus: Label value of the organ.
        at_errors: Whether the slices are those of `errors_figure`, not those in which the organ is densest.
        title: Heading, as in "case_07, Dice 93.1 %".
    """
    cut = error_cut(case, focus) if at_errors else case.best_cut(focus)
    window = ct_window(case.painted(focus), focus)
    figure, (_, panels) = grey_panels(cut, case.image, window or case.shades, rows=2, hounsfield=window)
    lines = []
    if case.truth is not None:
        others = [value for value in case.organs if value != focus]
        lines += [_Line("other organs (reference)", case.truth, others, _OTHERS, 0.5)] if others else []
        lines.append(_Line("reference", case.truth, [focus], REFERENCE, 1.2))
    if case.prediction is not None:
        lines.append(_Line("prediction", case.prediction, [focus], PREDICTION, 1.2))
    for axes, plane in zip(panels, cut.planes, strict=True):
        hatch_unknown(axes, plane, cut, case.unknown)
        frame_boxes(axes, plane, cut, case.looked)
        for line in lines:
            pixels = cut.pixels(plane, line.labels)
            for value in line.values:
                mask = pixels == value if case.within is None else np.isin(pixels, case.within[value])
                _contour(axes, plane, cut, mask, line.colour, "solid", line.width)
    figure.suptitle(title, fontsize=11, color=INK)
    looks = [(line.colour, 1.5 * line.width) for line in lines]
    handles: list[Artist] = [
        Line2D([], [], color=colour, linewidth=width, path_effects=_cased(width)) for colour, width in looks
    ]
    handles += [] if case.unknown is None else [unknown_patch()]
    notes = [] if case.unknown is None else ["not annotated"]
    legend_below(figure, handles, [*(line.name for line in lines), *notes])
    return figure


@dataclass(frozen=True)
class _Line:
    """Outlines of one look: what they are, and of which organs."""

    name: str
    labels: Labels
    values: Sequence[int]
    colour: str
    width: float


def case_figure(case: CaseArrays) -> Figure:
    """Return the planes of `overlay_figure` as a strip on black, without a legend: one of many in a report.

    It is 900 pixels wide; as "webp" it takes some tens of kB.
    """
    cut, shades, unknown = case.best_cut(), case.shades, case.unknown
    figure, panels = _strip(cut)
    bar_mm = bar_length_mm(min(cut.size_mm(plane)[0] for plane in cut.planes))
    for axes, plane in zip(panels, cut.planes, strict=True):
        show(axes, plane, cut, case.image, shades)
        hatch_unknown(axes, plane, cut, unknown)
        if cut.sided:
            name_sides(axes, plane.sides, "white", "black", 6.5)
        scale_bar(axes, bar_mm, "white", "black", 6.5)
        frame_boxes(axes, plane, cut, case.looked)
        for style, labels in _styled(case).items():
            outline(axes, plane, cut, labels, case.organs, style, 0.9, case.within)
    return figure


def outline(
    axes: Axes,
    plane: Plane,
    cut: Cut,
    labels: Labels,
    organs: Mapping[int, str],
    style: Style,
    width: float = 1.2,
    within: Mapping[int, tuple[int, ...]] | None = None,
) -> None:
    """Draw the outline of every organ of a label map (Z, Y, X) in a plane; of a region, around all that is within."""
    pixels = cut.pixels(plane, labels)
    for index, value in enumerate(organs):
        mask = pixels == value if within is None else np.isin(pixels, within[value])
        _contour(axes, plane, cut, mask, organ_colour(index), style, width)


def frame_boxes(axes: Axes, plane: Plane, cut: Cut, boxes: Iterable[Box]) -> None:
    """Draw the sides of boxes, voxels of the image, where a plane cuts them; a view that is smaller cuts them off."""
    for box in boxes:
        if not box[plane.axis].start <= cut.at[plane.axis] < box[plane.axis].stop:
            continue
        ends = [
            ((part.start - shown.start) * mm, (part.stop - shown.start) * mm)
            for axis, (part, shown, mm) in enumerate(zip(box, cut.box, cut.spacing_mm, strict=True))
            if axis != plane.axis
        ]
        (low, high), (left, right) = ends
        frame = Rectangle((left, low), right - left, high - low, fill=False, edgecolor=BOX, linewidth=0.7)
        frame.set_path_effects(_cased(0.7))
        axes.add_patch(frame)


def _contour(axes: Axes, plane: Plane, cut: Cut, mask: Mask, colour: str, style: Style, width: float) -> None:
    """Draw the outline of a mask, of a plane's pixels, in a dark casing."""
    if not mask.any():
        return
    framed = np.pad(mask, 1)  # closes the outline of an organ that the view cuts
    rows_mm, columns_mm = cut.steps_mm(plane)
    x = (np.arange(framed.shape[1]) - 0.5) * columns_mm
    y = (np.arange(framed.shape[0]) - 0.5) * rows_mm
    lines = axes.contour(x, y, framed, levels=[0.5], colors=[colour], linestyles=style, linewidths=width)
    lines.set_path_effects(_cased(width))


def _cased(width: float) -> list[AbstractPathEffect]:
    return [withStroke(linewidth=width + 1.2, foreground="black")]


def _visible(cut: Cut, maps: Iterable[Labels], organs: Mapping[int, str]) -> set[int]:
    """Return the organs that are in any of the planes."""
    values = [np.unique(cut.pixels(plane, labels)) for labels in maps for plane in cut.planes]
    return set(np.concatenate(values).tolist()) & set(organs) if values else set()


def _styled(case: CaseArrays) -> dict[Style, Labels]:
    styled: dict[Style, Labels | None] = {"solid": case.truth, "dashed": case.prediction}
    return {style: labels for style, labels in styled.items() if labels is not None}


def _strip(cut: Cut) -> tuple[Figure, list[Axes]]:
    """Return a black figure in which the planes stand side by side."""
    sizes = [cut.size_mm(plane) for plane in cut.planes]
    width, most = _STRIP_IN
    free = width - (len(cut.planes) - 1) * _GAP_IN
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
