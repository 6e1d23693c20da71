"""Tests of autoseg.dataset.label_proposal: a draft of labels.csv from the names that occur."""

from __future__ import annotations

from pathlib import Path

from autoseg.dataset.label_proposal import proposed_table, write_proposal
from autoseg.dataset.label_table import with_table
from autoseg.labels import Label

NAMES = {
    "a": ["Heart", "Lung_L", "Lung_R"],
    "b": ["heart_ctr", "lung l", "Lung R"],
    "c": ["HEART 2019", "Lung", "GTV"],
    "d": ["heart", "GTV", "GTV nodes"],
}


def rows(labels: tuple[Label, ...] = ()) -> list[tuple[str, int, str, int]]:
    return list(proposed_table(NAMES, labels).itertuples(index=False, name=None))


def test_names_that_no_case_has_beside_each_other_are_proposed_as_one_organ_unless_a_side_tells_them_apart() -> None:
    assert rows() == [
        ("Heart", 1, "Heart;heart;HEART 2019;heart_ctr", 4),
        ("GTV", 2, "GTV", 2),
        ("Lung_L", 3, "Lung_L;lung l", 2),
        ("Lung_R", 4, "Lung_R;Lung R", 2),
        ("GTV nodes", 5, "GTV nodes", 1),
        ("Lung", 6, "Lung", 1),
    ]


def test_labels_that_the_dataset_lists_keep_name_and_value_and_no_other_is_proposed() -> None:
    labels = (Label(value=7, name="lung_right", names=("lung_r",)), Label(value=3, name="heart"))
    assert rows(labels) == [
        ("lung_right", 7, "Lung_R;Lung R", 2),
        ("heart", 3, "Heart;heart;HEART 2019;heart_ctr", 4),
    ]


def test_what_is_written_can_be_read_as_it_is(tmp_path: Path) -> None:
    write_proposal(tmp_path / "labels.csv", {"a": ["=1", "liver"], "b": ["Liver"]}, ())
    scheme = with_table(tmp_path / "cases.csv", None)
    assert scheme is not None
    assert [(one.value, one.name, one.names) for one in scheme.labels] == [
        (1, "liver", ("liver", "Liver")),
        (2, "=1", ("=1",)),
    ]
