"""The check of a dataset: findings on each case by itself, and on each against the others.

Outliers are judged by median and median absolute deviation, which a few bad cases cannot move. What is wrong with a
case by itself is found where it is read (examine.py).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from autoseg.dataset.check_channels import channel_findings
from autoseg.dataset.check_images import image_findings
from autoseg.dataset.check_names import name_findings
from autoseg.dataset.check_organs import organ_findings
from autoseg.dataset.check_twins import ThumbnailOf, twin_findings
from autoseg.dataset.examine import Examination
from autoseg.dataset.facts import CaseFacts
from autoseg.dataset.findings import Finding, Severity, in_order
from autoseg.dataset.load import Dataset
from autoseg.errors import DatasetError
from autoseg.imaging.pictures import is_picture
from autoseg.imaging.readers import strip_suffix
from autoseg.imaging.stored import stored_files
from autoseg.words import counted

MOST_ROWS = 5  # unused files up to which each gets a row; beyond, all share one

NAMED = 8  # cases to leave out, in a message


def all_findings(
    examinations: Sequence[Examination], dataset: Dataset, thumbnail_of: ThumbnailOf | None = None
) -> list[Finding]:
    """Return everything that is wrong with a dataset, worst first: each case by itself and against the others.

    Args:
        examinations: Of the cases that could be examined.
        dataset: That they are of.
        thumbnail_of: As for `twin_findings`.
    """
    alone = [finding for examination in examinations for finding in examination.findings]
    facts = [examination.facts for examination in examinations if examination.facts is not None]
    names = name_findings({examination.case: examination.names for examination in examinations}, dataset)
    return in_order([*alone, *check_cohort(facts, dataset, thumbnail_of), *names, *unused_files(dataset)])


def usable_facts(
    dataset: Dataset, examinations: Sequence[Examination], findings: Sequence[Finding], excluded: Collection[str]
) -> list[CaseFacts]:
    """Return the facts of the cases that can be used and are not excluded.

    Raises:
        DatasetError: If an excluded case does not exist, others cannot be used, or none is left.
    """
    require_known_cases(dataset, excluded)
    left_out = frozenset(excluded)
    fatal = sorted({f.case for f in findings if f.severity == "fatal" and f.case not in left_out})
    if fatal:
        first = next(f for f in findings if f.severity == "fatal" and f.case == fatal[0])
        leave_out = " ".join(f"--exclude {shlex.quote(name)}" for name in fatal[:NAMED] if name)
        more = f" and {len(fatal) - NAMED} more" if len(fatal) > NAMED else ""
        raise DatasetError(
            f"{dataset.root}: {counted(len(fatal), 'case')} cannot be used ({first.case or 'dataset'}: {first.found}); "
            f"correct them, see `autoseg check`, or leave them out: {leave_out}{more}"
        )
    usable = [e.facts for e in examinations if e.facts is not None and e.case not in left_out]
    if not usable:
        raise DatasetError(f"{dataset.root}: no usable case is left; correct some, see `autoseg check`")
    return usable


def require_known_cases(dataset: Dataset, excluded: Collection[str]) -> None:
    """Refuse to leave out what is no case.

    Raises:
        DatasetError: Then.
    """
    unknown = [name for name in excluded if name not in dataset.by_id]
    if unknown:
        raise DatasetError(f"--exclude {unknown[0]}: {dataset.root} has no such case; write its id as `check` does")


def check_cohort(
    facts: Sequence[CaseFacts], dataset: Dataset, thumbnail_of: ThumbnailOf | None = None
) -> list[Finding]:
    """Return the findings that show only when the usable cases are compared; arguments as of `twin_findings`."""
    if not facts:
        return []
    rules = (organ_findings, partial(twin_findings, thumbnail_of=thumbnail_of), image_findings, channel_findings)
    return [finding for rule in rules for finding in rule(facts, dataset)]


def unused_files(dataset: Dataset) -> Iterator[Finding]:
    """Yield the files beside the images and label maps that belong to no case; hidden ones are left out."""
    named: dict[str, set[str]] = {}  # folder to names, as texts, which are a fifth of the size of paths
    for file in (file for case in dataset.cases for file in stored_files((*case.images, *case.label_files))):
        named.setdefault(str(file.parent), set()).add(file.name)
    spare: list[Path] = []
    images_or_maps = {str(file) for case in dataset.cases for file in (*case.images, *case.label_files)}
    folders = (folder for folder in sorted(named) if folder not in images_or_maps)  # a series is a case's own
    for folder in (folder for folder in folders if Path(folder).is_dir() and Path(folder) != dataset.root):
        files = (Path(folder, name) for name in sorted(os.listdir(folder)) if name not in named[folder])
        spare += [file for file in files if not _is_hidden(file)]
    pictures = any(is_picture(Path(name)) for names in named.values() for name in names)
    images = [file for file in spare if strip_suffix(file) is not None and (pictures or not is_picture(file))]
    yield from _rows(images, dataset.root, "warning", "list it with its pair, or move it away")
    convertible = frozenset(images)
    remaining = [file for file in spare if file not in convertible]
    yield from _rows(remaining, dataset.root, "note", "convert it if it is an image; else move it away")


def _is_hidden(file: Path) -> bool:
    return file.name.startswith(".") or file.is_dir()


def _rows(files: list[Path], root: Path, severity: Severity, fix: str) -> Iterator[Finding]:
    names = [str(file.relative_to(root)) if file.is_relative_to(root) else str(file) for file in files]
    if len(files) > MOST_ROWS:
        folders = sorted({file.parent for file in files})
        where = f" in {len(folders)} folders" if len(folders) > 1 else ""
        found = f"{len(files)} files{where} that no case names: {', '.join(names[:3])}, …"
        place = str(folders[0] if len(folders) == 1 else root)
        yield Finding(case="", file=place, code="file-unused", severity=severity, found=found, fix=fix)
        return
    for file, name in zip(files, names, strict=True):
        found = f"no case names {name}"
        yield Finding(case="", file=str(file), code="file-unused", severity=severity, found=found, fix=fix)
