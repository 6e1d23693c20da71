"""Tests of autoseg.dataset.memory: how many cases are read at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.dataset import memory
from autoseg.dataset.case import Case
from autoseg.dataset.memory import examining_bytes, jobs_for, largest_bytes
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
from autoseg.machine import GIB


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Thirty cases, one of which is larger than the others."""
    sizes = {f"c{number}": (4, 4, 4) for number in range(29)} | {"large": (8, 16, 32)}
    for name, shape in sizes.items():
        voxels = np.random.default_rng(0).integers(0, 99, shape).astype(np.int16)
        write_array(tmp_path / f"{name}.nii.gz", voxels, Grid(shape=shape, spacing_mm=(1.0, 1.0, 1.0)))
    return [Case(id=n, images=(tmp_path / f"{n}.nii.gz",), label=tmp_path / "none.nii", patient=n) for n in sizes]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 cores and 10 GiB of free memory, 8 of which may be taken."""
    monkeypatch.setattr(memory, "usable_cores", lambda: 16)
    monkeypatch.setattr(memory, "free_memory_gib", lambda: 10.0)
    monkeypatch.setattr(memory, "PROCESS_GIB", 1e-6)


def voxels(grid: Grid) -> float:
    return float(np.prod(grid.shape))


def test_a_large_ct_takes_the_memory_that_was_measured() -> None:
    grid = Grid(shape=(1000, 512, 512), spacing_mm=(1.0, 1.0, 1.0))
    assert 3.1 < examining_bytes(grid) / GIB < 4.0  # 3.1 to 3.6 were measured, libraries and all


def test_the_largest_image_counts_and_few_headers_are_read(
    cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    read_header = memory.read_header
    monkeypatch.setattr(memory, "read_header", lambda file: (read.append(file), read_header(file))[1])
    assert largest_bytes(cases, voxels) == 8 * 16 * 32
    assert read[0] == tmp_path / "large.nii.gz"
    assert len(read) == memory.LOOKED_AT < len(cases)


def test_where_the_memory_holds_fewer_cases_than_there_are_cores_so_many_are_read_and_a_line_tells(
    cases: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    assert jobs_for(cases, None, lambda grid: 1.99 * GIB * voxels(grid) / (8 * 16 * 32)) == 4
    assert "memory for 4 cases at a time, not for one on each of 16 cores" in caplog.text
    assert jobs_for(cases, None, lambda _: 100.0 * GIB) == 1


def test_else_there_is_one_process_a_core_and_nothing_is_told(
    cases: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    assert jobs_for(cases, None, voxels) == 16
    assert caplog.text == ""


def test_what_the_user_asks_for_is_done(cases: list[Case]) -> None:
    assert jobs_for(cases, 7, lambda _: 100.0 * GIB) == 7


def test_a_case_whose_files_cannot_be_read_does_not_count(cases: list[Case], tmp_path: Path) -> None:
    (tmp_path / "large.nii.gz").write_bytes(b"no image" * 10_000)
    missing = Case(id="gone", images=(tmp_path / "gone.nii.gz",), label=tmp_path / "none.nii", patient="gone")
    assert largest_bytes([*cases, missing], voxels) == 4 * 4 * 4
    assert jobs_for([missing], None, voxels) == 16


def test_the_files_of_a_series_count_together(cases: list[Case], tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(bytes(1000))
    assert memory._stored_bytes(folder) == 3000
