"""Tests of autoseg.evaluation.failures: tables worked by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from report_content import SCORES

from autoseg.evaluation.failures import distances, failures, failures_by_organ, pieces
from autoseg.metrics.loss_kinds import KINDS


def frame(values: dict[tuple[str, str], list[float | None]]) -> pd.DataFrame:
    """Long scores of testing cases from (organ, metric) to a value a case."""
    organs = list(dict.fromkeys(organ for organ, _ in values))
    rows = [
        [0, f"c{case}", "testing", organ, organs.index(organ) + 1, metric, value, "original"]
        for (organ, metric), numbers in values.items()
        for case, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows, columns=SCORES)


def lost(organ: str, **kinds: list[float | None]) -> dict[tuple[str, str], list[float | None]]:
    return {(organ, f"lost_{kind}"): kinds.get(kind, [0.0, 0.0, 0.0, 0.0]) for kind in KINDS}


FRAME = frame(
    {
        **lost("liver", leak=[0.06, 0.1, 0.0, 0.0], short=[0.02, 0.005, 0.0, 0.0], missed=[0.0, 0.5, 0.0, 0.0]),
        ("liver", "dice"): [0.92, 0.395, 1.0, 1.0], ("liver", "expected_dice"): [0.92, 0.9, 1.0, 1.0],
        **lost("vein", extra=[0.115, None, None, None]),
        ("vein", "dice"): [0.885, None, None, None], ("vein", "expected_dice"): [0.885, None, None, None],
    }
)  # fmt: skip


def test_shares_of_the_lost_dice_by_hand() -> None:
    table = failures(FRAME, ["testing"]).set_index("What went wrong")  # 0.8 of a Dice is lost in all
    assert list(table.index[:4]) == [
        "Missed piece or organ", "Leak at the border", "Extra piece", "Short of the border",
    ]  # fmt: skip
    shares = table["Share of the lost Dice (%)"]
    assert list(shares[:4]) == pytest.approx([62.5, 20.0, 14.375, 3.125])
    assert shares[list(table.index[:-1])].sum() == pytest.approx(100)
    assert table.loc["Leak at the border", ["Cases", "Organs"]].tolist() == [2, 2]
    assert table.loc["Short of the border", ["Cases", "Organs"]].tolist() == [1, 1]  # half a point is not counted
    # the liver of c1: 0.505 below what the model expects, the other livers as expected
    assert table.iloc[-1].tolist() == [1, 1, pytest.approx(100 * 0.605 / 0.8)]


def test_scores_from_before_far_errors_were_told_apart_have_the_kinds_that_they_know() -> None:
    old = FRAME[~FRAME["metric"].isin(["lost_far_beyond", "lost_far_short"])]
    assert list(failures_by_organ(old, ["testing"])["Lost Dice"]) == list(
        failures_by_organ(FRAME, ["testing"])["Lost Dice"]
    )
    assert "Far beyond" not in failures_by_organ(old, ["testing"])
    assert failures_by_organ(FRAME, ["testing"])["Far beyond"].tolist() == [0.0, 0.0]


def test_the_dice_that_each_organ_loses_in_points() -> None:
    table = failures_by_organ(FRAME, ["testing"]).set_index("Organ")
    assert table.loc["liver", "Lost Dice"] == pytest.approx(100 * (0.08 + 0.605) / 4)
    assert table.loc["vein", "Lost Dice"] == pytest.approx(11.5)  # cases without a vein do not count
    assert table.loc["liver", "Leak"] == pytest.approx(4)


def test_scores_of_an_earlier_version_have_no_failures() -> None:
    old = frame({("liver", "dice"): [0.9, 0.8]})
    assert failures(old, ["testing"]).empty
    assert failures_by_organ(old, ["testing"]).empty
    assert distances(old, ["testing"]).empty
    assert pieces(old, ["testing"]).empty


def test_a_miss_counts_as_the_diagonal_beside_the_distance_of_the_found() -> None:
    table = distances(
        frame({("liver", "hd95_mm"): [2.0, 4.0, None, None], ("liver", "hd95_all_mm"): [2.0, 4.0, 300.0, None]}),
        ["testing"],
    )
    assert table.to_numpy().tolist() == [["liver", 2, 3.0, 3.0, 1, 102.0, 4.0]]


def test_pieces_are_told_of_organs_that_mostly_have_several() -> None:
    counts: dict[tuple[str, str], list[float | None]] = {
        ("rib", "pieces_true"): [3, 5], ("rib", "pieces_missed"): [1, 1], ("rib", "pieces_invented"): [0, 2],
        ("rib", "pieces_dice"): [0.6, 0.4],
        ("liver", "pieces_true"): [1, 2], ("liver", "pieces_missed"): [0, 1], ("liver", "pieces_invented"): [0, 0],
    }  # fmt: skip
    lesion_wise = 100 * (3 * 0.6 + 7 * 0.4) / 10  # over 3 pieces of a case, and 5 with 2 invented of the other
    table = pieces(frame(counts), ["testing"])
    assert table.to_numpy().tolist() == [["rib", 2, 8, 6, 2, 2, 75.0, pytest.approx(lesion_wise)]]
    before = {key: values for key, values in counts.items() if key[1] != "pieces_dice"}
    assert pieces(frame(before), ["testing"])["Lesion-wise Dice (%)"].isna().all()
    assert list(pieces(frame(counts), ["testing"], least=0)["Organ"]) == ["rib", "liver"]
