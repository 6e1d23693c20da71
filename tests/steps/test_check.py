"""check: more names within label maps than labels are possible; cases whose worker is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Cli, assert_one_line

from autoseg.dataset.load import load_dataset
from autoseg.errors import CasesFailedError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
from autoseg.inference.outputs.legend import segment_fields
from autoseg.labels import Label
from autoseg.parts import Part
from autoseg.pool import Crew, call_each
from autoseg.processes import WorkerLostError
from autoseg.steps.check import check

GRID = Grid(shape=(4, 5, 6), spacing_mm=(2.0, 1.0, 1.0))
NAMES = 255


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A dataset of one case, whose segments of 3D Slicer have more names than there may be labels."""
    write_array(tmp_path / "a.nrrd", np.arange(120, dtype=np.int16).reshape(GRID.shape), GRID)
    labels = [Label(value=n, name=f"structure {n}") for n in range(1, NAMES + 1)]
    write_array(tmp_path / "a.seg.nrrd", np.full(GRID.shape, 7, np.uint8), GRID, segment_fields(labels, GRID.shape))
    (tmp_path / "cases.csv").write_text("case,image,label\na,a.nrrd,a.seg.nrrd\n", encoding="utf-8")
    return tmp_path / "cases.csv"


def test_more_names_than_labels_are_possible_are_told_with_the_way_to_a_table(cases: Path, cli: Cli) -> None:
    outcome = cli("check", cases)
    assert_one_line(outcome, "the label maps have 255 names of organs, and at most 254 labels are possible")
    assert_one_line(outcome, f"`autoseg check {cases} --labels draft.csv`")


def test_the_draft_of_a_table_is_written_of_them_all_and_serves_once_it_is_cut(cases: Path, cli: Cli) -> None:
    draft = cases.with_name("draft.csv")
    assert_one_line(cli("check", cases, "--labels", draft), f"they are in {draft}: keep", "save it as labels.csv")
    table = pd.read_csv(draft)
    assert table["names"].tolist() == [f"structure {n}" for n in sorted(range(1, NAMES + 1), key=str)]
    table.query("names == 'structure 7'").to_csv(cases.with_name("labels.csv"), index=False)
    assert [label.names for label in load_dataset(cases).labels] == [("structure 7",)]


def test_what_a_part_noted_of_a_picture_counts_until_another_size_of_its_pixels_is_given(tmp_path: Path) -> None:
    picture = Grid(shape=(1, 8, 8), spacing_mm=(1.0, 1.0, 1.0))
    write_array(tmp_path / "a.png", np.arange(64, dtype=np.uint8).reshape(1, 8, 8), picture)
    write_array(tmp_path / "a_label.png", np.tile(np.uint8([0, 1]), (1, 8, 4)), picture)
    (tmp_path / "cases.csv").write_text("case,image,label\na,a.png,a_label.png\n", encoding="utf-8")
    product = tmp_path / "check.json"
    says = tmp_path / "a.json"
    text = says.read_text()
    for spacing in (text, text.replace("1.0", "3.0")):
        says.write_text(spacing)
        check(load_dataset(tmp_path / "cases.csv"), 1, product=product, part=Part(1, 1))
        says.write_text(text.replace("1.0", "3.0"))
        (examination,) = check(load_dataset(tmp_path / "cases.csv"), 1, product=product).examinations
        assert examination.facts is not None
        assert examination.facts.grid.spacing_mm[1:] == (3.0, 3.0)


def test_processes_here_and_a_cluster_exclude_each_other(cases: Path, cli: Cli) -> None:
    outcome = cli("check", cases, "-j", "2", "--cluster", "127.0.0.1:1")
    assert_one_line(outcome, "--jobs and --cluster exclude each other; give one")


def lost_at_b(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
    future: Future[Any] = Future()
    if items[0].id == "b":
        future.set_exception(WorkerLostError("its worker was killed; give it more memory"))
    else:
        future.set_result(call_each(function, items))
    return future


def test_a_case_whose_worker_is_lost_is_named_with_the_way_out_that_who_works_has(tmp_path: Path) -> None:
    for name in "ab":
        write_array(tmp_path / f"{name}.nii.gz", np.arange(120, dtype=np.int16).reshape(GRID.shape), GRID)
        write_array(tmp_path / f"{name}_label.nii.gz", np.ones(GRID.shape, np.uint8), GRID)
    file = tmp_path / "cases.csv"
    file.write_text("case,image,label\na,a.nii.gz,a_label.nii.gz\nb,b.nii.gz,b_label.nii.gz\n", encoding="utf-8")
    crew = Crew(submit=lost_at_b, width=lambda: 1, examine=lambda: None)
    (row,) = [one for one in check(load_dataset(file), crew=crew).findings if one.code == "crashed"]
    assert (row.case, row.found, row.fix) == ("b", "its worker was killed", "give it more memory")
    with pytest.raises(CasesFailedError, match=r"1 of 2 cases failed.*\n  b: its worker was killed; give it more"):
        check(load_dataset(file), crew=crew, product=tmp_path / "check.json", part=Part(1, 1))
