"""Tests of autoseg.dataset.origin: whether a run was planned for this dataset with these options."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import pytest

from autoseg.dataset import origin
from autoseg.dataset.load import Dataset
from autoseg.dataset.origin import dataset_of, has_origin, origin_of
from autoseg.errors import DatasetError
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


def test_the_place_of_a_dataset_within_a_run_is_read_as_any_system_has_written_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, opened = Run(tmp_path / "RUN"), []
    monkeypatch.setattr(Run, "plan", lambda run: made.plan())
    monkeypatch.setattr(origin, "load_dataset", lambda root, **_: opened.append(root))
    run.folder.mkdir()
    assert origin_of(run.folder / "phantoms" / "small", DATASET, {}, run)["dataset"] == "phantoms/small"
    for where in ("phantoms/small", "phantoms\\small", str(tmp_path / "data")):
        run.dataset_file.write_text(json.dumps({"dataset": where}))
        dataset_of(run)
    assert opened == [*[run.folder / "phantoms" / "small"] * 2, tmp_path / "data"]


def test_a_run_from_another_system_says_where_its_dataset_is_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "plan", lambda run: made.plan())
    Run(tmp_path).dataset_file.write_text(json.dumps({"dataset": "D:\\scans"}))
    with pytest.raises(DatasetError, match=r"dataset.json: D:.*is a Windows path, which does not exist here"):
        dataset_of(Run(tmp_path))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(origin, "load_dataset", lambda root, **_: DATASET)
    assert dataset_of(Run(tmp_path)) is DATASET
