"""A case in three planes with the outlines of its organs: truth solid, prediction dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from autoseg.figures.canvas import new_figure
from autoseg.figures.colours import INK, luminance, organ_colour
from autoseg.grid import Triple

CT_WINDOW_HU = (-160.0, 240.0)  # soft tissue of the abdomen
_MARGIN_MM = 25.0  # shown around the organs

Image = npt.NDArray[np.number]  # (Z, Y, X)
Labels = npt.NDArray[np.integer]  # (Z, Y, X)
Box = tuple[slice, slice, slice]
Style = Literal["solid", "dashed"]  # of truth and of prediction


@dataclass(frozen=True)
class _Plane:
    """How one plane is cut and shown: arrays are LPS, so indices grow to the patient's left, back and head."""

    name: str
    axis: int  # the axis cut across, of (Z, Y, X)
    upright: bool  # whether the first axis left over grows upwards on the page
    sides: tuple[str, str, str, str]  # letters: left, right, top, bottom


_PLANES = (
    _Plane("Axial", 0, False, ("R", "L", "A", "P")),
    _Plane("Coronal", 1, True, ("R", "L", "H", "F")),
    _Plane("Sagittal", 2, True, ("A", "P", "H", "F")),
)


def overlay_figure(
    image: Image,
    truth: Labels | None,
    prediction: Labels | None,
    spacing_mm: Triple,
    organs: Mapping[int, str],
    window: tuple[float, float] | None = None,
    title: str = "",
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
    """
    styled: tuple[tuple[Labels | None, Style], ...] = ((truth, "solid"), (prediction, "dashed"))
    drawn = [(labels, style) for labels, style in styled if labels is not None]
    main = next((labels for labels, _ in drawn if np.isin(labels, list(organs)).any()), None)
    cut = tuple(densest_slice(main, axis) if main is not None else image.shape[axis] // 2 for axis in range(3))
    box = _view([labels for labels, _ in drawn], image.shape, spacing_mm)
    size_mm = [(part.stop - part.start) * step for part, step in zip(box, spacing_mm, strict=True)]
    widths = [size_mm[2], size_mm[2], size_mm[1]]
    scale = 11.0 / sum(widths)  # inches a millimetre
    figure = new_figure(11.4, max(size_mm[0], size_mm[1]) * scale + 1.0)
    shades = window or window_of(image)
    panels = figure.subplots(1, 3, width_ratios=widths, squeeze=False)[0]
    for axes, plane in zip(panels, _PLANES, strict=True):
        _show(axes, plane, image[_across(plane, cut, box)], spacing_mm, shades)
        for labels, style in drawn:
            _outline(axes, plane, labels[_across(plane, cut, box)], spacing_mm, organs, style)
    _scale_bar(panels[0], size_mm[2])
    figure.suptitle(title, fontsize=11, color=INK)
    _legend(figure, organs, [style for _, style in drawn])
    return figure


def densest_slice(labels: Labels, axis: int) -> int:
    """Return the index along `axis` where the organs are densest; a small organ counts as much as a large one.

    Args:
        labels: Label map (Z, Y, X), values from 0.
        axis: Axis cut across.

    >>> densest_slice(np.array([0, 1, 1, 0]).reshape(4, 1, 1), 0)
    1
    """
    size = int(labels.max()) + 1
    counts = np.stack([np.bincount(plane.ravel(), minlength=size) for plane in np.moveaxis(labels, axis, 0)])
    organs = counts[:, 1:]  # (slices, organs)
    return int(np.argmax((organs / np.maximum(organs.sum(axis=0), 1)).sum(axis=1)))


def window_of(image: Image) -> tuple[float, float]:
    """Return the intensities to show black and white: the 1st and 99.5th percentile of the image."""
    steps = tuple(slice(None, None, max(1, n // 64)) for n in image.shape)
    low, high = np.nanpercentile(image[steps].astype(np.float64), (1, 99.5))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _view(maps: Sequence[Labels], shape: tuple[int, ...], spacing_mm: Triple) -> Box:
    """Return the box around all organs with a margin; the whole image where there is none."""
    bounds = []
    for axis, step in enumerate(spacing_mm):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.zeros(shape[axis], dtype=np.bool_)
        for labels in maps:
            filled |= labels.any(axis=others)
        where = np.flatnonzero(filled)
        margin = int(np.ceil(_MARGIN_MM / step))
        first, last = (where[0] - margin, where[-1] + margin + 1) if len(where) else (0, shape[axis])
        bounds.append(slice(max(0, int(first)), min(shape[axis], int(last))))
    z, y, x = bounds
    return z, y, x


def _across(plane: _Plane, cut: Sequence[int], box: Box) -> tuple[slice | int, ...]:
    return tuple(cut[axis] if axis == plane.axis else part for axis, part in enumerate(box))


def _extent_mm(plane: _Plane, shape: Sequence[int], spacing_mm: Triple) -> tuple[float, float, float, float]:
    rows_mm, columns_mm = (step for axis, step in enumerate(spacing_mm) if axis != plane.axis)
    height, width = shape[0] * rows_mm, shape[1] * columns_mm
    return (0.0, width, 0.0, height) if plane.upright else (0.0, width, height, 0.0)


def _show(axes: Axes, plane: _Plane, pixels: Image, spacing_mm: Triple, window: tuple[float, float]) -> None:
    """Draw a slice (rows, columns) in grey with the plane's name and the letters of its sides."""
    extent = _extent_mm(plane, pixels.shape, spacing_mm)
    origin: Literal["lower", "upper"] = "lower" if plane.upright else "upper"
    axes.imshow(
        pixels, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, origin=origin, interpolation="bilinear"
    )
    axes.set_axis_off()
    axes.set_title(plane.name, fontsize=9, color=INK)
    places = ((0.01, 0.5, "left", "center"), (0.99, 0.5, "right", "center"), (0.5, 0.99, "center", "top"))
    for letter, (x, y, ha, va) in zip(plane.sides, (*places, (0.5, 0.01, "center", "bottom")), strict=True):
        text = axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, color="white", fontsize=9)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _outline(
    axes: Axes, plane: _Plane, pixels: Labels, spacing_mm: Triple, organs: Mapping[int, str], style: Style
) -> None:
    """Draw the outline of every organ in a slice (rows, columns) of a label map."""
    framed = np.pad(pixels, 1)  # closes the outline of an organ that the view cuts
    rows_mm, columns_mm = (step for axis, step in enumerate(spacing_mm) if axis != plane.axis)
    x = (np.arange(framed.shape[1]) - 0.5) * columns_mm
    y = (np.arange(framed.shape[0]) - 0.5) * rows_mm
    for index, value in enumerate(organs):
        mask = framed == value
        if mask.any():
            colour = organ_colour(index)
            lines = axes.contour(x, y, mask, levels=[0.5], colors=[colour], linestyles=style, linewidths=1.2)
            lines.set_path_effects([withStroke(linewidth=2.0, foreground=_halo(colour))])


def _halo(colour: str) -> str:
    return "black" if luminance(colour) > 0.12 else "white"


def _scale_bar(axes: Axes, width_mm: float) -> None:
    """Draw a bar of a round length, at most a third of the panel, at the bottom left."""
    length = max((n for n in (1, 2, 5, 10, 20, 50, 100) if n <= width_mm / 3), default=1)
    bottom, top = axes.get_ylim()
    y, x = bottom + 0.04 * (top - bottom), 0.03 * width_mm
    halo = [withStroke(linewidth=4, foreground="black")]
    axes.plot([x, x + length], [y, y], color="white", linewidth=2, path_effects=halo)
    label = axes.annotate(f"{length} mm", (x, y), (0, 4), textcoords="offset points", color="white", fontsize=8)
    label.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _legend(figure: Figure, organs: Mapping[int, str], styles: Sequence[Style]) -> None:
    names: dict[Style, str] = {"solid": "truth", "dashed": "prediction"}
    lines = [Line2D([], [], color=organ_colour(i), linewidth=3) for i in range(len(organs))]
    lines += [Line2D([], [], color=INK, linewidth=1.3, linestyle=style) for style in styles]
    labels = [*organs.values(), *(names[style] for style in styles)]
    figure.legend(lines, labels, loc="outside lower center", ncols=min(len(labels), 9), frameon=False, fontsize=8)
