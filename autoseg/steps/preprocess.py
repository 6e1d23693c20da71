"""preprocess: the cases of a RUN cached on its working grid; those of a second stage are made by `train`."""

from __future__ import annotations

from autoseg.data.preprocess import preprocess as preprocess_cases
from autoseg.dataset.origin import dataset_of
from autoseg.dataset.split_file import load_splits
from autoseg.digests import remembered
from autoseg.machine import usable_cores
from autoseg.network.build import plan_of
from autoseg.options import PreprocessOptions
from autoseg.pool import Track, untracked
from autoseg.run import Run


def preprocess(run: Run, options: PreprocessOptions, track: Track = untracked) -> int:
    """Cache all cases of the split; return how many were made anew.

    Raises:
        CasesFailedError: When all others are done, if some cases could not be read.
        LockedError: If another process writes to RUN.
    """
    plan, dataset = plan_of(run), dataset_of(run)
    patients = {case.id: case.patient for case in dataset.cases}
    splits = load_splits(run.split_file, tuple(patients), patients)
    names = {name for split in splits for name in split.cases()}
    cases = [case for case in dataset.cases if case.id in names]
    with run.locked("preprocess"), remembered(run.digests_file):
        jobs = options.jobs or usable_cores()
        return preprocess_cases(cases, plan.stages[0], run.cache, jobs, track)
