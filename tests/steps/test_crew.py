"""Work that others do, as a cluster's workers, by the processes of this machine: the same files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import Cli, copy_of

from autoseg.evaluation.postprocessing import store_postprocessing
from autoseg.inference.opening import open_model
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.pool import Crew, local_crew


@contextmanager
def others(*_: object, **__: object) -> Iterator[Crew]:
    with local_crew(2) as crew:
        yield crew


def test_what_others_evaluate_and_predict_is_the_same(
    finished: Path, cohort: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scan = copy_of(finished, tmp_path / "RUN"), cohort / "imagesTr" / "phantom_000_0000.nii.gz"
    shutil.rmtree(run / "fold-0" / "predictions")
    for file in (run / "scores.csv", run / "reliability.csv", run / "fold-0" / "evaluated.jsonl"):
        file.unlink()
    store_postprocessing(run / "fold-0" / "model.autoseg", Postprocessing())  # which is fitted before others open it
    (tmp_path / "scans").mkdir()
    shutil.copy(scan, tmp_path / "scans")
    assert cli("predict", finished, tmp_path / "scans", tmp_path / "own")[0] == 0
    for verb in ("evaluate", "predict"):
        monkeypatch.setattr(f"autoseg.steps.{verb}.cluster_of", others)
    monkeypatch.setattr("autoseg.evaluation.postprocessing.determine_postprocessing", pytest.fail)  # others do
    assert "5 cases scored" in cli("evaluate", run)[1]
    assert open_model(run, "cpu").postprocessing == open_model(finished, "cpu").postprocessing
    for name in ("scores.csv", "reliability.csv", "fold-0/predictions/phantom_002.nii.gz"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert "1 mask ->" in cli("predict", finished, tmp_path / "scans", tmp_path / "theirs")[1]
    names = sorted(entry.name for entry in (tmp_path / "own").iterdir())
    assert [(tmp_path / "theirs" / n).read_bytes() for n in names] == [
        (tmp_path / "own" / n).read_bytes() for n in names
    ]
