"""A case in three planes with the outlines of its organs: truth solid, prediction dashed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from autoseg.figures.canvas import legend_below, new_figure
from autoseg.figures.colours import INK, luminance, organ_colour
from autoseg.figures.planes import PLANES, Cut, Image, Labels, Plane, best_cut, grey_panels, name_sides, scale_bar, show
from autoseg.imaging.grid import Triple

CT_WINDOW_HU = (-160.0, 240.0)  # soft tissue of the abdomen
_STRIP_IN = (6.0, 2.5)  # a strip's width, and its height at most
_GAP_IN = 0.03  # between the planes of a strip

Style = Literal["solid", "dashed"]  # of truth and of prediction


def overlay_figure(
    image: Image,
    truth: Labels | None,
    prediction: Labels | None,
    spacing_mm: Triple,
    organs: Mapping[int, str],
    window: tuple[float, float] | None = None,
    title: str = "",
    focus: int | None = None,
) -> Figure:
    """Return the axial, coronal and sagittal plane in which the organs are densest.

    Axial planes have the patient's front up and right side on the left, as radiologists look at them; coronal and
    sagittal planes have the head up. The view is cut to the organs and a margin; 1 mm is as long on every axis.

    Args:
        image: One channel (Z, Y, X) on an LPS grid.
        truth: Label map of the same shape, or None where there is none.
        prediction: Label map of the same shape, or None where there is none.
        spacing_mm: Voxel spacing (Z, Y, X).
        organs: Label value to name, in label order, which gives the colours.
        window: Intensities shown black and white, as `CT_WINDOW_HU`; None: from the image's percentiles.
        title: Heading, as in "case_07, Dice 93.1 %".
        focus: Label value of the organ that alone decides slices and view; None: all organs do.
    """
    cut = best_cut((truth, prediction), image.shape, spacing_mm, organs, focus)
    figure, panels = grey_panels(cut, image, window or window_of(image))
    drawn = _styled(truth, prediction)
    for axes, plane in zip(panels, PLANES, strict=True):
        for style, labels in drawn.items():
            outline(axes, plane, cut, labels, organs, style)
    figure.suptitle(title, fontsize=11, color=INK)
    names: dict[Style, str] = {"solid": "truth", "dashed": "prediction"}
    seen = _seen(cut, drawn.values(), organs)
    lines = [Line2D([], [], color=organ_colour(i), linewidth=3) for i, value in enumerate(organs) if value in seen]
    lines += [Line2D([], [], color=INK, linewidth=1.3, linestyle=style) for style in drawn]
    shown = [name for value, name in organs.items() if value in seen]
    legend_below(figure, lines, [*shown, *(names[style] for style in drawn)])
    return figure


def case_figure(
    image: Image,
    truth: Labels | None,
    prediction: Labels | None,
    spacing_mm: Triple,
    organs: Mapping[int, str],
    window: tuple[float, float] | None = None,
) -> Figure:
    """Return the planes of `overlay_figure` as a strip on black, without a legend: one of many in a report.

    It is 900 pixels wide; as "webp" it takes some tens of kB.

    Args:
        image: One channel (Z, Y, X) on an LPS grid.
        truth: Label map of the same shape, or None where there is none.
        prediction: Label map of the same shape, or None where there is none.
        spacing_mm: Voxel spacing (Z, Y, X).
        organs: Label value to name, in label order, which gives the colours.
        window: Intensities shown black and white; None: from the image's percentiles.
    """
    cut = best_cut((truth, prediction), image.shape, spacing_mm, organs, None)
    shades = window or window_of(image)
    figure, panels = _strip(cut)
    for axes, plane in zip(panels, PLANES, strict=True):
        show(axes, plane, cut, image, shades)
        name_sides(axes, (plane.sides[0], "", plane.sides[2], ""), "white", "black", 6.5)
        for style, labels in _styled(truth, prediction).items():
            outline(axes, plane, cut, labels, organs, style, 0.9)
    scale_bar(panels[0], cut.size_mm(PLANES[0])[0], "white", "black", 6.5)
    return figure


def window_of(image: Image) -> tuple[float, float]:
    """Return the intensities to show black and white: the 1st and 99.5th percentile of the image."""
    steps = tuple(slice(None, None, max(1, n // 64)) for n in image.shape)
    low, high = np.nanpercentile(image[steps].astype(np.float64), (1, 99.5))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


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


def _seen(cut: Cut, maps: Iterable[Labels], organs: Mapping[int, str]) -> set[int]:
    """Return the organs that are in any of the planes."""
    there = [np.unique(cut.pixels(plane, labels)) for labels in maps for plane in PLANES]
    return set(np.concatenate(there).tolist()) & set(organs) if there else set()


def _styled(truth: Labels | None, prediction: Labels | None) -> dict[Style, Labels]:
    styled: dict[Style, Labels | None] = {"solid": truth, "dashed": prediction}
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
