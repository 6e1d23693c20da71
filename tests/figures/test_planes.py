"""Planes of a case: which slices, what is drawn on them, how errors are counted."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from autoseg.figures.canvas import figure_bytes
from autoseg.figures.errors import KINDS, KINDS_OF_ONE, error_cut, error_kinds, errors_figure
from autoseg.figures.overlays import PREDICTION, REFERENCE, case_figure, organ_figure, overlay_figure
from autoseg.figures.planes import CaseArrays, best_cut, densest_slices, organ_boxes
from autoseg.figures.windows import BONE_HU, CT_WINDOW_HU, LUNG_HU, ct_window

ORGANS = {1: "liver", 2: "spleen"}


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def two_organs() -> np.ndarray:
    """A large liver in slices 2 to 5, and a spleen of which slice 7 has 1 voxel and slice 8 has 2."""
    labels = np.zeros((10, 6, 8), dtype=np.uint8)
    labels[2:6, 1:5, 1:5] = 1
    labels[7, 3, 6] = 2
    labels[8, 3, 5:7] = 2
    return labels


def slices_image() -> np.ndarray:
    """An image in which every voxel has the number of its slice."""
    return np.broadcast_to(np.arange(10.0)[:, None, None], (10, 6, 8)).copy()


def test_the_densest_slice_weighs_a_small_organ_like_a_large_one() -> None:
    labels = np.zeros((3, 4, 4), dtype=np.uint8)
    labels[0] = 1
    labels[1, :3] = 1  # 12 of 28 voxels of the large organ, and all of the small one
    labels[1, 3, 3] = 2
    assert densest_slices(labels, organ_boxes(labels, [1, 2])) == (1, 3, 3)


@pytest.mark.parametrize(("focus", "z"), [(1, 2), (2, 8)])
def test_the_focus_decides_the_slice(focus: int, z: int) -> None:
    figure = organ_figure(CaseArrays(slices_image(), two_organs(), None, (1.0, 1.0, 1.0), ORGANS), focus)
    assert set(shown(figure.axes[0]).ravel()) == set(shown(figure.axes[3]).ravel()) == {z}
    assert figure.axes[0].get_title() == f"Axial, slice {z + 1} of 10"


def test_the_view_is_cut_to_the_focus_and_a_margin() -> None:
    cut = best_cut((two_organs(), None), (10, 6, 8), (25.0, 25.0, 25.0), ORGANS, 2)  # the margin is 25 mm
    assert cut.box == (slice(6, 10), slice(2, 5), slice(4, 8))


def test_other_organs_are_still_drawn_beside_the_focus() -> None:
    labels = two_organs()
    labels[8, 1, 1:3] = 1
    figure = organ_figure(CaseArrays(slices_image(), labels, None, (1.0, 1.0, 1.0), ORGANS), 2)
    assert len(figure.axes[0].collections) == 0  # the image alone
    assert len(figure.axes[3].collections) == 2
    assert names(figure) == ["other organs (reference)", "reference"]


def test_an_organ_has_its_reference_white_and_its_prediction_orange_where_the_errors_are() -> None:
    truth, prediction = two_organs(), two_organs()
    prediction[7][prediction[7] == 2] = 0  # the errors of the spleen lie in slice 7, it is densest elsewhere
    case = CaseArrays(slices_image(), truth, prediction, (1.0, 1.0, 1.0), {2: "spleen"})
    figure = organ_figure(case, 2, at_errors=True)
    assert set(shown(figure.axes[0]).ravel()) == set(shown(errors_figure(case, focus=2).axes[0]).ravel()) == {7}
    figure = organ_figure(case, 2)
    lines = [to_hex(line.get_edgecolor()[0]).upper() for line in figure.axes[3].collections]  # type: ignore[index]
    assert lines == [REFERENCE, PREDICTION]
    assert names(figure) == ["reference", "prediction"]


def test_the_scale_bars_of_a_figure_are_equally_long() -> None:
    wide = np.zeros((4, 10, 300))
    axes = overlay_figure(CaseArrays(wide, None, None, (1.0, 1.0, 1.0), ORGANS)).axes
    assert len({text.get_text() for panel in axes for text in panel.texts if "mm" in text.get_text()}) == 1


def test_a_focus_that_only_the_prediction_has_is_found_there() -> None:
    truth = np.where(two_organs() == 2, 0, two_organs())
    assert best_cut((truth, two_organs()), (10, 6, 8), (1.0, 1.0, 1.0), ORGANS, 2).at == (8, 3, 6)


def test_a_focus_that_no_map_has_leaves_the_planes_as_they_are() -> None:
    maps, organs = (two_organs(), None), {**ORGANS, 9: "stomach"}
    whole = best_cut(maps, (10, 6, 8), (1.0, 1.0, 1.0), organs, None)
    assert best_cut(maps, (10, 6, 8), (1.0, 1.0, 1.0), organs, 9) == whole


def test_labels_that_are_no_organ_do_not_decide_the_view() -> None:
    labels = two_organs()
    labels[0, 0, 0] = 200
    cut = best_cut((labels,), (10, 6, 8), (25.0, 25.0, 25.0), ORGANS, None)
    assert cut.box == (slice(1, 10), slice(0, 6), slice(0, 8))


def test_errors_are_missed_added_or_of_the_wrong_organ() -> None:
    truth = np.array([[[0, 1, 1, 1, 9]]])
    prediction = np.array([[[2, 1, 0, 2, 1]]])  # 9 is no organ: background
    assert error_kinds(truth, prediction, [1, 2]).tolist() == [[[2, 0, 1, 3, 2]]]
    assert error_kinds(truth, prediction, [1, 2], focus=2).tolist() == [[[2, 0, 0, 4, 0]]]
    assert error_kinds(truth, prediction, [1, 2], focus=1).tolist() == [[[0, 0, 1, 3, 2]]]


def legend(*millilitres: str) -> list[str]:
    kinds = KINDS if len(millilitres) == len(KINDS) else KINDS_OF_ONE
    return [f"{kind} {ml} ml" for kind, ml in zip(kinds, millilitres, strict=True)]


def test_the_legend_counts_the_errors_of_the_whole_volume_in_ml() -> None:
    truth, prediction = two_organs(), two_organs()
    prediction[2, 1, 1] = 0  # 1 voxel missed
    prediction[0, 0, :2] = 1  # 2 added
    prediction[7:9][truth[7:9] == 2] = 1  # 3 of the wrong organ
    figure = errors_figure(CaseArrays(slices_image(), truth, prediction, (10.0, 10.0, 10.0), ORGANS))  # a voxel is 1 ml
    assert names(figure) == legend("1.00", "2.00", "3.00")
    figure = errors_figure(CaseArrays(slices_image(), truth, prediction, (10.0, 10.0, 10.0), ORGANS), focus=2)
    assert names(figure) == legend("0.00", "0.00", "3.00", "0.00")  # the spleen's voxels were predicted as liver
    assert figure.legends[0].get_title().get_text() == "Errors of spleen in the whole volume"
    figure = errors_figure(CaseArrays(slices_image(), truth, prediction, (10.0, 10.0, 10.0), ORGANS), focus=1)
    assert names(figure) == legend("1.00", "2.00", "0.00", "3.00")  # and are to the liver what it has too much


def test_errors_are_drawn_where_they_are_in_the_colour_of_their_kind() -> None:
    truth, prediction = two_organs(), two_organs()
    prediction[2, 1, 1] = 0
    axial = errors_figure(CaseArrays(slices_image(), truth, prediction, (1.0, 1.0, 1.0), ORGANS), focus=1).axes[0]
    colours = np.asarray(axial.images[1].get_array())  # (rows, columns, RGBA)
    assert np.argwhere(colours[..., 3] > 0).tolist() == [[1, 1]]
    assert to_hex(colours[1, 1, :3]).upper() == KINDS_OF_ONE["missed, predicted as background"]


def test_the_outline_of_the_truth_runs_along_its_voxels() -> None:
    axial = errors_figure(
        CaseArrays(slices_image(), two_organs(), two_organs(), (3.0, 2.0, 1.0), ORGANS), focus=2
    ).axes[0]
    edges = np.stack([np.asarray(path.vertices) for path in axial.collections[0].get_paths()])  # (N, 2 ends, x y)
    assert len(edges) == 6  # a row of 2 voxels: 2 above, 2 below, 1 at each end
    assert sorted(np.abs(np.diff(edges, axis=1)).reshape(-1, 2).tolist()) == [[0.0, 2.0]] * 2 + [[1.0, 0.0]] * 4
    assert edges.min(axis=(0, 1)).tolist() == [5.0, 6.0]  # voxels x 5 and 6 of 1 mm, y 3 of 2 mm
    assert edges.max(axis=(0, 1)).tolist() == [7.0, 8.0]


def test_what_is_drawn_on_a_plane_does_not_widen_its_view() -> None:
    labels = np.ones((4, 4, 4), dtype=np.uint8)
    axial = overlay_figure(CaseArrays(labels * 1.0, labels, labels, (1.0, 1.0, 1.0), ORGANS)).axes[0]
    assert (axial.get_xlim(), axial.get_ylim()) == ((0.0, 4.0), (4.0, 0.0))


def test_a_long_organ_does_not_make_a_long_figure() -> None:
    labels = np.zeros((60, 3, 3), dtype=np.uint8)
    labels[:, 1, 1] = 1
    figure = overlay_figure(CaseArrays(labels * 1.0, labels, None, (10.0, 1.0, 1.0), ORGANS))
    assert figure.get_figheight() < 8


@pytest.mark.parametrize(
    "spacing_mm", [(1.0, 1.0, 1.0), (20.0, 1.0, 1.0), (0.1, 1.0, 1.0)], ids=["cube", "high", "low"]
)
def test_the_strip_of_a_case_is_900_pixels_wide(spacing_mm: tuple[float, float, float]) -> None:
    figure = case_figure(CaseArrays(slices_image(), two_organs(), two_organs(), spacing_mm, ORGANS))
    picture = Image.open(io.BytesIO(figure_bytes(figure, "webp")))
    assert (picture.format, picture.width) == ("WEBP", 900)
    assert 75 <= picture.height <= 375


def test_the_strip_shows_the_planes_of_the_overlay() -> None:
    arguments = (slices_image(), two_organs(), None, (1.0, 1.0, 1.0), ORGANS)
    for strip, panel in zip(
        case_figure(CaseArrays(*arguments)).axes, overlay_figure(CaseArrays(*arguments)).axes, strict=True
    ):
        np.testing.assert_array_equal(shown(strip), shown(panel))
        assert len(strip.collections) == len(panel.collections)


def test_a_strip_of_noise_as_webp_is_small_and_the_same_every_time() -> None:
    noise = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    labels = np.zeros((64, 64, 64), dtype=np.uint8)
    labels[20:40, 20:40, 20:40] = 1
    one, other = (
        figure_bytes(case_figure(CaseArrays(noise, labels, labels, (1.0, 1.0, 1.0), ORGANS)), "webp") for _ in range(2)
    )
    assert one == other
    assert 15_000 < len(one) < 60_000  # noise is the hardest to compress


def test_a_picture_has_the_pixels_asked_for() -> None:
    figure = case_figure(CaseArrays(slices_image(), None, None, (1.0, 1.0, 1.0), ORGANS))
    assert Image.open(io.BytesIO(figure_bytes(figure, "webp", dpi=75))).width == 450


def empty() -> np.ndarray:
    return np.zeros((10, 6, 8), dtype=np.uint8)


@pytest.mark.parametrize("focus", [None, 2])
@pytest.mark.parametrize("truth", [empty(), two_organs()], ids=["empty", "organs"])
@pytest.mark.parametrize("prediction", [empty(), two_organs()], ids=["none found", "found"])
def test_empty_maps_are_drawn(truth: np.ndarray, prediction: np.ndarray, focus: int | None) -> None:
    figure = errors_figure(CaseArrays(slices_image(), truth, prediction, (5.0, 0.7, 0.7), ORGANS), focus=focus)
    assert figure_bytes(figure).startswith(b"\x89PNG")


def test_a_single_voxel_is_drawn() -> None:
    one = np.ones((1, 1, 1), dtype=np.uint8)
    assert figure_bytes(errors_figure(CaseArrays(one, one, one, (1.0, 1.0, 1.0), ORGANS)))
    assert figure_bytes(case_figure(CaseArrays(one, one, None, (1.0, 1.0, 1.0), ORGANS)), "webp")


def test_errors_of_a_region_are_of_all_that_is_within_it() -> None:
    truth = np.array([[[1, 2, 2, 0, 2]]])  # a liver, with a lesion of value 2
    prediction = np.array([[[1, 1, 0, 0, 2]]])
    within = {1: (1, 2), 2: (2,)}
    case = CaseArrays(
        np.zeros(truth.shape), truth, prediction, (1.0, 1.0, 1.0), {1: "liver", 2: "lesion"}, within=within
    )
    of_liver, of_lesion = (case.painted(focus) for focus in (1, 2))
    kinds = [error_kinds(one.truth, one.prediction, [1, 2], n) for n, one in ((1, of_liver), (2, of_lesion))]
    assert [kind.tolist() for kind in kinds] == [[[[0, 0, 1, 0, 0]]], [[[0, 3, 1, 0, 0]]]]
    assert error_cut(case, 1).at[2] == 2  # not where a lesion is called liver
    text = " ".join(words.get_text() for words in errors_figure(case, focus=1).legends[0].get_texts())
    assert text.startswith("missed, predicted as background 1.00 mm² added, background in the reference 0.00 mm²")


def test_the_slices_amid_the_errors_meet_in_one_point() -> None:
    truth = np.zeros((6, 8, 8), dtype=np.uint8)
    prediction = truth.copy()
    truth[1, 1:5, 1:5] = 1  # 16 voxels missed in slice 1
    prediction[4, 6:8, 6:8] = 1  # and 4 in each of two others added elsewhere: most rows and columns of all errors
    prediction[5, 6:8, 6:8] = 1
    cut = error_cut(CaseArrays(np.zeros(truth.shape), truth, prediction, (1.0, 1.0, 1.0), {1: "liver"}), 1)
    assert cut.at == (1, 1, 1)


@pytest.mark.parametrize(("hu", "window"), [(50.0, CT_WINDOW_HU), (700.0, BONE_HU), (-800.0, LUNG_HU)])
def test_an_organ_is_shown_in_the_window_of_its_own_density(hu: float, window: tuple[float, float]) -> None:
    truth = two_organs()
    image = np.where(truth == 2, hu, 0.0)
    case = CaseArrays(image, truth, truth, (1.0, 1.0, 1.0), ORGANS, CT_WINDOW_HU)
    assert ct_window(case, 2) == window
    assert ct_window(case, None) == CT_WINDOW_HU
    assert ct_window(replace(case, window=None), 2) is None
    name = f"W {window[1] - window[0]:g} L {sum(window) / 2:g}"
    for figure in (organ_figure(case, 2), errors_figure(case, focus=2)):
        assert name in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(("axis", "name"), [(0, "Axial"), (1, "Coronal"), (2, "Sagittal")])
@pytest.mark.parametrize("sided", [True, False])
def test_of_a_single_slice_there_is_one_panel_and_its_errors_are_areas(axis: int, name: str, sided: bool) -> None:
    square = np.zeros((20, 20), np.uint8)
    square[5:15, 5:15] = 1
    truth = np.expand_dims(square, axis)
    case = CaseArrays(truth.astype(float), truth, truth * 0, (2.0, 2.0, 2.0), {1: "disc"}, sided=sided)
    figure = errors_figure(case)
    (axes,) = figure.axes
    assert axes.get_title() == (name if sided else "")
    letters = {text.get_text() for text in axes.texts} & set("RLAPHF")
    assert len(letters) == (4 if sided else 0)
    assert names(figure)[0] == "missed (false negative) 400.0 mm²"
    assert len(overlay_figure(case).axes) == len(case_figure(case).axes) == 1
    assert len(organ_figure(case, 1).axes) == 2  # the image alone, and with outlines
