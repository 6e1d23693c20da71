"""The axial, coronal and sagittal plane of a case: choose the slices, orient and scale them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy import ndimage

from autoseg.figures.canvas import new_figure
from autoseg.figures.colours import INK
from autoseg.imaging.grid import Box, Triple, Voxels

_MARGIN_MM = 25.0  # shown around the organs
UNKNOWN, UNKNOWN_HATCH = "#9AA0A6", "////"  # of what is not annotated: grey, as it is neither right nor wrong
_WIDTH_IN, _HEIGHT_IN = 11.0, 6.0  # of the three panels together, at most

Image = npt.NDArray[np.number]  # (Z, Y, X)
Labels = npt.NDArray[np.integer]  # (Z, Y, X)


@dataclass(frozen=True)
class CaseArrays:
    """The arrays of a case that figures show: one channel, and its label maps, on one LPS grid."""

    image: Image
    truth: Labels | None  # of the same shape; None where there is none
    prediction: Labels | None
    spacing_mm: Triple  # (Z, Y, X)
    organs: Mapping[int, str]  # label value to name, in label order, which gives the colours; others are background
    window: tuple[float, float] | None = None  # intensities shown black and white; None: from the image's percentiles
    ignored: int | None = None  # value of the truth where it is not known; None: it is everywhere
    within: Mapping[int, tuple[int, ...]] | None = None  # values within each organ, by its own; None: its own alone
    sided: bool = True  # whether it is known where the patient's sides are; a PNG does not say
    looked: tuple[Box, ...] = ()  # that a second stage has looked into

    @property
    def unknown(self) -> npt.NDArray[np.bool_] | None:
        """Where the truth is not known (Z, Y, X); None where it is everywhere."""
        if self.truth is None or self.ignored is None:
            return None
        unknown = np.asarray(self.truth == self.ignored)
        return unknown if unknown.any() else None

    @property
    def shades(self) -> tuple[float, float]:
        """The intensities to show black and white."""
        return self.window or window_of(self.image)

    def painted(self, focus: int | None) -> CaseArrays:
        """Return the case with all that is within an organ painted as that organ; None: as it is."""
        if focus is None or self.within is None:
            return self
        inside = self.within[focus]

        def all_of_it(labels: Labels | None) -> Labels | None:
            return None if labels is None else np.where(np.isin(labels, inside), focus, labels)

        return replace(self, truth=all_of_it(self.truth), prediction=all_of_it(self.prediction), within=None)

    def best_cut(self, focus: int | None = None) -> Cut:
        """Return where to cut; `focus` is the value of the one organ that matters, None: all do."""
        own = self.painted(focus)
        cut = best_cut((own.truth, own.prediction), self.image.shape, self.spacing_mm, self.organs, focus)
        return replace(cut, sided=self.sided)


@dataclass(frozen=True)
class Plane:
    """How one plane is cut and shown: arrays are LPS, so indices grow to the patient's left, back and head."""

    name: str
    axis: int  # the axis cut across, of (Z, Y, X)
    upright: bool  # whether the first axis left over grows upwards on the page
    sides: tuple[str, str, str, str]  # letters: left, right, top, bottom


PLANES = (
    Plane("Axial", 0, False, ("R", "L", "A", "P")),
    Plane("Coronal", 1, True, ("R", "L", "H", "F")),
    Plane("Sagittal", 2, True, ("A", "P", "H", "F")),
)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a case is cut, and what of its slices is shown."""

    at: Voxels  # the slice across each axis (Z, Y, X)
    box: Box
    shape: Voxels  # of the whole case
    spacing_mm: Triple
    sided: bool = True  # as in `CaseArrays`

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes to show: of a single slice itself, else all three."""
        return tuple(plane for plane in PLANES if self.shape[plane.axis] == 1)[:1] or PLANES

    def name(self, plane: Plane) -> str:
        """Return a plane's name with its slice, as in "Axial, slice 24 of 35"; counted from foot, right and front."""
        slices, name = self.shape[plane.axis], plane.name if self.sided else ""
        where = f"slice {self.at[plane.axis] + 1} of {slices}" if slices > 1 else ""
        return ", ".join(part for part in (name, where) if part)

    def pixels(self, plane: Plane, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what is shown of an array (Z, Y, X) in a plane, (rows, columns)."""
        where = tuple(self.at[axis] if axis == plane.axis else part for axis, part in enumerate(self.box))
        return array[where]

    def steps_mm(self, plane: Plane) -> tuple[float, float]:
        """Return how high a row and how wide a column of a plane is."""
        rows, columns = (step for axis, step in enumerate(self.spacing_mm) if axis != plane.axis)
        return rows, columns

    def size_mm(self, plane: Plane) -> tuple[float, float]:
        """Return width and height of what is shown of a plane."""
        rows, columns = (part.stop - part.start for axis, part in enumerate(self.box) if axis != plane.axis)
        high, wide = self.steps_mm(plane)
        return columns * wide, rows * high


def best_cut(
    maps: Sequence[Labels | None],
    shape: Sequence[int],
    spacing_mm: Triple,
    organs: Mapping[int, str],
    focus: int | None,
) -> Cut:
    """Return the slices in which the organs are densest, and the view cut to the organs and a margin.

    Args:
        maps: Label maps (Z, Y, X), the truth first: the slices are those of the first that has an organ.
        shape: Voxels (Z, Y, X) of the image.
        spacing_mm: Voxel spacing (Z, Y, X).
        organs: Label value to name.
        focus: The one organ that matters; where no map has it, or with None, all do.
    """
    values = [focus] if focus is not None else list(organs)
    boxed = [(labels, organ_boxes(labels, values)) for labels in maps if labels is not None]
    filled = [(labels, boxes) for labels, boxes in boxed if boxes]
    if focus is not None and not filled:
        return best_cut(maps, shape, spacing_mm, organs, None)
    z, y, x = (
        _span([b[axis] for _, boxes in filled for b in boxes.values()], shape[axis], spacing_mm[axis])
        for axis in range(3)
    )
    whole = (shape[0], shape[1], shape[2])
    at = densest_slices(*filled[0]) if filled else (whole[0] // 2, whole[1] // 2, whole[2] // 2)
    return Cut(at=at, box=(z, y, x), shape=whole, spacing_mm=spacing_mm)


def window_of(image: Image) -> tuple[float, float]:
    """Return the intensities to show black and white: the 1st and 99.5th percentile of the image."""
    steps = tuple(slice(None, None, max(1, n // 64)) for n in image.shape)
    low, high = np.nanpercentile(image[steps].astype(np.float64), (1, 99.5))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def organ_boxes(labels: Labels, values: Sequence[int]) -> dict[int, Box]:
    """Return the box around each organ that a label map has, by value, in the given order."""
    boxes = ndimage.find_objects(labels, max_label=max(values, default=0))
    return {value: boxes[value - 1] for value in values if boxes[value - 1] is not None}


def densest_slices(labels: Labels, boxes: Mapping[int, Box]) -> Voxels:
    """Return the slice on each axis where the organs are densest; a small organ counts as much as a large one.

    Args:
        labels: Label map (Z, Y, X).
        boxes: Of the organs that count, by value.

    >>> labels = np.array([0, 1, 1, 0]).reshape(4, 1, 1)
    >>> densest_slices(labels, organ_boxes(labels, [1]))
    (1, 0, 0)
    """
    shares = [np.zeros(n) for n in labels.shape]
    for value, box in boxes.items():
        mask = labels[box] == value
        for axis, share in enumerate(shares):
            others = tuple(a for a in range(3) if a != axis)
            share[box[axis]] += mask.sum(axis=others) / mask.sum()
    z, y, x = (int(np.argmax(share)) for share in shares)
    return z, y, x


def three_panels(cut: Cut, rows: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with rows of a panel for each plane, in which a millimetre is as long everywhere."""
    widths, heights = zip(*(cut.size_mm(plane) for plane in cut.planes), strict=True)
    scale = min(_WIDTH_IN / sum(widths), _HEIGHT_IN / rows / max(heights))  # inches a millimetre
    figure = new_figure(max(6.0, sum(widths) * scale + 0.4), rows * max(heights) * scale + 0.6)
    return figure, [list(row) for row in figure.subplots(rows, len(widths), width_ratios=widths, squeeze=False)]


def grey_panels(
    cut: Cut,
    image: Image,
    window: tuple[float, float],
    rows: int = 1,
    hounsfield: tuple[float, float] | None = None,
) -> tuple[Figure, list[list[Axes]]]:
    """Return the panels of `three_panels` with the image in grey, the planes' names, the sides and scale bars.

    Args:
        cut: What to show.
        image: (Z, Y, X).
        window: Intensities shown black and white.
        rows: Of panels.
        hounsfield: The window in HU that is named in the first panel, as width and level; None: none is.
    """
    figure, panels = three_panels(cut, rows)
    bar_mm = bar_length_mm(min(cut.size_mm(plane)[0] for plane in cut.planes))
    for number, row in enumerate(panels):
        for axes, plane in zip(row, cut.planes, strict=True):
            show(axes, plane, cut, image, window)
            axes.set_title(cut.name(plane) if number == 0 else "", fontsize=9, color=INK)
            if cut.sided:
                name_sides(axes, plane.sides, "white", "black")
            scale_bar(axes, bar_mm, "white", "black")
    if hounsfield:
        low, high = hounsfield
        name = panels[0][0].text(
            0.02, 0.98, f"W {high - low:g} L {(low + high) / 2:g}", transform=panels[0][0].transAxes
        )
        name.set(va="top", color="white", fontsize=8, path_effects=[withStroke(linewidth=2, foreground="black")])
    return figure, panels


def show(axes: Axes, plane: Plane, cut: Cut, image: Image, window: tuple[float, float]) -> None:
    """Draw a plane of the image in grey."""
    draw_pixels(axes, plane, cut, cut.pixels(plane, image), cmap="gray", vmin=window[0], vmax=window[1])
    axes.set_axis_off()


def hatch_unknown(axes: Axes, plane: Plane, cut: Cut, unknown: npt.NDArray[np.bool_] | None) -> None:
    """Hatch in grey what of a plane has no truth."""
    if unknown is None:
        return
    framed = np.pad(cut.pixels(plane, unknown), 1)
    rows_mm, columns_mm = cut.steps_mm(plane)
    x, y = ((np.arange(n) - 0.5) * mm for n, mm in zip(framed.shape[::-1], (columns_mm, rows_mm), strict=True))
    if framed.any():
        filled = axes.contourf(x, y, framed.astype(float), levels=[0.5, 1.5], colors="none", hatches=[UNKNOWN_HATCH])
        filled.set(edgecolor=UNKNOWN, linewidth=0.0)


def unknown_patch() -> Patch:
    """Return the legend's sign of what `hatch_unknown` draws."""
    return Patch(facecolor="none", edgecolor=UNKNOWN, hatch=UNKNOWN_HATCH, linewidth=0.5)


def draw_pixels(axes: Axes, plane: Plane, cut: Cut, pixels: npt.NDArray[Any], **style: Any) -> None:
    """Draw pixels (rows, columns) of a plane, or their colours (rows, columns, 4), where they lie in mm."""
    width, height = cut.size_mm(plane)
    extent = (0.0, width, 0.0, height) if plane.upright else (0.0, width, height, 0.0)
    origin: Literal["lower", "upper"] = "lower" if plane.upright else "upper"
    axes.imshow(pixels, extent=extent, origin=origin, **{"interpolation": "bilinear", **style})
    axes.set_autoscale_on(False)  # what is drawn on top does not widen the view


def name_sides(axes: Axes, sides: Sequence[str], colour: str, halo: str, size: float = 9.0) -> None:
    """Write the letters of the patient's sides at a panel's left, right, top and bottom."""
    places = ((0.01, 0.5, "left", "center"), (0.99, 0.5, "right", "center"), (0.5, 0.99, "center", "top"))
    for letter, (x, y, ha, va) in zip(sides, (*places, (0.5, 0.01, "center", "bottom")), strict=True):
        text = axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, color=colour, fontsize=size)
        text.set_path_effects([withStroke(linewidth=size / 4.5, foreground=halo)])


def bar_length_mm(width_mm: float) -> float:
    """Return a round length for a scale bar: at most a third of a panel's width.

    >>> bar_length_mm(100.0)
    20
    """
    return max((n for n in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if n <= width_mm / 3), default=0.1)


def scale_bar(axes: Axes, length: float, colour: str, halo: str, size: float = 8.0) -> None:
    """Draw a bar of a length in mm at the bottom left."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    y, x = bottom + 0.04 * (top - bottom), left + 0.03 * (right - left)
    stroke = [withStroke(linewidth=size / 2, foreground=halo)]
    axes.plot([x, x + length], [y, y], color=colour, linewidth=size / 4, path_effects=stroke)
    label = axes.annotate(
        f"{length:g} mm", (x, y), (0, size / 2), textcoords="offset points", color=colour, fontsize=size
    )
    label.set_path_effects([withStroke(linewidth=size / 4, foreground=halo)])


def _span(parts: Sequence[slice], length: int, step_mm: float) -> slice:
    """Return from the first to the last of some spans with a margin; the whole length where there is none."""
    margin = int(np.ceil(_MARGIN_MM / step_mm))
    first, last = min((p.start for p in parts), default=0), max((p.stop for p in parts), default=length)
    return slice(max(0, first - margin), min(length, last + margin))
