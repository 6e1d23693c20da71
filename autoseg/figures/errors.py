"""A case in three planes with every wrong voxel coloured by its kind of error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from autoseg.figures.canvas import legend_below
from autoseg.figures.colours import INK
from autoseg.figures.planes import (
    CaseArrays,
    Cut,
    Labels,
    Plane,
    draw_pixels,
    grey_panels,
    hatch_unknown,
    unknown_patch,
)
from autoseg.figures.windows import ct_window

# The kinds of error, in colours of no organ: they differ in lightness too, so that they are told apart in print.
KINDS = {
    "missed (false negative)": "#1F3BFF",
    "added (false positive)": "#FFE600",
    "wrong organ": "#FF4FD8",
}
KINDS_OF_ONE = {  # of one organ: the first and third are false negative, the others false positive
    "missed, predicted as background": "#1F3BFF",
    "added, background in the reference": "#FFE600",
    "missed, predicted as another organ": "#FF4FD8",
    "added, another organ in the reference": "#FF8A1F",
}
_OPACITY = 0.65  # of an error: the tissue below shows
_DIMMED = 0.35  # the white of the window is moved up by this share of it: bone must not be as bright as an error

Kinds = npt.NDArray[np.uint8]  # (Z, Y, X), 0 right, then the places of KINDS or KINDS_OF_ONE from 1


def errors_figure(case: CaseArrays, title: str = "", focus: int | None = None) -> Figure:
    """Return the planes of `overlay_figure` with the errors filled, and their volumes in the whole case.

    Missed: an organ's voxels predicted as background; added: background predicted as an organ; wrong organ: one organ's
    voxels predicted as another's, which one of them misses and to the other is added. A thin line is the outline of the
    truth. What is not annotated is no error.

    Args:
        case: What to show; without truth or prediction all of it counts as background there.
        title: Heading, as in "case_07, Dice 93.1 %".
        focus: Label value of the organ that alone decides slices and view, and whose errors alone are shown.
    """
    case = case.painted(focus)
    kinds = _kinds_of(case, focus)
    colours = KINDS if focus is None or len(case.organs) == 1 else KINDS_OF_ONE
    cut = _cut_amid(case, focus, kinds > 0)
    window = ct_window(case, focus)
    low, high = window or case.shades
    figure, (panels,) = grey_panels(cut, case.image, (low, high + _DIMMED * (high - low)), hounsfield=window)
    truth = kinds * 0 if case.truth is None else case.truth
    for axes, plane in zip(panels, cut.planes, strict=True):
        hatch_unknown(axes, plane, cut, case.unknown)
        _draw_kinds(axes, plane, cut, kinds, list(colours.values()))
        _outline_truth(axes, plane, cut, truth, list(case.organs))
    figure.suptitle(title, fontsize=11, color=INK)
    counts = [np.bincount(part.ravel(), minlength=len(colours) + 1)[1:] for part in kinds]  # of which int64 is made
    voxels = np.sum(counts, axis=0)
    whole = "volume"
    sizes, unit = voxels * np.prod(case.spacing_mm) / 1000, "ml"
    if len(cut.planes) == 1:
        sizes, unit, whole = voxels * np.prod(cut.steps_mm(cut.planes[0])), "mm²", "slice"
    names = [f"{kind} {n:.{2 if n < 10 else 1}f} {unit}" for kind, n in zip(colours, sizes, strict=True)]
    whose = case.organs.get(focus, str(focus)) if focus is not None else "all organs"
    patches = [Patch(facecolor=colour, edgecolor=INK, linewidth=0.5) for colour in colours.values()]
    if case.unknown is not None:
        patches, names = [*patches, unknown_patch()], [*names, "not annotated"]
    legend_below(figure, patches, names, f"Errors of {whose} in the whole {whole}")
    return figure


def error_cut(case: CaseArrays, focus: int | None = None) -> Cut:
    """Return slices through one point amid the errors, those of the organ in focus; without any, the best cut.

    The axial slice has the most errors of all, the two others the most of those in it.
    """
    case = case.painted(focus)
    return _cut_amid(case, focus, _kinds_of(case, focus) > 0)


def _cut_amid(case: CaseArrays, focus: int | None, wrong: npt.NDArray[np.bool_]) -> Cut:
    cut = case.best_cut(focus)
    if not wrong.any():
        return cut
    z = int(np.argmax(wrong.sum(axis=(1, 2))))
    return replace(cut, at=(z, int(np.argmax(wrong[z].sum(axis=1))), int(np.argmax(wrong[z].sum(axis=0)))))


def _kinds_of(case: CaseArrays, focus: int | None) -> Kinds:
    nothing = np.zeros(case.image.shape, dtype=np.uint8)
    truth = nothing if case.truth is None else case.truth
    prediction = nothing if case.prediction is None else case.prediction
    kinds = error_kinds(truth, prediction, list(case.organs), focus)
    if case.unknown is not None:
        kinds[case.unknown] = 0
    return kinds


def error_kinds(truth: Labels, prediction: Labels, values: Sequence[int], focus: int | None = None) -> Kinds:
    """Return for every voxel how it is wrong: 0 not, 1 missed, 2 added, 3 wrong organ.

    Of one organ, 3 are its voxels that are predicted as another one, and 4 those of another that are predicted as it.

    Args:
        truth: Label map (Z, Y, X), values from 0.
        prediction: Label map of the same shape.
        values: Label values of the organs; others are background.
        focus: The one organ whose errors count; None: those of all.

    >>> error_kinds(np.array([[[0, 0, 5, 5, 5]]]), np.array([[[0, 5, 5, 0, 7]]]), [5, 7])
    array([[[0, 2, 0, 1, 3]]], dtype=uint8)
    >>> error_kinds(np.array([[[5, 7]]]), np.array([[[7, 5]]]), [5, 7], focus=5)
    array([[[3, 4]]], dtype=uint8)
    """
    is_organ = np.zeros(max(int(truth.max()), int(prediction.max()), *values) + 1, dtype=np.bool_)
    is_organ[list(values)] = True
    true, predicted = is_organ[truth], is_organ[prediction]
    wrong = true & predicted & (truth != prediction)
    if focus is not None:
        counted = (truth == focus) | (prediction == focus)
        true, predicted, wrong = true & counted, predicted & counted, wrong & counted
    kinds: Kinds = (true & ~predicted).astype(np.uint8)
    kinds[predicted & ~true] = 2
    kinds[wrong] = 3
    if focus is not None:
        kinds[wrong & (prediction == focus)] = 4
    return kinds


def _draw_kinds(axes: Axes, plane: Plane, cut: Cut, kinds: Kinds, colours: Sequence[str]) -> None:
    palette = np.array([(0.0, 0.0, 0.0, 0.0), *(to_rgba(colour, _OPACITY) for colour in colours)])
    draw_pixels(axes, plane, cut, palette[cut.pixels(plane, kinds)], interpolation="nearest")


def _outline_truth(axes: Axes, plane: Plane, cut: Cut, truth: Labels, values: Sequence[int]) -> None:
    """Draw the edges between voxels of different organs, where the fill of an error begins too."""
    pixels = cut.pixels(plane, truth)
    framed = np.pad(np.where(np.isin(pixels, values), pixels, 0), 1)
    segments = []
    for axis in (0, 1):
        before = np.argwhere(np.diff(framed, axis=axis) != 0)  # (N, 2): rows, columns; each edge is after its voxel
        start, end = before - np.array((axis == 1, axis == 0)), before
        segments.append(np.stack([start, end], axis=1)[..., ::-1])  # (N, 2 ends, x y)
    rows_mm, columns_mm = cut.steps_mm(plane)
    lines = np.concatenate(segments) * (columns_mm, rows_mm)
    axes.add_collection(LineCollection(list(lines), colors="white", linewidths=0.5, alpha=0.8), autolim=False)
