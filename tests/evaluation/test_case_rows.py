"""Tests of autoseg.evaluation.case_rows: the rows that were given, in order, in a small part of the memory."""

from __future__ import annotations

import tracemalloc

from autoseg.evaluation.case_rows import CaseRows
from autoseg.evaluation.scores import Row

METRICS = ("dice", "hd95_mm", "volume_ml", "missed")


def rows_of(case: str, labels: tuple[int, ...] = (2, 1), metrics: int = 4) -> list[Row]:
    """Rows of a case, the last metric undefined; the values differ."""
    return [
        {
            "fold": 0,
            "case": case,
            "split": "testing",
            "grid": "original",
            "organ": f"organ {label}",
            "label": label,
            "metric": f"{METRICS[place % 4]} {place}",
            "value": None if place == metrics - 1 else (ord(case[-1]) + 7 * label + place) / 200,
        }
        for label in labels
        for place in range(metrics)
    ]


def test_rows_come_back_by_case_then_label_whatever_the_order_in_which_they_came() -> None:
    given = {case: rows_of(case) for case in ("b", "a", "c")}
    rows = CaseRows()
    for case in ("b", "a", "c"):
        rows.add(given[case])
    rows.add([])
    expected = [row for case in "abc" for label in (1, 2) for row in given[case] if row["label"] == label]
    assert list(rows) == expected
    assert (len(rows), rows.cases, bool(CaseRows())) == (24, 3, False)


def test_a_case_of_two_organs_takes_less_than_a_kilobyte() -> None:
    rows, count = CaseRows(), 500
    rows.add(rows_of("first", metrics=16))  # what cases have in common
    tracemalloc.start()
    try:
        for number in range(count):
            rows.add(rows_of(f"case {number}", metrics=16))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / count < 1000  # as dictionaries they take some 12,000
