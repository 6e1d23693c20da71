"""Tests of autoseg.metrics.registry: each metric is one value, from which rows, limits and tables follow."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoseg.errors import RunError
from autoseg.metrics.pair import OrganPair, organ_pairs
from autoseg.metrics.registry import METRICS, comparable_metric, computed_metrics, known_metric, metric_named

ORDER = ["dice", "iou", "sensitivity", "precision", "volume_ml", "truth_ml", "volume_difference_ml"]
ORDER += ["volume_difference_percent", "missed", "nsd_2mm", "hd95_mm", "hd100_mm", "assd_mm"]


ON_ORIGINAL = [
    "hd95_all_mm", "lost_side", "lost_missed", "lost_extra", "lost_cut", "lost_other_organ", "lost_far_beyond",
    "lost_far_short", "lost_leak", "lost_short", "pieces_true",
    "pieces_missed", "pieces_invented", "pieces_f1", "pieces_dice",
]  # fmt: skip


def pair_of(prediction: slice, truth: slice) -> OrganPair:
    """Return two bars of 1 ml voxels along z, 10 voxels long at most."""
    maps = np.zeros((2, 10, 3, 3), np.uint8)
    maps[0][prediction, 1, 1] = maps[1][truth, 1, 1] = 1
    return organ_pairs(maps[0], maps[1], {1: (1,)}, (10.0, 10.0, 10.0))[1]


def values_of(pair: OrganPair, tolerance_mm: float = 2.0) -> dict[str, float | None]:
    return {metric.name: compute(pair) for metric, compute in computed_metrics("liver", tolerance_mm)}


def test_an_organ_has_its_rows_in_the_order_of_the_registry() -> None:
    assert list(values_of(pair_of(slice(0, 4), slice(0, 4)))) == [*ORDER, *ON_ORIGINAL]
    on_working = computed_metrics("liver", 2.0, "working")
    assert [metric.name for metric, _ in on_working] == ORDER


def test_every_metric_of_two_bars_is_as_counted_by_hand() -> None:
    values = values_of(pair_of(slice(0, 4), slice(1, 6)))  # 4 and 5 voxels, 3 in both; the far ends lie 1 and 2 apart
    assert values["dice"] == pytest.approx(6 / 9)
    assert values["iou"] == pytest.approx(3 / 6)
    assert (values["sensitivity"], values["precision"]) == (3 / 5, 3 / 4)
    assert (values["volume_ml"], values["truth_ml"], values["volume_difference_ml"]) == (4.0, 5.0, -1.0)
    assert values["volume_difference_percent"] == pytest.approx(-20.0)
    assert (values["missed"], values["hd100_mm"]) == (0, 20.0)
    assert values["nsd_2mm"] == pytest.approx(6 / 9)
    assert values["assd_mm"] == pytest.approx((10 + 10 + 20) / 9)
    assert (values["hd95_all_mm"], values["pieces_true"], values["pieces_missed"]) == (
        values["hd95_mm"],
        1,
        1,
    )  # IoU 1/2
    assert values_of(pair_of(slice(0, 4), slice(0, 0)))["hd95_all_mm"] == pytest.approx(np.hypot(100, np.hypot(30, 30)))


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (slice(0), slice(0, 3), {"dice": 0.0, "nsd_2mm": 0.0, "hd95_mm": None, "missed": 1, "sensitivity": 0.0}),
        (slice(0, 3), slice(0), {"dice": 0.0, "nsd_2mm": 0.0, "hd95_mm": None, "missed": 0, "sensitivity": None}),
        (slice(0), slice(0), {"dice": None, "nsd_2mm": None, "assd_mm": None, "volume_difference_ml": None}),
    ],
)
def test_an_empty_mask_gives_what_the_docs_say(
    prediction: slice, truth: slice, expected: dict[str, float | None]
) -> None:
    values = values_of(pair_of(prediction, truth))
    assert {name: values[name] for name in expected} == expected


def test_the_tolerance_of_nsd_is_in_its_name() -> None:
    values = values_of(pair_of(slice(0, 4), slice(1, 6)), tolerance_mm=10.0)
    assert values["nsd_10mm"] == pytest.approx(8 / 9)
    assert metric_named("nsd_10mm").title == "NSD at 10 mm"


def test_values_lie_in_the_range_of_their_metric() -> None:
    for name, value in values_of(pair_of(slice(0, 4), slice(3, 9))).items():
        low, high = metric_named(name).range
        assert value is not None
        assert low <= value <= high


def test_a_difference_of_shares_is_in_points_and_one_of_volumes_in_percent_is_not() -> None:
    assert (METRICS["dice"].factor, METRICS["dice"].difference_unit) == (100.0, "points")
    percent = METRICS["volume_difference_percent"]
    assert (percent.factor, percent.difference_unit, percent.range) == (1.0, "%", (-100.0, math.inf))


def test_masks_are_cut_to_the_organ_in_both_maps() -> None:
    prediction, truth = pair_of(slice(1, 4), slice(2, 7)).masks
    assert prediction.shape == truth.shape == (6, 1, 1)
    assert prediction.ravel().tolist() == [True] * 3 + [False] * 3
    assert [mask.size for mask in pair_of(slice(0), slice(0)).masks] == [0, 0]


@pytest.mark.parametrize("name", ["volume_ml", "missed", "expected_dice", "nonsense"])
def test_what_has_no_better_side_is_not_compared(name: str) -> None:
    with pytest.raises(RunError, match=f"--metric {name}: .*; compare dice, .*assd_mm, .*nsd_2mm"):
        comparable_metric(name)


def test_a_name_of_another_program_is_not_known() -> None:
    assert known_metric("surface_dice") is None
    with pytest.raises(RunError, match="surface_dice"):
        metric_named("surface_dice")
