"""What is odd about a dataset: each case by itself, and each held against the others.

Outliers are told by median and median absolute deviation, which a few bad cases cannot move. What a case shows by
itself is found where it is read (examine.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from autoseg.dataset.check_channels import channel_findings
from autoseg.dataset.check_images import image_findings
from autoseg.dataset.check_organs import organ_findings
from autoseg.dataset.check_twins import twin_findings
from autoseg.dataset.examine import Examination
from autoseg.dataset.facts import CaseFacts
from autoseg.dataset.findings import Finding, Severity, in_order
from autoseg.dataset.load import Dataset
from autoseg.imaging.readers import READERS, strip_suffix

MOST_ROWS = 5  # files of a folder that get a row each; more get one row together


def all_findings(examinations: Sequence[Examination], dataset: Dataset) -> list[Finding]:
    """Return everything that is wrong with a dataset, worst first: each case by itself and against the others."""
    alone = [finding for examination in examinations for finding in examination.findings]
    facts = [examination.facts for examination in examinations if examination.facts is not None]
    return in_order([*alone, *check_cohort(facts, dataset), *unused_files(dataset)])


def check_cohort(facts: Sequence[CaseFacts], dataset: Dataset) -> list[Finding]:
    """Hold the usable cases against each other."""
    if not facts:
        return []
    rules = (organ_findings, twin_findings, image_findings, channel_findings)
    return [finding for rule in rules for finding in rule(facts, dataset)]


def unused_files(dataset: Dataset) -> Iterator[Finding]:
    """Yield the files beside the images and label maps that belong to no case; hidden ones are left out."""
    named = {file for case in dataset.cases for file in (*case.images, case.label)}
    for folder in sorted({file.parent for file in named}):
        if folder.is_dir() and folder != dataset.root:
            spare = [file for file in sorted(folder.iterdir()) if file not in named and not _belongs(file, named)]
            images = [file for file in spare if strip_suffix(file) is not None]
            yield from _rows(images, "warning", "list it with its pair, or move it away")
            others = [file for file in spare if file not in images]
            yield from _rows(others, "note", "convert it if it is an image; else move it away")


def _belongs(file: Path, named: set[Path]) -> bool:
    """Return whether a file is hidden, a folder, or the voxels of a header that a case names."""
    headers = [
        file.with_suffix(suffix)
        for reader in READERS.values()
        if file.suffix.lower() in reader.voxel_suffixes
        for suffix in reader.suffixes
    ]
    return file.name.startswith(".") or file.is_dir() or not named.isdisjoint(headers)


def _rows(files: list[Path], severity: Severity, fix: str) -> Iterator[Finding]:
    if len(files) > MOST_ROWS:
        found = f"{len(files)} files that no case names: {', '.join(file.name for file in files[:3])}, …"
        yield Finding(case="", file=str(files[0].parent), code="file-unused", severity=severity, found=found, fix=fix)
        return
    for file in files:
        found = f"no case names {file.name}"
        yield Finding(case="", file=str(file), code="file-unused", severity=severity, found=found, fix=fix)
