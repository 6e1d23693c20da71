"""preprocess: the cases of a RUN cached on its working grid; those of a second stage are made by `train`."""

from __future__ import annotations

import math
from functools import partial

from autoseg.data.preprocess import preprocess as preprocess_cases
from autoseg.dataset.memory import jobs_for
from autoseg.dataset.origin import dataset_of
from autoseg.dataset.split_file import load_splits
from autoseg.digests import remembered
from autoseg.imaging.grid import Grid, working_shape
from autoseg.network.build import plan_of
from autoseg.options import PreprocessOptions
from autoseg.parts import share_of
from autoseg.plan import Plan
from autoseg.pool import Track, untracked
from autoseg.run import Run
from autoseg.steps.crew import cluster_of

READING_BYTES, WORKING_BYTES = 12.0, 20.0  # of a voxel of the image, and of its working grid; measured


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
    share = share_of(options.part, names)
    cases = [case for case in dataset.cases if case.id in share]
    with (
        run.locked("preprocess", options.part),
        remembered(run.digests_file),
        cluster_of(options.cluster, run.folder) as cluster,
    ):
        crew = cluster or jobs_for(cases, options.jobs, partial(_channel_bytes, plan.stages[0]))
        return preprocess_cases(cases, plan.stages[0], run.cache, crew, track)


def _channel_bytes(plan: Plan, grid: Grid) -> float:
    """Return what caching an image takes for each channel."""
    working = working_shape(grid, plan.spacing_mm, plan.downsampling, plan.flat)
    return READING_BYTES * math.prod(grid.shape) + WORKING_BYTES * math.prod(working)
