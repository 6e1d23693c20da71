"""The phantom cohort on disk, in nnU-Net's raw layout."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from autoseg.errors import AutosegError, DatasetError
from autoseg.files import write_text
from autoseg.imaging.volumes import write_array
from autoseg.phantom.scan import ORGANS, USUAL, Detail, phantom_case
from autoseg.pool import Track, each, untracked


def write_cohort(
    folder: Path, cases: int, seed: int, jobs: int, track: Track = untracked, detail: Detail = USUAL
) -> Path:
    """Write a phantom dataset; cases that are there already are kept.

    Args:
        folder: Of the dataset; gets imagesTr, labelsTr and dataset.json.
        cases: How many.
        seed: Of the cohort.
        jobs: Processes.
        track: Shows progress.
        detail: How fine they are, and their vessels.

    Returns:
        The folder.

    Raises:
        DatasetError: If the folder holds another cohort.
        VolumeError: If a file cannot be written.
    """
    text = json.dumps(_description(cases, seed, detail), indent=1)
    file = folder / "dataset.json"
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise DatasetError(f"{folder}: holds another cohort (--cases and --seed differ); remove it or take another RUN")
    write_text(file, text)
    names = {f"phantom_{index:03d}": index for index in range(cases)}
    due = {name: index for name, index in names.items() if not _label(folder, name).is_file()}
    work = {name: (folder, name, seed, index, detail) for name, index in due.items()}
    for _, result in track(each(_write_case, work, jobs), "Making phantoms", len(work)):
        if isinstance(result, AutosegError):
            raise result
    return folder


def _description(cases: int, seed: int, detail: Detail) -> dict[str, object]:
    usual = {
        "name": "Phantom",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{organ: value for value, organ in enumerate(ORGANS, 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "seed": seed,
    }
    return usual if detail == USUAL else {**usual, "detail": asdict(detail)}


def _write_case(work: tuple[Path, str, int, int, Detail]) -> None:
    folder, name, seed, index, detail = work
    case = phantom_case(seed, index, detail)
    write_array(folder / "imagesTr" / f"{name}_0000.nii.gz", case.image, case.grid)
    write_array(_label(folder, name), case.label, case.grid)


def _label(folder: Path, name: str) -> Path:
    return folder / "labelsTr" / f"{name}.nii.gz"
