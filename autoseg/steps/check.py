"""check: every case of a dataset looked at, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autoseg.dataset.check import all_findings
from autoseg.dataset.examination_json import from_json, to_json
from autoseg.dataset.examine import Examination, examine_case
from autoseg.dataset.facts import sample_size
from autoseg.dataset.findings import Finding, write_check
from autoseg.dataset.holding import Holding
from autoseg.dataset.label_proposal import write_proposal
from autoseg.dataset.load import Case, Dataset, load_dataset
from autoseg.dataset.memory import examining_bytes, jobs_for
from autoseg.dataset.survey import ManyNamesError
from autoseg.digests import code_digest, digest
from autoseg.errors import AutosegError, CasesFailedError, DatasetError
from autoseg.imaging.segment_values import TABLE
from autoseg.imaging.stored import stored_digest
from autoseg.options import CheckOptions
from autoseg.part_notes import Form, clear_notes, part_notes
from autoseg.parts import Part, share_of
from autoseg.pool import Crew, Track, each, untracked
from autoseg.steps.crew import cluster_of

CODE = ("dataset", "imaging", "labels.py")  # what examines a case
EachOf = Callable[[Callable[[Case], Examination], Mapping[str, Case]], Iterator[tuple[str, Examination | AutosegError]]]


@dataclass(frozen=True, kw_only=True)
class DatasetCheck:
    """A dataset, and what its cases show."""

    dataset: Dataset
    examinations: tuple[Examination, ...]  # of the cases that could be examined, in the dataset's order
    findings: list[Finding]  # the worst first
    crew: Crew | int = 1  # who examined them: a cluster, or as many processes as the memory holds

    @property
    def fatal_cases(self) -> list[str]:
        """The cases that cannot be used, sorted."""
        return sorted({finding.case for finding in self.findings if finding.severity == "fatal"})

    @property
    def cases_by_label(self) -> dict[str, int]:
        """The number of usable cases that have each label, by its name."""
        facts = [examination.facts for examination in self.examinations if examination.facts is not None]
        cases = Counter(value for case in facts for value in case.values)
        return {label.name: cases[label.value] for label in self.dataset.scheme.labels}


def check(
    dataset: Dataset,
    jobs: int | None = None,
    track: Track = untracked,
    crew: Crew | None = None,
    product: Path | None = None,
    part: Part | None = None,
) -> DatasetCheck:
    """Examine every case of a dataset.

    Args:
        dataset: As it was loaded.
        jobs: Processes; None: one a core, as far as memory goes.
        track: Shows progress.
        crew: Who examines instead of these processes.
        product: What is made of it, a file beside which parts note what they found; None: nothing is noted.
        part: Of the cases, which are noted and not set against others; None: all.

    Raises:
        CasesFailedError: When all others are done, if a part has lost the workers of some cases.
        LockedError: If another process does the same part.
    """
    who = crew or jobs_for(dataset.cases, jobs, examining_bytes)
    if product is None:
        checked = _check(dataset, partial(each, crew=who), track, part)
    else:
        with part_notes(product, "autoseg check", part, _form(dataset)) as notes:
            checked = _check(dataset, partial(notes.each, crew=who), track, part)
    return replace(checked, crew=who)


def _form(dataset: Dataset) -> Form[Case, Examination]:
    return Form(
        dump=to_json,
        load=from_json,
        content=lambda case: stored_digest((*case.images, *case.label_files)),
        how=digest(replace(dataset, cases=()), sample_size(len(dataset.cases)), code_digest(*CODE)),
    )


def _check(dataset: Dataset, each_of: EachOf, track: Track, part: Part | None) -> DatasetCheck:
    sample = sample_size(len(dataset.cases))
    examine = partial(examine_case, dataset=replace(dataset, cases=()), sample=sample)
    work = {case.id: case for case in dataset.cases}
    by_case: dict[str, Examination] = {}
    crashes: dict[str, str] = {}
    with Holding() as holding:
        for name, result in track(each_of(examine, work), "Checking", len(share_of(part, work))):
            if isinstance(result, AutosegError):
                crashes[name] = str(result)
            else:
                facts = None if result.facts is None else holding.lean(name, result.facts)
                by_case[name] = replace(result, case=name, facts=facts)
        if part is not None and crashes:  # nothing is noted of them
            raise CasesFailedError("check", crashes, done=len(by_case))
        examinations = tuple(by_case[case.id] for case in dataset.cases if case.id in by_case)
        findings = [_crashed(*crash) for crash in crashes.items()]
        findings += all_findings(examinations, dataset, holding.thumbnail) if part is None else ()
    return DatasetCheck(dataset=dataset, examinations=examinations, findings=findings)


def _crashed(case: str, text: str) -> Finding:
    """Return the finding that the loss of a worker ("what happened; way out") makes."""
    found, _, fix = text.rpartition("; ")
    way_out = fix if found else "see that the machine has more memory for it"
    return Finding(case=case, file="", code="crashed", severity="fatal", found=found or fix, fix=way_out)


def check_and_write(path: Path, options: CheckOptions, track: Track = untracked) -> DatasetCheck:
    """Examine every case of a dataset, and write the findings, and the names found, where the user wants them.

    Raises:
        DatasetError: If the dataset as a whole cannot be understood, or the table of names is there already.
        CasesFailedError: When all others are done, if a part has lost the workers of some cases.
        ManyNamesError: If there are too many names; they are written before.
    """
    if options.part is not None and options.json is None:
        raise DatasetError("--part: give --json FILE, too; beside it the parts leave what they found")
    if options.labels is not None and options.labels.exists():
        raise DatasetError(f"--labels {options.labels}: is there already; give another FILE, or move it away")
    try:
        with cluster_of(options.cluster, path, is_written=False) as crew:
            checked = check(load_dataset(path), options.jobs, track, crew, options.json, options.part)
    except ManyNamesError as error:
        if options.labels is None:
            raise
        write_proposal(options.labels, error.names, ())
        way_out = f"they are in {options.labels}: keep and join those that count, save it as {TABLE} beside the dataset"
        raise ManyNamesError(path, error.names, way_out) from error
    if options.part is not None:
        return checked
    if options.labels is not None:
        dataset = checked.dataset
        names = {examination.case: examination.names for examination in checked.examinations}
        write_proposal(options.labels, names, dataset.labels if dataset.is_listed else ())
    if options.json is not None:
        write_check(checked.findings, options.json)
        clear_notes(options.json, "autoseg check")
    return checked
