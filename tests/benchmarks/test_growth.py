"""The benchmark of growth: its cases make a dataset, its table has the costs and exponents."""

from __future__ import annotations

from pathlib import Path

from autoseg.dataset.load import load_dataset
from autoseg.imaging.volumes import read_label
from tests.benchmarks.growth import table, write_dataset


def test_its_cases_are_tiny_have_two_organs_and_differ(tmp_path: Path) -> None:
    write_dataset(tmp_path, 3)
    dataset = load_dataset(tmp_path)
    labels = [read_label(case.label).array for case in dataset.cases]
    assert [label.shape for label in labels] == [(16, 16, 16)] * 3
    assert all(set(label.ravel().tolist()) == {0, 1, 2} for label in labels)
    assert len({label.tobytes() for label in labels}) == 3


def test_the_table_has_milliseconds_a_case_and_exponents() -> None:
    spent = {"check": [(1.0, 90.0), (10.0, 91.0), (80.0, 92.0)]}
    costs = {verb: [{"cpu_s": cpu_s, "peak_mb": mb} for cpu_s, mb in rows] for verb, rows in spent.items()}
    head, _, row = table([10, 100, 400], costs).splitlines()
    assert head.split(" | ")[1:6] == ["CPU ms a case at 10", "100", "400", "exponent 10 to 100", "exponent 100 to 400"]
    assert row == "| check | 100 | 100 | 200 | 1.00 | 1.50 | 90 | 91 | 92 |"  # eightfold for four times as many
