"""Surfaces: where they lie, what hides what, and that nothing small is lost."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from autoseg.figures.canvas import figure_bytes
from autoseg.figures.colours import organ_colour
from autoseg.figures.meshes import Mesh, organ_mesh
from autoseg.figures.surfaces import surfaces_figure

ORGANS = {1: "liver", 2: "spleen", 3: "vein"}
EVEN = (1.0, 1.0, 1.0)


def blocks(*boxes: tuple[int, slice, slice, slice], shape: tuple[int, int, int] = (24, 24, 24)) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    for value, z, y, x in boxes:
        labels[z, y, x] = value
    return labels


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figure_bytes(figure))).convert("RGB"), dtype=float) / 255


def like(picture: np.ndarray, index: int) -> np.ndarray:
    """Where a picture has the hue of an organ, bright or dark."""
    wanted = np.asarray(to_rgb(organ_colour(index)))
    parts = picture - picture.min(axis=2, keepdims=True)
    hue = (wanted - wanted.min()) / (wanted - wanted.min()).max()
    strong = parts.max(axis=2) > 0.15
    return strong & (np.abs(parts / np.maximum(parts.max(axis=2, keepdims=True), 1e-9) - hue).max(axis=2) < 0.15)


def triangles_in(axes: Axes) -> int:
    return sum(len(mesh.get_paths()) for mesh in axes.collections)


def inside_ml(mesh: Mesh) -> float:
    """The volume within a closed surface, from the tetrahedra between its triangles and the origin."""
    a, b, c = (mesh.points_mm[mesh.triangles[:, corner]] for corner in range(3))
    return abs(float((np.cross(a, b) * c).sum())) / 6 / 1000


def test_an_organ_on_the_patients_left_is_on_the_right_of_the_page() -> None:
    labels = blocks(
        (1, slice(8, 16), slice(8, 16), slice(2, 8)),  # x grows to the patient's left
        (2, slice(8, 16), slice(8, 16), slice(16, 22)),
    )
    picture = pixels(surfaces_figure(labels, None, EVEN, ORGANS))
    right, left = (np.flatnonzero(like(picture, index).any(axis=0)) for index in (0, 1))
    assert right.max() < left.min()


def test_an_organ_nearer_to_the_head_is_higher_on_the_page() -> None:
    labels = blocks(
        (1, slice(18, 23), slice(8, 16), slice(8, 16)),  # z grows to the head
        (2, slice(1, 6), slice(8, 16), slice(8, 16)),
    )
    picture = pixels(surfaces_figure(labels, None, EVEN, ORGANS))
    high, low = (np.flatnonzero(like(picture, index).any(axis=1)) for index in (0, 1))
    assert high[: len(high) // 2].max() < low[: len(low) // 2].max()


def test_the_organ_nearer_to_the_front_hides_the_one_behind() -> None:
    front, back = slice(2, 8), slice(14, 20)  # y grows to the back
    for near, far in ((0, 1), (1, 0)):
        labels = blocks((near + 1, slice(4, 20), front, slice(4, 20)), (far + 1, slice(9, 15), back, slice(9, 15)))
        picture = pixels(surfaces_figure(labels, None, EVEN, ORGANS))[100:-100]  # without the legend
        assert like(picture, near).sum() > 10_000
        assert like(picture, far).sum() < 100


def test_both_panels_have_one_camera_and_one_scale() -> None:
    small = blocks((1, slice(10, 14), slice(10, 14), slice(10, 14)))
    large = blocks((1, slice(2, 22), slice(2, 22), slice(2, 22)))
    truth, prediction = surfaces_figure(small, large, EVEN, ORGANS).axes
    assert (truth.get_title(), prediction.get_title()) == ("Reference", "Prediction")
    assert (truth.get_xlim(), truth.get_ylim()) == (prediction.get_xlim(), prediction.get_ylim())
    assert truth.get_aspect() == prediction.get_aspect() == 1.0


def test_sides_are_named_as_seen_from_the_front() -> None:
    axes = surfaces_figure(blocks((1, slice(4, 9), slice(4, 9), slice(4, 9))), None, EVEN, ORGANS).axes[0]
    assert [text.get_text() for text in axes.texts][:4] == ["R", "L", "H", "F"]


def test_the_legend_names_the_organs_drawn_in_the_colours_of_all_figures() -> None:
    figure = surfaces_figure(blocks((2, slice(4, 9), slice(4, 9), slice(4, 9))), None, EVEN, ORGANS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["spleen"]
    assert figure.legends[0].get_lines()[0].get_color() == organ_colour(1)


def test_a_surface_lies_in_mm_where_the_organ_lies() -> None:
    mesh = organ_mesh(np.ones((4, 10, 10), dtype=np.bool_), (3.0, 1.0, 2.0), first=(5, 0, 7))
    middle = (mesh.points_mm.min(axis=0) + mesh.points_mm.max(axis=0)) / 2
    assert middle == pytest.approx((19.5, 4.5, 23.0), abs=0.05)  # (5 + 1.5) x 3, 4.5 x 1, (7 + 4.5) x 2


@pytest.mark.parametrize("spacing_mm", [EVEN, (5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (0.05, 0.05, 0.05)])
def test_smoothing_keeps_the_size_of_an_organ(spacing_mm: tuple[float, float, float]) -> None:
    z, y, x = (np.arange(-15, 16)[(slice(None), *(None,) * (2 - axis))] for axis in range(3))
    ball = z**2 + y**2 + x**2 < 13**2
    expected_ml = ball.sum() * np.prod(spacing_mm) / 1000
    assert inside_ml(organ_mesh(ball, spacing_mm)) == pytest.approx(expected_ml, rel=0.06)


def test_normals_point_out_of_the_organ() -> None:
    mesh = organ_mesh(np.ones((9, 9, 9), dtype=np.bool_), EVEN)
    outwards = mesh.points_mm - 4.0
    assert ((mesh.normals * outwards).sum(axis=1) > 0).all()
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing_mm", [EVEN, (5.0, 0.7, 0.7)])
def test_a_line_of_single_voxels_stays_in_one_piece(axis: int, spacing_mm: tuple[float, float, float]) -> None:
    shape = tuple(20 if a == axis else 1 for a in range(3))
    mesh = organ_mesh(np.ones(shape, dtype=np.bool_), spacing_mm)
    along = np.sort(mesh.points_mm[:, axis]) / spacing_mm[axis]
    assert (along[0], along[-1]) == pytest.approx((0.0, 19.0), abs=0.8)
    assert np.diff(along).max() < 1


def test_slices_5_mm_thick_are_not_seen_as_stairs() -> None:
    z, _, x = np.ogrid[:10, :20, :70]
    slope = np.broadcast_to(x < 5 + 6 * z, (10, 20, 70))  # the right face leans by 6 mm a slice of 5 mm
    mesh = organ_mesh(slope, (5.0, 1.0, 1.0))
    z_mm, y_mm, x_mm = mesh.points_mm.T
    face = (z_mm > 8) & (z_mm < 37) & (y_mm > 4) & (y_mm < 15) & (x_mm > 8)
    off = x_mm[face] - (4.5 + 6 * z_mm[face] / 5)
    assert face.sum() > 100
    assert np.abs(off - off.mean()).max() < 1.2  # a stair would be off by 3 mm


def test_many_organs_share_the_triangles_of_a_few() -> None:
    alone = organ_mesh(np.ones((60, 60, 60), dtype=np.bool_), EVEN)
    among_many = organ_mesh(np.ones((60, 60, 60), dtype=np.bool_), EVEN, most_voxels=20_000)
    assert len(among_many.triangles) < len(alone.triangles) / 4
    assert among_many.points_mm.max() - among_many.points_mm.min() == pytest.approx(60, abs=1)


def test_no_object_is_made_of_a_triangle_to_draw_it() -> None:
    figure = surfaces_figure(blocks((1, slice(4, 20), slice(4, 20), slice(4, 20))), None, EVEN, ORGANS)
    figure_bytes(figure)
    (mesh,) = figure.axes[0].collections
    assert mesh._paths is None


def test_a_large_box_is_meshed_on_a_coarser_grid() -> None:
    mesh = organ_mesh(np.ones((200, 200, 200), dtype=np.bool_), EVEN)
    assert len(mesh.triangles) < 200_000  # at full size there would be about 480 000
    assert mesh.points_mm.max() - mesh.points_mm.min() == pytest.approx(200, abs=1)


@pytest.mark.parametrize("spacing_mm", [EVEN, (5.0, 0.7, 0.7)])
def test_an_organ_of_one_voxel_is_drawn_beside_a_large_one(spacing_mm: tuple[float, float, float]) -> None:
    labels = blocks((1, slice(2, 12), slice(2, 22), slice(2, 22)), (2, slice(18, 19), slice(5, 6), slice(5, 6)))
    figure = surfaces_figure(labels, labels, spacing_mm, ORGANS)
    assert like(pixels(figure)[:-90], 1).sum() > 20


@pytest.mark.parametrize("thin_mm", [0.35, 0.5, 0.8, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 1, 1), (1, 1, 4), (2, 2, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_organ_of_a_few_voxels_in_thick_slices_has_a_closed_surface_around_them(
    axis: int, shape: tuple[int, int, int], thin_mm: float
) -> None:
    spacing_mm = (thin_mm,) * axis + (5.0,) + (thin_mm,) * (2 - axis)
    mesh = organ_mesh(np.ones(np.roll(shape, axis), dtype=np.bool_), spacing_mm)
    middle = mesh.points_mm.mean(axis=0) / spacing_mm
    assert middle == pytest.approx((np.roll(shape, axis) - 1) / 2, abs=0.3)
    assert inside_ml(mesh) > 0


@pytest.mark.parametrize("labels", [np.ones((1, 1, 1), np.uint8), np.ones((1, 9, 9), np.uint8)], ids=["voxel", "slice"])
def test_the_thinnest_maps_are_drawn(labels: np.ndarray) -> None:
    figure = surfaces_figure(labels, None, (5.0, 0.7, 0.7), ORGANS)
    assert triangles_in(figure.axes[0]) > 0
    assert figure_bytes(figure).startswith(b"\x89PNG")


def test_a_map_without_organs_says_so_beside_one_that_has_some() -> None:
    labels = blocks((1, slice(4, 9), slice(4, 9), slice(4, 9)))
    truth, prediction = surfaces_figure(labels, np.zeros_like(labels), EVEN, ORGANS).axes
    assert triangles_in(truth) > 0
    assert [text.get_text() for text in prediction.texts] == ["nothing to show"]
    assert truth.get_xlim() == prediction.get_xlim()


@pytest.mark.parametrize("labels", [None, np.zeros((4, 5, 6), np.uint8), np.full((4, 5, 6), 9, np.uint8)])
def test_without_organs_there_is_nothing_to_show(labels: np.ndarray | None) -> None:
    figure = surfaces_figure(labels, None, EVEN, ORGANS)
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["nothing to show"]
    assert figure_bytes(figure).startswith(b"\x89PNG")


def test_one_map_has_one_panel() -> None:
    labels = blocks((1, slice(4, 9), slice(4, 9), slice(4, 9)))
    assert [axes.get_title() for axes in surfaces_figure(None, labels, EVEN, ORGANS).axes] == ["Prediction"]


def test_surfaces_are_pixels_in_a_vector_file() -> None:
    labels = blocks((1, slice(4, 20), slice(4, 20), slice(4, 20)))
    svg = figure_bytes(surfaces_figure(labels, None, EVEN, ORGANS), "svg")
    assert b"<image" in svg
    assert len(svg) < 300_000
