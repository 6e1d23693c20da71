"""Tests of autoseg.dataset.origin: whether a run was planned for this dataset with these options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoseg.dataset.load import Dataset
from autoseg.dataset.origin import has_origin, origin_of
from autoseg.labels import Label
from autoseg.run import Run

DATASET = Dataset(name="one", root=Path("data"), channels=("CT",), labels=(Label(name="liver", value=1),), cases=())
DEFAULTS = {"seed": 0, "gpu_memory_gib": None}


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({"seed": 0}, {"seed": 0, "gpu_memory_gib": None}, True),
        ({"seed": 0}, {"seed": 0, "gpu_memory_gib": 8.0}, False),
        ({"seed": 0, "gpu_memory_gib": None}, {}, True),
        ({"gpu_memory_gib": 8.0}, {"seed": 0, "gpu_memory_gib": 8.0}, True),
        ({"gpu_memory_gib": 8.0}, {"seed": 0, "gpu_memory_gib": None}, False),
        ({"seed": 0, "of_a_newer_version": 1}, {"seed": 0}, False),
    ],
)
def test_an_option_that_a_run_does_not_note_has_its_default(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], same: bool
) -> None:
    run = Run(tmp_path)
    run.dataset_file.write_text(json.dumps(origin_of(tmp_path / "data", DATASET, before, run)))
    assert has_origin(run, tmp_path / "data", DATASET, now, DEFAULTS) is same


def test_another_dataset_or_another_place_is_another_origin(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.dataset_file.write_text(json.dumps(origin_of(tmp_path / "data", DATASET, DEFAULTS, run)))
    assert has_origin(run, tmp_path / "data", DATASET, DEFAULTS, DEFAULTS)
    assert not has_origin(run, tmp_path / "other", DATASET, DEFAULTS, DEFAULTS)
    spleen = replace(DATASET, labels=(Label(name="spleen", value=1),))
    assert not has_origin(run, tmp_path / "data", spleen, DEFAULTS, DEFAULTS)
    run.dataset_file.unlink()
    assert not has_origin(run, tmp_path / "data", DATASET, DEFAULTS, DEFAULTS)
