"""The organs of a case as lit surfaces, truth beside prediction (the paper's Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import TriMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.tri import Triangulation

from autoseg.figures.canvas import legend_below, new_figure, say
from autoseg.figures.colours import INK, organ_colour
from autoseg.figures.meshes import Numbers, crowding, organ_mesh
from autoseg.figures.planes import Labels, bar_length_mm, name_sides, organ_boxes, scale_bar
from autoseg.imaging.grid import Triple

_TURN, _RISE = np.radians((12.0, 10.0))  # how far the viewer stands to the patient's left, and above
_ACROSS = np.array([0.0, np.sin(_TURN), np.cos(_TURN)])  # to the right on the page, in (Z, Y, X) of LPS
_FRONT = np.array([0.0, -np.cos(_TURN), np.sin(_TURN)])
_UP = np.array([np.cos(_RISE), 0.0, 0.0]) - np.sin(_RISE) * _FRONT
_NEAR = np.array([np.sin(_RISE), 0.0, 0.0]) + np.cos(_RISE) * _FRONT
_CAMERA = np.stack([_ACROSS, _UP, _NEAR], axis=1)  # (Z, Y, X) to (across, up, near)
_KEY = np.array([-0.45, 0.60, 0.66])  # where the stronger light comes from: (across, up, near), of length 1
_HALFWAY = np.array([-0.2475, 0.33, 0.911])  # between that and the viewer, of length 1
_ALL_VOXELS = 8_000_000  # that all organs of a label map are meshed from
_MARGIN = 0.09  # around the organs, for letters, as a share of their longer side; below more, for the scale bar


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """All surfaces of one label map as the viewer sees them."""

    points_mm: Numbers  # (N, 3), (across, up, near)
    colours: Numbers  # (N, 3), lit, without the distance
    triangles: npt.NDArray[np.int64]  # (M, 3), those that face the viewer, farthest first
    organs: tuple[int, ...]  # label values


def surfaces_figure(
    truth: Labels | None,
    prediction: Labels | None,
    spacing_mm: Triple,
    organs: Mapping[int, str],
    title: str = "",
) -> Figure:
    """Return the surfaces of the organs, seen from the patient's front with the head up.

    The patient's right side is on the left. Both panels have one camera and one scale, without perspective.

    Args:
        truth: Label map (Z, Y, X) on an LPS grid, or None where there is none.
        prediction: Label map of the same shape, or None where there is none.
        spacing_mm: Voxel spacing (Z, Y, X).
        organs: Label value to name, in label order, which gives the colours.
        title: Heading, as in "case_07, Dice 93.1 %".

    Source: Roth et al. 2018, Figure 5.
    """
    maps = {name: m for name, m in (("Reference", truth), ("Prediction", prediction)) if m is not None}
    scenes = {name: _scene(labels, spacing_mm, list(organs)) for name, labels in maps.items()}
    filled = [scene for scene in scenes.values() if scene.organs]
    bounds = _bounds(filled)
    across, up, _ = bounds[1] - bounds[0]
    figure = new_figure(2.5 * max(1, len(maps)), min(max(2.5 * up / across, 1.2), 4.0) + 0.75)
    panels = figure.subplots(1, max(1, len(maps)), squeeze=False)[0]
    for axes, name in zip(panels, scenes or ("",), strict=True):
        axes.set_title(name, fontsize=9, color=INK)
        _fill(axes, scenes.get(name), *bounds)
    figure.suptitle(title, fontsize=11, color=INK)
    index = {value: i for i, value in enumerate(organs) if any(value in scene.organs for scene in filled)}
    lines = [Line2D([], [], color=organ_colour(i), linewidth=5) for i in index.values()]
    legend_below(figure, lines, [organs[value] for value in index])
    return figure


def _scene(labels: Labels, spacing_mm: Triple, values: Sequence[int]) -> _Scene:
    """Mesh and light the organs of a label map."""
    boxes = organ_boxes(labels, values)
    points, normals, triangles, colours, count = [], [], [], [], 0
    for value, box in boxes.items():
        z, y, x = (part.start for part in box)
        mesh = organ_mesh(labels[box] == value, spacing_mm, (z, y, x), _ALL_VOXELS // len(boxes))
        points.append(mesh.points_mm)
        normals.append(mesh.normals)
        triangles.append(mesh.triangles + count)
        colours.append(np.tile(to_rgb(organ_colour(values.index(value))), (len(mesh.points_mm), 1)))
        count += len(mesh.points_mm)
    if not points:
        return _Scene(points_mm=np.zeros((0, 3)), colours=np.zeros((0, 3)), triangles=np.zeros((0, 3), int), organs=())
    where, facing = np.concatenate(points), np.concatenate(normals)
    open_share = 1 - 0.75 * crowding(labels, boxes, spacing_mm, where, facing)
    points_mm = where @ _CAMERA
    return _Scene(
        points_mm=points_mm,
        colours=_lit(np.concatenate(colours), facing @ _CAMERA, open_share),
        triangles=_sorted(points_mm, np.concatenate(triangles)),
        organs=tuple(boxes),
    )


def _lit(colours: Numbers, normals: Numbers, open_share: Numbers) -> Numbers:
    """Return the colours under a soft light from the viewer and a stronger one from the upper left."""
    diffuse = 0.36 + 0.40 * np.clip(normals[:, 2], 0, 1) + 0.38 * np.clip(normals @ _KEY, 0, 1)
    gloss = 0.22 * np.clip(normals @ _HALFWAY, 0, 1) ** 30
    lit: Numbers = np.clip(colours * (diffuse * open_share)[:, None] + (gloss * open_share)[:, None], 0, 1)
    return lit


def _sorted(points_mm: Numbers, triangles: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the triangles that face the viewer, the farthest first: each hides those drawn before."""
    corners = points_mm[triangles]  # (M, 3 corners, 3)
    one, other = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
    towards = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] > 0
    order = np.argsort(corners[towards, :, 2].sum(axis=1), kind="stable")
    return triangles[towards][order]


def _bounds(scenes: Sequence[_Scene]) -> tuple[Numbers, Numbers]:
    """Return the corners of what is shown, (across, up, near) in mm: what all scenes fill, and a margin."""
    if not scenes:
        return np.zeros(3), np.ones(3)
    low = np.min([scene.points_mm.min(axis=0) for scene in scenes], axis=0)
    high = np.max([scene.points_mm.max(axis=0) for scene in scenes], axis=0)
    across, up, _ = high - low
    margin = _MARGIN * max(across, up)
    aside = margin + max(0.0, 0.5 * up - across) / 2  # a panel is not too narrow for its letters
    return low - np.array((aside, 1.7 * margin, 0.0)), high + np.array((aside, margin, 0.0))


def _fill(axes: Axes, scene: _Scene | None, low: Numbers, high: Numbers) -> None:
    """Draw a scene into a panel that shows what lies between two corners, or say that there is none."""
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    if scene is not None and scene.organs:
        _draw(axes, scene, float(low[2]), float(high[2]))
        name_sides(axes, ("R", "L", "H", "F"), INK, "white")
        scale_bar(axes, bar_length_mm(float(high[0] - low[0])), INK, "white")
    else:
        say(axes, "nothing to show")


def _draw(axes: Axes, scene: _Scene, farthest_mm: float, nearest_mm: float) -> None:
    """Draw the triangles, paler with the distance."""
    away = (nearest_mm - scene.points_mm[:, 2:]) / (nearest_mm - farthest_mm)
    colours = scene.colours + (1 - scene.colours) * 0.2 * away
    mesh = TriMesh(Triangulation(scene.points_mm[:, 0], scene.points_mm[:, 1], scene.triangles), rasterized=True)
    mesh.set_facecolor(colours)  # type: ignore[arg-type]
    mesh.set_in_layout(False)  # the axes are: to learn its extent, matplotlib would make an object of each triangle
    axes.add_collection(mesh, autolim=False)
