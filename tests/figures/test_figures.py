"""Figures: what they show and how they are oriented, read back from the drawn objects."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoseg.figures.boxes import boxes_figure
from autoseg.figures.canvas import figure_bytes, new_figure, save_figure
from autoseg.figures.colours import PALETTE, luminance, organ_colour, organ_colours
from autoseg.figures.curves import curves_figure, smoothed
from autoseg.figures.overlays import frame_boxes, overlay_figure
from autoseg.figures.planes import PLANES, CaseArrays, Cut, window_of
from autoseg.figures.windows import CT_WINDOW_HU
from autoseg.labels import Label

NAN = float("nan")
ORGANS = ["liver", "spleen"]
LOG = pd.DataFrame(
    {
        "iteration": [1, 2, 3, 4],
        "loss": [4.0, 3.0, 2.0, 1.0],
        "loss_validation": [NAN, 3.5, NAN, 1.5],
        "dice_validation_liver": [NAN, 0.5, NAN, 0.9],
        "dice_validation_spleen": [NAN, 0.3, NAN, NAN],
    }
)


def curve(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    line = next(line for line in axes.lines if line.get_label() == label)
    return list(np.asarray(line.get_xdata(), dtype=float)), list(np.asarray(line.get_ydata(), dtype=float))


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """An image of 4 x 5 x 6 voxels, and one organ of 2 voxels at z 1, y 2, x 3 to 4."""
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    labels[1, 2, 3:5] = 7
    return np.arange(120, dtype=np.float32).reshape(4, 5, 6), labels


def test_curves_show_the_measured_points_in_percent() -> None:
    loss, dice = curves_figure(LOG, ORGANS).axes
    assert curve(loss, "validation, whole volumes") == ([2, 4], [3.5, 1.5])
    assert curve(dice, "liver") == ([2, 4], [50, 90])
    assert curve(dice, "mean of organs") == ([2, 4], [40, 90])
    assert dice.get_title() == "Dice, validation"


def test_an_organ_has_the_same_colour_whatever_was_measured() -> None:
    figure = curves_figure(LOG.drop(columns="dice_validation_liver"), ORGANS)
    spleen = next(line for line in figure.axes[1].lines if line.get_label() == "spleen")
    assert spleen.get_color() == organ_colour(1)


def test_each_split_measured_has_its_panel() -> None:
    log = LOG.assign(dice_training_liver=[0.1, NAN, NAN, 0.8])
    assert [axes.get_title() for axes in curves_figure(log, ORGANS).axes] == [
        "Loss",
        "Dice, training",
        "Dice, validation",
    ]


def test_titles_say_how_many_cases_were_measured() -> None:
    titles = [axes.get_title() for axes in curves_figure(LOG, ORGANS, {"validation": 4}).axes]
    assert titles == ["Loss", "Dice of 4 validation cases, working grid"]


@pytest.mark.parametrize("log", [LOG.iloc[:0], pd.DataFrame(), LOG[["iteration"]]], ids=["no rows", "nothing", "bare"])
def test_a_training_that_has_just_begun_says_so(log: pd.DataFrame) -> None:
    loss, dice = curves_figure(log, ORGANS).axes
    assert texts(loss) == ["no iteration logged yet"]
    assert texts(dice) == ["not measured yet"]


def test_an_iteration_logged_again_after_resuming_counts_once() -> None:
    again = pd.concat([LOG, LOG.iloc[[1]].assign(loss_validation=3.0)])
    assert curve(curves_figure(again, ORGANS).axes[0], "validation, whole volumes") == ([2, 4], [3.0, 1.5])


def test_smoothing_is_a_centred_mean() -> None:
    assert list(smoothed(pd.Series([0.0, 3.0, 6.0, 0.0]), 3)) == [1.5, 3.0, 3.0, 3.0]


def test_spikes_do_not_flatten_the_loss() -> None:
    loss = np.ones(1000)
    loss[500] = 1e6
    axes = curves_figure(pd.DataFrame({"iteration": range(1000), "loss": loss}), ORGANS).axes[0]
    assert axes.get_ylim()[1] < 2


def test_palette_colours_differ_and_are_seen_on_white_paper() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert max(luminance(colour) for colour in PALETTE) < 0.6
    assert len({organ_colour(n) for n in range(8 * len(PALETTE))}) == 8 * len(PALETTE)


def test_an_organ_has_the_colour_of_its_place_among_the_labels_whatever_its_value() -> None:
    labels = (Label(value=9, name="liver"), Label(value=2, name="spleen"))
    assert organ_colours(labels) == {9: PALETTE[0], 2: PALETTE[1]}


def test_boxes_draw_every_case_and_a_box_from_five_cases_on() -> None:
    figure = boxes_figure({"training": {"liver": [0.9, 0.8, 0.7, 0.6, 0.5]}, "testing": {"liver": [0.9, 0.4]}})
    axes = figure.axes[0]
    drawn = [np.asarray(points.get_offsets()) for points in axes.collections if hasattr(points, "get_sizes")]
    assert [sorted(xy[:, 0]) for xy in drawn if len(xy)] == [
        pytest.approx([50, 60, 70, 80, 90]),
        pytest.approx([40, 90]),
    ]
    assert len(axes.patches) == 1
    box = axes.patches[0].get_bbox()  # type: ignore[attr-defined]
    assert (box.x0, box.x1) == pytest.approx((60, 80))


@pytest.mark.parametrize("sets", [{}, {"training": {}, "testing": {}}, {"training": {"liver": []}}])
def test_boxes_without_cases_say_so(sets: dict[str, dict[str, list[float]]]) -> None:
    assert texts(boxes_figure(sets).axes[0]) == ["no case scored yet"]


def test_planes_are_oriented_as_radiologists_look_at_them() -> None:
    image, labels = phantom()
    figure = overlay_figure(CaseArrays(image, labels, labels, (2.0, 1.0, 1.0), {7: "liver"}))
    axial, coronal, sagittal = figure.axes
    assert texts(axial)[:4] == ["R", "L", "A", "P"]
    assert texts(coronal)[:4] == ["R", "L", "H", "F"]
    assert texts(sagittal)[:4] == ["A", "P", "H", "F"]
    for axes, pixels in ((axial, image[1]), (coronal, image[:, 2]), (sagittal, image[:, :, 3])):
        np.testing.assert_array_equal(np.asarray(axes.images[0].get_array()), pixels)
    assert axial.get_ylim()[0] > axial.get_ylim()[1]  # row 0, the patient's front, is up
    assert coronal.get_ylim()[0] < coronal.get_ylim()[1]  # slice 0, nearest to the feet, is down
    assert sagittal.get_ylim()[0] < sagittal.get_ylim()[1]


def test_planes_are_as_large_as_the_patient_in_mm() -> None:
    image, labels = phantom()
    figure = overlay_figure(CaseArrays(image, labels, None, (3.0, 0.5, 1.0), {7: "liver"}))
    sizes = [tuple(np.abs(np.diff(np.reshape(axes.images[0].get_extent(), (2, 2)))).ravel()) for axes in figure.axes]
    assert sizes == [(6.0, 2.5), (6.0, 12.0), (2.5, 12.0)]  # (width, height): x 6 x 1, y 5 x 0.5, z 4 x 3
    assert all(axes.get_aspect() == 1.0 for axes in figure.axes)


def test_boxes_are_framed_in_mm_in_the_planes_that_cut_them() -> None:
    cut = Cut(
        at=(9, 5, 7), box=(slice(4, 20), slice(2, 30), slice(3, 33)), shape=(30, 40, 40), spacing_mm=(3.0, 1.0, 2.0)
    )
    axial, coronal, _ = PLANES
    boxes = [(slice(8, 12), slice(6, 20), slice(5, 25)), (slice(12, 14), slice(6, 20), slice(5, 25))]
    panels = new_figure(4.0, 2.0).subplots(1, 2)
    frame_boxes(panels[0], axial, cut, boxes)  # at slice 9: in the first of them
    frame_boxes(panels[1], coronal, cut, boxes)  # at row 5, before both
    (frame,) = panels[0].patches
    assert frame.get_bbox().bounds == ((5 - 3) * 2.0, 6 - 2, 20 * 2.0, 14)
    assert not panels[1].patches


def test_outlines_lie_on_the_organ_truth_solid_prediction_dashed() -> None:
    image, labels = phantom()
    axial = overlay_figure(CaseArrays(image, labels, np.roll(labels, 1, axis=1), (2.0, 1.0, 1.0), {7: "liver"})).axes[0]
    truth, prediction = (outline.get_paths()[0].vertices for outline in axial.collections)
    # voxels x 3 and 4 of row 2 have their centres at 3.5, 4.5 and 2.5 mm; an outline runs half a voxel around them
    assert np.asarray(truth).min(axis=0) == pytest.approx((3.0, 2.0))
    assert np.asarray(truth).max(axis=0) == pytest.approx((5.0, 3.0))
    assert np.asarray(prediction).min(axis=0) == pytest.approx((3.0, 3.0))
    styles = [outline.get_linestyle()[0][1] for outline in axial.collections]  # type: ignore[index]
    assert styles[0] is None
    assert styles[1] is not None


@pytest.mark.parametrize("labels", [None, np.zeros((4, 5, 6), dtype=np.uint8)], ids=["no map", "empty map"])
def test_a_case_without_organs_is_shown_in_its_middle(labels: np.ndarray | None) -> None:
    image = phantom()[0]
    axial = overlay_figure(CaseArrays(image, labels, labels, (1.0, 1.0, 1.0), {7: "liver"}, CT_WINDOW_HU)).axes[0]
    np.testing.assert_array_equal(np.asarray(axial.images[0].get_array()), image[2])
    assert axial.images[0].get_clim() == CT_WINDOW_HU


def test_an_image_of_one_value_has_a_window() -> None:
    assert window_of(np.full((2, 2, 2), 5, dtype=np.int16)) == (5.0, 6.0)


def test_figures_are_saved_whole_and_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.b", "again"):
        save_figure(curves_figure(LOG, ORGANS), tmp_path / "report" / name)
    kinds = (".png", ".svg", ".pdf")
    assert {file.name for file in (tmp_path / "report").iterdir()} == {n + k for n in ("a.b", "again") for k in kinds}
    for suffix in kinds:
        one, other = (tmp_path / "report" / f"{name}{suffix}" for name in ("a.b", "again"))
        assert one.read_bytes() == other.read_bytes()


def test_a_name_with_dollar_signs_is_no_formula() -> None:
    figure = boxes_figure({"training": {"$\\frac{$": [0.5]}})
    assert figure_bytes(figure, "png").startswith(b"\x89PNG")


def test_figures_leave_no_global_state() -> None:
    before = plt.get_fignums()
    assert isinstance(new_figure(1.0, 1.0), Figure)
    assert plt.get_fignums() == before


def test_the_dice_axis_begins_where_all_curves_have_settled_far_above_and_says_so() -> None:
    log = pd.DataFrame({"iteration": [1, 2, 3, 4, 5, 6], "dice_testing_a": [0.2, 0.84, 0.86, 0.88, 0.9, 0.91]})
    high = curves_figure(log, ["a"]).axes[1]
    assert high.get_ylim() == (70, 100)  # the least after the first quarter is 84: at least 5 below
    assert high.get_ylabel() == "Dice (%; axis begins at 70)"
    low = curves_figure(log.assign(dice_testing_a=log["dice_testing_a"] - 0.5), ["a"]).axes[1]
    assert low.get_ylim() == (0, 100)
    assert low.get_ylabel() == "Dice (%)"
