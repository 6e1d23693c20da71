"""Volumes that agree or not, and Dice beside its ceiling: the numbers drawn, checked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from autoseg.figures.agreement import agreement_figure, limits_of, reaches_of
from autoseg.figures.boxes import MANY_ORGANS, boxes_figure
from autoseg.figures.canvas import MOST_NAMED, figure_bytes, legend_below, new_figure
from autoseg.figures.ceilings import ceilings_figure
from autoseg.figures.colours import organ_colour
from autoseg.figures.curves import FEW_NAMED, MOST_LINES, curves_figure
from autoseg.figures.trust import trust_figure

NAN = float("nan")


def points(axes: Axes) -> list[list[float]]:
    return [list(xy) for xy in np.asarray(axes.collections[0].get_offsets())]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def levels(axes: Axes) -> list[float]:
    """Heights of the lines across, the zero line first."""
    return [float(np.asarray(line.get_ydata())[0]) for line in axes.lines]


def test_each_case_is_a_point_of_mean_and_difference() -> None:
    axes = agreement_figure({"liver": ([10.0, 20.0, 30.0], [12.0, 20.0, 28.0])}).axes[0]
    assert points(axes) == [[11.0, 2.0], [20.0, 0.0], [29.0, -2.0]]
    assert axes.get_title() == "liver (n = 3)"


def test_bias_and_limits_are_drawn_and_printed() -> None:
    # differences 1, 1, 3, 5, 5: mean 3, standard deviation 2 with n - 1, limits 3 ± 3.92
    axes = agreement_figure({"liver": ([10.0] * 5, [11.0, 11.0, 13.0, 15.0, 15.0])}).axes[0]
    assert levels(axes) == pytest.approx([0.0, 3.0, 6.92, -0.92])
    assert texts(axes) == ["bias\n+3.0", "+1.96 SD\n+6.9", "−1.96 SD\n−0.9"]
    assert limits_of(np.array([1.0, 3.0, 5.0])) == pytest.approx((-0.92, 3.0, 6.92))


def test_bias_and_limits_have_their_confidence_intervals() -> None:
    # n 5, standard deviation 2, t(4) 2.776: 2.776 × 2 / √5, and 2.776 × 2 × √(1/5 + 1.96² / 8)
    assert reaches_of(np.array([1.0, 1.0, 3.0, 5.0, 5.0])) == pytest.approx((2.483, 4.580), abs=0.002)
    axes = agreement_figure({"liver": ([10.0] * 5, [11.0, 11.0, 13.0, 15.0, 15.0])}).axes[0]
    bands = sorted((band.get_y(), band.get_y() + band.get_height()) for band in axes.patches)  # type: ignore[attr-defined]
    assert np.ravel(bands) == pytest.approx([-5.5, 3.66, 0.517, 5.483, 2.34, 11.5], abs=0.01)


@pytest.mark.parametrize("cases", [0, 1, 4])
def test_fewer_than_five_cases_are_points_only(cases: int) -> None:
    axes = agreement_figure({"liver": ([10.0, 20.0, 5.0, 6.0][:cases], [12.0, 20.0, 6.0, 6.0][:cases])}).axes[0]
    assert len(points(axes)) == cases
    assert levels(axes) == [0.0]
    assert texts(axes) == ["too few cases for limits"]


def test_a_case_without_a_number_is_left_out() -> None:
    axes = agreement_figure({"liver": ([10.0, NAN, 30.0], [12.0, 20.0, 28.0])}).axes[0]
    assert points(axes) == [[11.0, 2.0], [29.0, -2.0]]


def test_equal_differences_have_a_bias_and_no_limits() -> None:
    axes = agreement_figure({"liver": ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.0])}).axes[0]
    assert texts(axes) == ["bias\n+1.00"]


@pytest.mark.parametrize("bias", [100.0, -100.0])
def test_numbers_of_lines_close_together_do_not_cover_each_other(bias: float) -> None:
    true = np.array([100.0, 200.0, 300.0, 400.0, 500.0])
    figure = agreement_figure({"liver": (true, true + bias + np.array([0.0, 1.0, 2.0, 1.0, 1.0]))})
    figure_bytes(figure)  # lays it out
    axes = figure.axes[0]
    boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    assert boxes[0].y0 > axes.get_window_extent().y0
    assert boxes[-1].y1 < axes.get_window_extent().y1


def test_every_organ_has_a_panel_in_its_colour() -> None:
    volumes = {f"organ {i}": ([1.0, 2.0], [1.0, 2.0]) for i in range(6)}
    panels = [axes for axes in agreement_figure(volumes).axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [f"organ {i} (n = 2)" for i in range(6)]
    face = panels[5].collections[0].get_facecolor()[0]  # type: ignore[index]
    assert tuple(face[:3]) == pytest.approx(tuple(int(organ_colour(5)[i : i + 2], 16) / 255 for i in (1, 3, 5)))


def test_without_organs_the_plot_of_volumes_says_so() -> None:
    assert texts(agreement_figure({}).axes[0]) == ["no organ measured yet"]


def test_dice_and_ceiling_are_shown_in_percent() -> None:
    axes = ceilings_figure({"liver": [0.9, 0.8], "spleen": [0.7]}, {"liver": 0.95}).axes[0]
    assert texts(axes) == ["85.0", "95.0", "70.0", "–", "mean", "ceiling"]
    means = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines]
    assert means == pytest.approx([85.0, 70.0])
    (beyond,) = axes.patches
    box = beyond.get_bbox()  # type: ignore[attr-defined]
    assert (box.x0, box.x1) == pytest.approx((95.0, 100.0))


def test_an_organ_keeps_its_colour_where_others_are_left_out() -> None:
    colours = {"liver": "#111111", "spleen": "#222222", "vein": "#333333"}
    axes = ceilings_figure({"vein": [0.9]}, {"vein": 0.95}, colours).axes[0]
    assert axes.lines[0].get_color() == "#333333"
    figure = trust_figure({"vein": ([0.5], [0.6])}, {"spleen": ([0.9], [0.8])}, [], colours)
    assert figure.axes[0].lines[0].get_color() == "#333333"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["vein", "spleen"]


def test_an_organ_without_a_ceiling_shows_none() -> None:
    axes = ceilings_figure({"liver": [0.9], "spleen": [0.8]}, {"spleen": NAN}).axes[0]
    assert not axes.patches
    assert texts(axes).count("–") == 2


def test_a_case_without_a_score_is_left_out_of_the_mean() -> None:
    axes = ceilings_figure({"liver": [0.9, NAN, 0.7]}, {}).axes[0]
    assert [x for x, _ in points(axes)] == pytest.approx([90.0, 70.0])
    assert "80.0" in texts(axes)


@pytest.mark.parametrize("reached", [{}, {"liver": []}, {"liver": [NAN]}])
def test_ceilings_without_cases_say_so(reached: dict[str, list[float]]) -> None:
    assert "no case scored yet" in texts(ceilings_figure(reached, {}).axes[0])


def test_a_ceiling_is_shown_before_any_case_is_scored() -> None:
    axes = ceilings_figure({"liver": []}, {"liver": 0.9}).axes[0]
    assert "no case scored yet" not in texts(axes)
    assert len(axes.patches) == 1


def test_very_many_organs_fit_one_page_the_lowest_first() -> None:
    testing = {f"organ {n}": [1 - n / 200] * 6 for n in range(104)}
    figure = boxes_figure({"training": testing, "testing": testing})
    assert figure.get_figheight() < 11
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()][:2] == ["organ 103", "organ 102"]
    assert [label.get_text() for label in right.get_yticklabels()][-1] == "organ 0"
    few = dict(list(testing.items())[:MANY_ORGANS])
    assert len(boxes_figure({"training": few}).axes) == 1


def test_a_legend_names_so_many_and_counts_the_others() -> None:
    figure = new_figure(6, 3)
    names = [f"a long name of organ {n}" for n in range(104)]
    legend_below(figure, [Line2D([], []) for _ in names], names)
    texts_shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts_shown == [*names[:MOST_NAMED], f"and {104 - MOST_NAMED} more"]


def test_of_very_many_learning_curves_the_lowest_are_named() -> None:
    organs = [f"organ {n}" for n in range(MOST_LINES + 1)]
    log = pd.DataFrame({f"dice_testing_{organ}": [0.1, 0.5 + n / 100] for n, organ in enumerate(organs)})
    figure = curves_figure(log.assign(iteration=[1, 2], loss=[1.0, 0.5]), organs)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*organs[:FEW_NAMED], "mean of organs"]
