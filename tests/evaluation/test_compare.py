"""Methods compared case by case, with numbers that can be worked out by hand."""

from __future__ import annotations

import csv
import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoseg.errors import AutosegError
from autoseg.evaluation.compare import Comparison, Difference, compare, holm, signed_rank_p
from autoseg.evaluation.published import PAPER
from autoseg.evaluation.scores import COLUMNS
from autoseg.evaluation.sources import ScoreSource, match_organs, open_sources
from autoseg.evaluation.statistics import OVER_ORGANS
from autoseg.figures.differences import Paired, differences_figure
from autoseg.report.comparison import ComparisonReport
from autoseg.report.verdict import caveats, p_value, verdict
from autoseg.steps.compare import compare_sources

SIX = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)


def source(
    name: str,
    organs: Mapping[str, Mapping[str, float]],
    labels: Mapping[str, int] | None = None,
    trained_on: frozenset[str] | None = None,
) -> ScoreSource:
    frame = pd.DataFrame({organ: pd.Series(dict(cases), dtype=float) for organ, cases in organs.items()})
    return ScoreSource(name=name, values=frame, labels=labels or {}, trained_on=trained_on)


def numbered(values: tuple[float, ...] | list[float]) -> dict[str, float]:
    return {f"case {number:03d}": value for number, value in enumerate(values)}


def shifted(differences: tuple[float, ...] | list[float], organ: str = "liver") -> tuple[ScoreSource, ScoreSource]:
    """A baseline of 0.5 everywhere and a method that differs from it by `differences`."""
    return (
        source("A", {organ: numbered([0.5] * len(differences))}),
        source("B", {organ: numbered([0.5 + d for d in differences])}),
    )


def only(comparison: Comparison) -> Difference:
    (row,) = comparison.differences
    return row


def table(file: Path, organs: Mapping[str, list[float | str]], cases: list[str]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["case", *organs], *zip(cases, *organs.values(), strict=True)])
    return file


def shown(*names: Path | str, out: Path | None = None, metric: str = "dice") -> ComparisonReport:
    return compare_sources([str(name) for name in names], out, metric)


def refusal(*names: Path | str, out: Path | None = None, metric: str = "dice") -> str:
    with pytest.raises(AutosegError) as caught:
        shown(*names, out=out, metric=metric)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_six_cases_to_one_side_have_p_2_of_64() -> None:
    assert signed_rank_p(SIX) == pytest.approx(2 / 64)
    assert signed_rank_p([-d for d in SIX]) == pytest.approx(2 / 64)


def test_the_largest_of_six_to_the_other_side_has_p_28_of_64() -> None:
    # rank sum 6 to the other side; 14 of the 64 subsets of 1 … 6 sum to at most 6; two sides: 28
    subsets = [s for size in range(7) for s in itertools.combinations(range(1, 7), size) if sum(s) <= 6]
    assert len(subsets) == 14
    assert signed_rank_p([0.01, 0.02, 0.03, 0.04, 0.05, -0.06]) == pytest.approx(28 / 64)


def test_equal_differences_and_zeros_are_counted_exactly() -> None:
    assert signed_rank_p([0.01] * 6) == pytest.approx(2 / 64)
    assert signed_rank_p([0.0, *SIX]) == pytest.approx(2 / 64)  # a zero has no side
    assert signed_rank_p([0.1 + 0.2 - 0.3, *SIX]) == pytest.approx(2 / 64)  # zero but for rounding


def test_there_is_no_test_of_five_cases_and_none_of_zeros() -> None:
    assert signed_rank_p(SIX[:5]) is None
    assert signed_rank_p([0.0] * 20) is None


def test_holm_by_hand() -> None:
    # 3 · 0.01, 2 · 0.03, and 1 · 0.04, which may not be below the one before it
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_method_that_is_always_better_is_higher_by_the_mean_difference() -> None:
    row = only(compare(*_first(shifted(SIX)), metric="dice"))
    assert row.mean == pytest.approx(0.035)
    assert row.median == pytest.approx(0.035)
    assert (row.baseline_mean, row.other_mean) == pytest.approx((0.5, 0.535))
    assert row.p == row.p_holm == pytest.approx(2 / 64)
    assert row.interval is not None
    assert 0.01 < row.interval[0] < 0.035 < row.interval[1] < 0.06
    assert row.standing == "higher"


def test_the_verdict_says_who_how_much_and_how_sure() -> None:
    (sentence,) = verdict(compare(*_first(shifted([0.002 + 0.0001 * i for i in range(21)])), metric="dice"))
    assert sentence.startswith("B is higher than A by 0.30 points on liver (95 % interval 0.2")
    assert sentence.endswith("p < 0.001, 21 cases). That is less than 0.5 points.")


def test_a_method_that_is_sometimes_better_shows_nothing_and_that_is_not_equality() -> None:
    (sentence,) = verdict(compare(*_first(shifted([0.03, -0.03, 0.01, -0.01, 0.02, -0.02])), metric="dice"))
    assert sentence.startswith("No difference shown on liver: B minus A is 0.00 points (95 % interval −")
    assert sentence.endswith("p = 1.000, 6 cases); that is not proof of equality.")


def test_a_mean_that_one_case_pulls_over_is_mixed() -> None:
    row = only(found := compare(*_first(shifted([0.01 + 0.0001 * i for i in range(19)] + [-0.45])), metric="dice"))
    assert row.mean < 0 < row.median
    assert row.standing == "mixed"
    assert "look at the single cases" in verdict(found)[0]


def test_equal_methods_are_the_same_and_five_cases_are_too_few() -> None:
    assert verdict(compare(*_first(shifted([0.0] * 9)), metric="dice")) == (
        "liver: B and A have the same values in all 9 cases.",
    )
    found = compare(*_first(shifted([-0.01] * 5)), metric="dice")
    assert verdict(found) == (
        "Too few cases for a test on liver: B minus A is −1.00 points over 5 cases, 6 are needed.",
    )
    one = compare(*_first(shifted([-0.01])), metric="dice")
    assert "over 1 case," in verdict(one)[0]
    assert only(one).interval is None


def test_the_same_difference_in_every_case_has_no_interval() -> None:
    found = compare(*_first(shifted([0.01] * 8)), metric="dice")
    assert only(found).standing == "higher"
    assert "(no interval: every case differs by the same, p = 0.008, 8 cases)" in verdict(found)[0]


def test_of_a_distance_the_lower_side_is_the_better() -> None:
    (sentence,) = verdict(compare(*_first(shifted([-d for d in SIX])), metric="hd95_mm"))
    assert sentence.startswith("B is lower (better) than A by 0.04 mm on liver")
    assert "less than 0.5" not in sentence


def test_who_missed_the_organ_in_some_cases_is_not_called_better_by_the_distances_of_the_others() -> None:
    missing = dict.fromkeys(("x", "y"), math.nan)
    one = source("A", {"liver": numbered([2.0] * 6) | {"x": 2.0, "y": 2.0}})
    two = source("B", {"liver": numbered([1.0] * 6) | missing})
    for first, second, side in ((one, two, "lower"), (two, one, "higher")):
        found = compare(first, [second], "hd95_mm")
        assert only(found).standing == "survivors"
        (sentence,) = verdict(found)
        assert sentence.startswith(f"Not decided on liver: {second.name} is {side} than {first.name}")
        assert sentence.endswith("but B has none in 2 cases where A has one: it missed the organ there.")


def test_who_missed_the_organ_and_is_farther_off_elsewhere_is_worse() -> None:
    one = source("A", {"liver": numbered([1.0] * 6) | {"x": 1.0}})
    two = source("B", {"liver": numbered([2.0] * 6) | {"x": math.nan}})
    assert verdict(compare(one, [two], "hd95_mm"))[0].startswith("B is higher (worse) than A by 1.00 mm on liver")


def test_distances_of_one_organ_that_was_missed_leave_the_mean_over_organs_undecided() -> None:
    one = source("A", {"liver": numbered([2.0] * 8), "vein": numbered([2.0] * 8)})
    two = source("B", {"liver": numbered([1.0] * 8), "vein": numbered([1.0] * 7 + [math.nan])})
    standings = {row.organ: row.standing for row in compare(one, [two], "hd95_mm").differences}
    assert standings == {"liver": "lower", "vein": "survivors", OVER_ORGANS: "survivors"}


def test_a_case_without_the_organ_that_one_has_left_empty_does_not_count_against_its_dice() -> None:
    one = source("A", {"liver": numbered([0.5] * 8) | {"x": 0.0}})
    two = source("B", {"liver": numbered([0.6] * 8) | {"x": math.nan}})
    assert only(compare(one, [two], "dice")).standing == "higher"


def test_a_swap_turns_every_number_over() -> None:
    draw = random.Random(3)
    cases = {organ: numbered([draw.random() for _ in range(12)]) for organ in ("liver", "vein")}
    others = {organ: numbered([draw.random() for _ in range(12)]) for organ in ("liver", "vein")}
    there = compare(source("A", cases), [source("B", others)], "dice")
    back = compare(source("B", others), [source("A", cases)], "dice")
    for one, other in zip(there.differences, back.differences, strict=True):
        assert one.mean == pytest.approx(-other.mean)
        assert one.median == pytest.approx(-other.median)
        assert one.p_holm == pytest.approx(other.p_holm)
        assert one.interval is not None
        assert other.interval is not None
        assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
        assert (one.baseline_mean, one.other_mean) == pytest.approx((other.other_mean, other.baseline_mean))


def test_the_order_of_the_cases_does_not_matter() -> None:
    draw = random.Random(4)
    values, others = ([draw.random() for _ in range(12)] for _ in range(2))
    names = [f"case {n}" for n in range(12)]
    found = []
    for order in (range(12), draw.sample(range(12), 12)):
        one = source("A", {"liver": {names[i]: values[i] for i in order}})
        two = source("B", {"liver": {names[i]: others[i] for i in reversed(order)}})
        found.append(only(compare(one, [two], "dice")))
    assert found[0] == found[1]


def test_the_mean_over_organs_is_of_the_organs_that_both_have_in_a_case() -> None:
    one = source("A", {"liver": {"a": 0.9, "b": 0.8}, "vein": {"a": 0.5, "b": math.nan}})
    two = source("B", {"liver": {"a": 0.8, "b": 0.7}, "vein": {"a": 0.8, "b": 0.1}})
    found = compare(one, [two], "dice")
    liver, vein, over = found.differences
    assert [row.organ for row in found.differences] == ["liver", "vein", OVER_ORGANS]
    assert liver.differences == pytest.approx((-0.1, -0.1))
    assert (vein.cases, vein.differences, vein.one_sided) == (("a",), pytest.approx((0.3,)), 1)
    assert over.differences == pytest.approx((0.1, -0.1))  # a: (0.8 − 0.7), b: the liver alone
    left_out = next(note for note in caveats(found) if note.startswith("vein: left out, with a value in only one"))
    assert left_out.endswith(": 1 common case.")


def test_of_one_organ_there_is_no_mean_over_organs() -> None:
    assert len(compare(*_first(shifted(SIX)), metric="dice").differences) == 1


def test_p_is_corrected_over_all_tests_of_the_call() -> None:
    one, two = shifted(SIX)
    three = source("C", {"liver": numbered([0.4] * 6)})
    found = compare(one, [two, three], "dice")
    assert found.tests == 2
    assert [row.p_holm for row in found.differences] == pytest.approx([4 / 64, 4 / 64])
    assert verdict(found)[0].startswith("No difference shown")
    assert any("no p can fall below 0.062" in note for note in caveats(found))


def test_cases_that_one_was_trained_on_are_left_out_and_told() -> None:
    one = source("A", {"liver": numbered([0.5] * 8)})
    seen = frozenset({"case 000", "case 001"})
    two = source("B", {"liver": numbered([0.6] * 8)}, trained_on=seen)
    found = compare(one, [two], "dice")
    assert only(found).cases == tuple(f"case {n:03d}" for n in range(2, 8))
    assert "Left out: 2 cases of A that B was trained or validated on." in found.notes
    unknown = "A: a file of scores does not tell training cases; if of a model, none may be among these."
    assert [note for note in caveats(found) if "file of scores" in note] == [unknown]


def test_organs_are_matched_by_name_in_any_case_and_numbers_by_label() -> None:
    one = source("A", {"Left  Lung": {}, "label 2": {}, "vein": {}, "label 4": {}}, {"label 2": 2, "vein": 3})
    two = source("B", {"left lung": {}, "liver": {}, "label 3": {}, "bone": {}}, {"liver": 2, "label 3": 3, "bone": 5})
    assert match_organs(one, two) == {"Left  Lung": "left lung", "label 2": "liver", "vein": "label 3"}


def test_organs_that_differ_in_capitals_match_those_of_exactly_their_name() -> None:
    names = ["Kidney", "kidney", "liver"]
    one, same = (source(name, {key: {} for key in names}) for name in ("one", "same"))
    assert match_organs(one, same) == {name: name for name in names}
    single = source("single", {"KIDNEY": {}, "Liver": {}})
    assert match_organs(one, single) == {"liver": "Liver"}
    assert match_organs(single, one) == {"Liver": "liver"}


def test_two_names_of_one_label_value_are_two_organs() -> None:
    one, two = source("A", {"liver": {}}, {"liver": 1}), source("B", {"spleen": {}}, {"spleen": 1})
    assert match_organs(one, two) == {}


def test_an_organ_found_by_its_label_has_the_name_and_is_told() -> None:
    one = source("A", {"label 2": numbered(SIX)}, {"label 2": 2})
    two = source("B", {"liver": numbered(SIX), "bone": numbered(SIX)}, {"liver": 2, "bone": 3})
    found = compare(one, [two], "dice")
    assert only(found).organ == "liver"
    assert "A and B: by label value, label 2 is liver." in found.notes
    assert "Only in B, not compared: bone." in found.notes


def test_an_organ_absent_everywhere_is_told_and_not_tested(tmp_path: Path) -> None:
    cases = [f"c{n}" for n in range(6)]
    one = table(tmp_path / "one.csv", {"liver": [0.5] * 6, "vein": [""] * 6}, cases)
    two = table(tmp_path / "two.csv", {"liver": [0.51, 0.52, 0.53, 0.54, 0.55, 0.56], "vein": [""] * 6}, cases)
    found = shown(one, two, out=tmp_path / "out")
    assert "vein: no case has a value in both two and one." in found.verdict
    (text,) = found.tables
    assert next(row for row in text.rows if row[0] == "vein") == ["vein", "0", "", "", "", "", "", ""]
    both = shown(*(table(tmp_path / f"{n}.csv", {"vein": [""] * 6}, cases) for n in "ab"), out=tmp_path / "none")
    assert both.verdict == ("vein: no case has a value in both b and a.",)


def test_a_published_table_is_set_beside_and_never_tested(tmp_path: Path) -> None:
    cases = [f"c{n}" for n in range(8)]
    run = table(tmp_path / "mine.csv", {"Liver": [90.0] * 4 + [94.0] * 4, "kidney": [50.0] * 8}, cases)
    for names in ((run, "roth2018"), ("roth2018", run)):
        found = shown(*names, out=tmp_path / "out")
        assert found.comparison.differences == ()
        (sentence,) = found.verdict
        assert found.notes[1] == "Not in the published table or without a case: kidney of mine."
        assert sentence.startswith("No test of mine against Roth et al. 2018: the paper's cases are other patients")
        (text,) = found.tables
        assert text.rows[0] == ["Liver", "92.0", "2.1", "90.0", "94.0", "8", "97.1", "1.0", "93.5", "98.3", "37"]
    numbers = pd.read_csv(tmp_path / "out" / "published.csv")
    assert numbers[PAPER + "N"][0] == 37
    assert not (tmp_path / "out" / "differences.png").exists()


def test_everything_is_written_and_reads_back(tmp_path: Path) -> None:
    cases = [f'a, "{n}" ü_{n}' for n in range(6)]
    base = table(tmp_path / "base_1.csv", {"left_lung & 5 % | x": [0.5] * 6, "vein": [0.4] * 6}, cases)
    other = table(tmp_path / "other.csv", {"left_lung & 5 % | x": [0.5 + d for d in SIX], "vein": [0.4] * 6}, cases)
    found = shown(base, other, "roth2018", out=tmp_path / "new" / "out")
    assert {file.name for file in found.written} == {file.name for file in (tmp_path / "new" / "out").iterdir()}
    assert len(found.written) == 7
    rows = pd.read_csv(tmp_path / "new" / "out" / "comparison.csv")
    assert list(rows["organ"]) == ["left_lung & 5 % | x", "vein", OVER_ORGANS]
    assert rows["difference"][0] == pytest.approx(0.035, abs=1e-12)
    assert rows["p"][0] == pytest.approx(2 / 64, abs=1e-12)
    text = (tmp_path / "new" / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| left_lung & 5 % \\| x | 6 | 50.00 | 53.50 | +3.50 |" in text
    latex = (tmp_path / "new" / "out" / "comparison.tex").read_text(encoding="utf-8")
    assert r"left\_lung \& 5 \% \textbar{} x & 6 & 50.00 & 53.50" in latex  # the other columns follow below
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 2
    again = shown(base, other, out=tmp_path / "new" / "out")  # without the published table
    assert {file.name for file in again.written} == {file.name for file in (tmp_path / "new" / "out").iterdir()}
    assert len(again.written) == 6
    (tmp_path / "paper").mkdir()
    own = table(tmp_path / "paper" / "published.csv", {"vein": [0.4] * 6}, cases)
    for _ in range(2):
        shown(own, base, out=own.parent)
        assert own.is_file()
    mine = tmp_path / "other" / "differences.svg"
    mine.parent.mkdir()
    mine.write_text("of the user's")
    shown("roth2018", base, out=mine.parent)
    assert mine.is_file()


def test_two_score_files_of_ours_are_compared_by_any_metric_with_a_better_side(tmp_path: Path) -> None:
    for name, shift in (("one", 0.0), ("two", 1.0)):
        rows = [
            [0, f"c{n}", "testing", "liver", 1, metric, value, "original"]
            for n in range(7)
            for metric, value in (("dice", 0.9), ("hd95_mm", 3.0 + shift + n / 10), ("nsd_2mm", 0.5))
        ]
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(tmp_path / f"{name}.csv", index=False)
    found = shown(tmp_path / "one.csv", tmp_path / "two.csv", metric="hd95_mm")
    assert found.written == ()
    assert found.verdict[0].startswith("two is higher (worse) than one by 1.00 mm on liver (no interval")
    assert shown(tmp_path / "one.csv", tmp_path / "two.csv", metric="nsd_2mm").comparison.metric.title == "NSD at 2 mm"


def test_what_has_nothing_in_common_is_refused(tmp_path: Path) -> None:
    one = table(tmp_path / "one.csv", {"liver": [0.5]}, ["a"])
    assert "no organ in common (liver and vein)" in refusal(one, table(tmp_path / "b.csv", {"vein": [0.5]}, ["a"]))
    assert "no case in common" in refusal(one, table(tmp_path / "c.csv", {"liver": [0.5]}, ["b"]))
    vein = table(tmp_path / "d.csv", {"kidney": [0.5]}, ["b"])
    assert "no organ of the published table" in refusal(vein, "roth2018")
    assert "two sources or more" in refusal(one)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "is a file" in refusal(one, vein, out=tmp_path / "file")
    assert "--metric size" in refusal(one, vein, metric="size")


def test_cases_that_the_other_was_trained_on_are_no_common_cases() -> None:
    one = source("A", {"liver": {"a": 0.5}})
    two = source("B", {"liver": {"a": 0.5}}, trained_on=frozenset("a"))
    with pytest.raises(AutosegError, match="no case in common that neither was trained on"):
        compare(one, [two], "dice")


def test_p_never_rounds_to_the_other_side_of_5_percent() -> None:
    assert [p_value(p) for p in (0.00004, 0.0312, 0.04996, 0.0504, 1.0)] == [
        "< 0.001",
        "0.031",
        "0.04996",
        "0.050",
        "1.000",
    ]


@pytest.mark.parametrize("organs", [1, 60])
def test_the_picture_holds_a_row_an_organ_and_every_case(organs: int) -> None:
    rows = {f"organ {n}": Paired(values=list(SIX), interval=(0.01, 0.05)) for n in range(organs)}
    figure = differences_figure({"B": rows, "C": rows}, "A", "Difference of Dice (percentage points)", "right")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(rows)
    points = [np.asarray(drawn.get_offsets()) for drawn in axes.collections if type(drawn).__name__ == "PathCollection"]
    assert sum(map(len, points)) == 2 * organs * len(SIX)
    assert axes.get_xlim()[0] < 0


def test_the_hippocampus_of_nnunet_is_read_as_shares(real_data: Path) -> None:
    (found,) = open_sources([str(real_data / "hippocampus" / "nnunet_v2_cv.csv")], "dice")
    assert found.values is not None
    assert found.values.shape == (195, 2)
    assert found.values.mean().to_dict() == pytest.approx({"Anterior": 0.899301, "Posterior": 0.882259}, abs=1e-5)


def _first(pair: tuple[ScoreSource, ScoreSource]) -> tuple[ScoreSource, list[ScoreSource]]:
    return pair[0], [pair[1]]


def test_several_cases_of_a_patient_count_as_one_in_interval_and_test() -> None:
    differences = [d + 0.001 * scan for d in (*SIX, 0.07) for scan in range(3)]
    one, other = shifted(differences)
    patients = {case: f"p{number // 3}" for number, case in enumerate(sorted(numbered(differences)))}
    by_case = compare(one, [other], "dice")
    by_patient = compare(replace(one, patients=patients), [other], "dice")
    row = only(by_patient)
    assert row.differences == only(by_case).differences
    assert row.p == signed_rank_p([d + 0.001 for d in (*SIX, 0.07)])
    widths = [high - low for low, high in (row.interval or (0, 0), only(by_case).interval or (0, 0))]
    assert widths[0] > 1.5 * widths[1]
    assert "A and B: 21 cases of 7 patients; intervals and p are of patients." in by_patient.notes
    assert not any("patients" in note for note in by_case.notes)


def test_cases_of_too_few_patients_are_called_so() -> None:
    one, other = shifted([0.01, 0.02, 0.03, 0.04] * 3)
    patients = {case: f"p{number % 4}" for number, case in enumerate(sorted(one.patients or numbered([0.0] * 12)))}
    few = compare(replace(one, patients=patients), [other], "dice")
    assert verdict(few)[0] == (
        "Too few patients for a test on liver: B minus A is +2.50 points over 12 cases of 4 patients, 6 are needed."
    )
    told = caveats(few)
    assert not any("taken as independent" in note for note in told)
    assert any(note.startswith("Interval: bootstrap over patients") for note in told)
    six = {case: f"p{number % 6}" for number, case in enumerate(patients)}
    two = shifted([0.01, 0.02, 0.03, 0.04] * 3)[1]
    both = compare(replace(one, patients=six), [other, replace(two, name="C")], "dice")
    assert any(note.startswith("With 6 patients and 2 tests no p can fall below 0.062") for note in caveats(both))
