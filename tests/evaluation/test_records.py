"""Tests of autoseg.evaluation.records: what a RUN knows of its cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from made import plan

from autoseg.data.cache import CachedCase, write_case
from autoseg.dataset.load import load_dataset
from autoseg.evaluation.records import EDGE, PATIENT, case_records, run_patients
from autoseg.imaging.grid import Grid
from autoseg.run import Run


def cache_case(run: Run, name: str, spacing_mm: tuple[float, float, float]) -> None:
    grid = Grid(shape=(2, 2, 2), spacing_mm=spacing_mm)
    run.cache.mkdir(parents=True, exist_ok=True)
    case = CachedCase(
        id=name, folder=run.cache, patient=f"of {name}", source_digest="", plan_digest="", grid=grid, stored=grid,
        working=grid,
    )  # fmt: skip
    write_case(case, np.zeros((1, 2, 2, 2)), np.zeros((2, 2, 2), np.uint8), seed=0)


def test_extra_columns_of_a_csv_are_kept_and_a_gone_dataset_leaves_what_is_cached(tmp_path: Path) -> None:
    run = Run(tmp_path / "RUN")
    cache_case(run, "a", (5.0, 1.0, 1.0))
    (tmp_path / "cases.csv").write_text(
        "case,image,label,patient,Sex,age\na,a.nii.gz,al.nii.gz,p1,F,61\nb,b.nii.gz,bl.nii.gz,,M,\n", encoding="utf-8"
    )
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "CT"}, "labels": {"liver": 1}}', encoding="utf-8")
    assert [dict(case.about) for case in load_dataset(tmp_path / "cases.csv").cases] == [
        {"sex": "F", "age": "61"}, {"sex": "M"},
    ]  # fmt: skip
    run.plan_file.write_text(plan().model_dump_json(), encoding="utf-8")
    run.dataset_file.write_text(json.dumps({"dataset": str(tmp_path / "cases.csv")}), encoding="utf-8")
    records = case_records(run)
    assert list(records.index) == ["a", "b"]
    assert list(records[PATIENT]) == ["p1", "b"]
    assert records[EDGE].to_list()[0] == 5.0
    assert list(records["sex"]) == ["F", "M"]
    for name in ("taken out", "withdrawn"):
        cache_case(run, name, (5.0, 1.0, 1.0))
    run.split_file.write_text('[{"training": ["a", "withdrawn"], "validation": [], "testing": ["b"]}]', "utf-8")
    assert dict(case_records(run)[PATIENT]) == {"a": "p1", "b": "b", "withdrawn": "of withdrawn"}
    for name in ("taken out", "withdrawn"):
        (run.cache / f"{name}.json").unlink()
    (tmp_path / "cases.csv").unlink()
    assert dict(case_records(run)[PATIENT]) == run_patients(run) == {"a": "of a"}
    assert list(case_records(Run(tmp_path / "none")).columns) == [PATIENT, EDGE]


def test_the_edge_of_a_voxel_has_the_digits_of_single_precision(tmp_path: Path) -> None:
    run = Run(tmp_path / "RUN")
    cache_case(run, "a", (3.0749999284744263, 1.0, 1.0))
    cache_case(run, "b", (0.00012345678, 0.0001, 0.0001))
    assert list(case_records(run)[EDGE]) == [3.075, 0.000123457]
