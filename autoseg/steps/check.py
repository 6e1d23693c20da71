"""check: every case of a dataset looked at, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autoseg.dataset.check import all_findings
from autoseg.dataset.examine import Examination, examine_case
from autoseg.dataset.facts import sample_size
from autoseg.dataset.findings import Finding, write_check
from autoseg.dataset.label_proposal import write_proposal
from autoseg.dataset.load import Dataset, load_dataset
from autoseg.dataset.memory import examining_bytes, jobs_for
from autoseg.dataset.survey import ManyNamesError
from autoseg.errors import AutosegError, DatasetError
from autoseg.imaging.segment_values import TABLE
from autoseg.options import CheckOptions
from autoseg.pool import Track, each, untracked


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """A dataset, and what its cases show."""

    dataset: Dataset
    examinations: tuple[Examination, ...]  # of the cases that could be examined, in the dataset's order
    findings: list[Finding]  # the worst first

    @property
    def fatal_cases(self) -> list[str]:
        """The cases that cannot be used, sorted."""
        return sorted({finding.case for finding in self.findings if finding.severity == "fatal"})

    @property
    def cases_by_label(self) -> dict[str, int]:
        """The number of usable cases that have each label, by its name."""
        facts = [examination.facts for examination in self.examinations if examination.facts is not None]
        labels = self.dataset.scheme.labels
        return {label.name: sum(label.value in case.values for case in facts) for label in labels}


def check(path: Path, jobs: int | None = None, track: Track = untracked) -> DatasetCheck:
    """Examine every case of a dataset.

    Args:
        path: Of the dataset.
        jobs: Processes; None: one a core, as far as memory goes.
        track: Shows progress.

    Raises:
        DatasetError: If the dataset as a whole cannot be understood.
    """
    dataset = load_dataset(path)
    sample = sample_size(len(dataset.cases))
    examine = partial(examine_case, dataset=replace(dataset, cases=()), sample=sample)
    work = {case.id: case for case in dataset.cases}
    by_case: dict[str, Examination] = {}
    crashes: list[Finding] = []
    processes = jobs_for(dataset.cases, jobs, examining_bytes)
    for name, result in track(each(examine, work, processes), "Checking", len(work)):
        if isinstance(result, AutosegError):
            crashes.append(
                Finding(case=name, file="", code="crashed", severity="fatal", found=str(result), fix="use -j 1")
            )
        else:
            by_case[name] = result
    examinations = tuple(by_case[case.id] for case in dataset.cases if case.id in by_case)
    findings = [*crashes, *all_findings(examinations, dataset)]
    return DatasetCheck(dataset=dataset, examinations=examinations, findings=findings)


def check_and_write(path: Path, options: CheckOptions, track: Track = untracked) -> DatasetCheck:
    """Examine every case of a dataset, and write the findings, and the names found, where the user wants them.

    Raises:
        DatasetError: If the dataset as a whole cannot be understood, or the table of names is there already.
        ManyNamesError: If there are too many names; they are written before.
    """
    if options.labels is not None and options.labels.exists():
        raise DatasetError(f"--labels {options.labels}: is there already; give another FILE, or move it away")
    try:
        checked = check(path, options.jobs, track)
    except ManyNamesError as error:
        if options.labels is None:
            raise
        write_proposal(options.labels, error.names, ())
        way_out = f"they are in {options.labels}: keep and join those that count, save it as {TABLE} beside the dataset"
        raise ManyNamesError(path, error.names, way_out) from error
    if options.labels is not None:
        dataset = checked.dataset
        names = {examination.case: examination.names for examination in checked.examinations}
        write_proposal(options.labels, names, dataset.labels if dataset.is_listed else ())
    if options.json is not None:
        write_check(checked.findings, options.json)
    return checked
