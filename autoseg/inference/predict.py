"""Predict images: read, segment, write; the next is read and the last written while the network works."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import AutosegError, CasesFailedError
from autoseg.inference.jobs import Job
from autoseg.inference.model import Model, Prediction
from autoseg.inference.stages import Stopwatch
from autoseg.inference.statistics import Statistics
from autoseg.volumes import Volume, read_image, write_label
from autoseg.workers import Track, untracked


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How to predict."""

    mirrored: bool = False  # average over the mirrorings that training knew
    cleaned: bool = True  # by the rules that helped on validation cases


def predict(
    model: Model,
    jobs: Sequence[Job],
    statistics: Statistics,
    wanted: Wanted = Wanted(),
    track: Track = untracked,
    watch: Stopwatch | None = None,
) -> None:
    """Predict every job and write its mask on the image's own grid; jobs that are done already are left out.

    Args:
        model: Ready on its device.
        jobs: From `jobs_for`.
        statistics: Knows what is done, and takes what is found.
        wanted: How.
        track: Shows progress.
        watch: Gets the time of each stage, summed over the jobs.

    Raises:
        CasesFailedError: When all others are done, if some could not be predicted.
    """
    failed: dict[str, str] = {}
    watch = watch or Stopwatch()
    keys = {job.name: job_key(model, job, wanted) for job in jobs if all(file.exists() for file in job.images)}
    due = [job for job in jobs if not (job.out.is_file() and statistics.has(job.name, keys.get(job.name, "")))]
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: deque[tuple[Job, Prediction, Future[None]]] = deque()

        def settle() -> None:
            job, made, written = writing.popleft()
            try:
                written.result()
            except AutosegError as error:
                failed[job.name] = str(error)
            else:
                statistics.add(job.name, keys.get(job.name, ""), made)

        for job, reading in track(_ahead(due, reader, watch), "Predicting", len(due)):
            try:
                made = model.predict(reading.result(), wanted.mirrored, wanted.cleaned, watch)
            except AutosegError as error:
                failed[job.name] = str(error)
                continue
            writing.append((job, made, writer.submit(_write, job.out, made.mask, watch)))
            while len(writing) > 1:
                settle()
        while writing:
            settle()
    if failed:
        raise CasesFailedError("predict", failed, done=len(jobs) - len(failed))


def job_key(model: Model, job: Job, wanted: Wanted) -> str:
    """Return what changes when the same job would give another mask: model, options, or the image's files.

    Raises:
        OSError: If a file is missing.
    """
    files = [file for image in job.images for file in (sorted(image.iterdir()) if image.is_dir() else [image])]
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(f"{model.digest} {wanted} {states}".encode()).hexdigest()[:16]


def _read(job: Job, watch: Stopwatch) -> Volume:
    with watch.stage("read"):
        return read_image(job.images)


def _write(file: Path, mask: Volume, watch: Stopwatch) -> None:
    with watch.stage("write"):
        write_label(file, mask.array, mask.stored)


def _ahead(jobs: Sequence[Job], pool: ThreadPoolExecutor, watch: Stopwatch) -> Iterator[tuple[Job, Future[Volume]]]:
    """Yield each job with its image, while the next one is being read."""
    reading: Future[Volume] | None = None
    for job, after in zip(jobs, [*jobs[1:], None], strict=True):
        now = reading or pool.submit(_read, job, watch)
        reading = pool.submit(_read, after, watch) if after else None
        yield job, now
