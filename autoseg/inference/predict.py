"""Predict images: read, segment, write; the next is read and the last written while the network works."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from autoseg.errors import AutosegError, CasesFailedError, TooLittleMemoryError, VolumeError
from autoseg.inference.cost import reading_bytes
from autoseg.inference.jobs import Job
from autoseg.inference.model import USUAL, Model, Prediction, Wanted
from autoseg.inference.outputs import PLAIN, Outputs, write_outputs
from autoseg.inference.stages import Stopwatch
from autoseg.inference.statistics import Statistics
from autoseg.plan import Plan
from autoseg.volumes import Volume, read_header, read_image
from autoseg.workers import Track, untracked


def predict(
    model: Model,
    jobs: Sequence[Job],
    statistics: Statistics,
    wanted: Wanted = USUAL,
    outputs: Outputs = PLAIN,
    track: Track = untracked,
    watch: Stopwatch | None = None,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Predict every job and write its mask on the image's own grid; jobs that are done already are left out.

    Args:
        model: Ready on its device.
        jobs: From `jobs_for`.
        statistics: Knows what is done, and takes what is found.
        wanted: How.
        outputs: What is written beside the masks.
        track: Shows progress.
        watch: Gets the time of each stage, summed over the jobs.
        tell: Gets a line on each job before it is begun: the memory that it will take.

    Returns:
        How many were predicted.

    Raises:
        CasesFailedError: When all others are done, if some could not be predicted.
    """
    work = _Work(model, statistics, wanted, outputs, watch or Stopwatch())
    due = [job for job in jobs if not work.is_done(job)]
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        for job, reading in track(_ahead(due, reader, work.watch), "Predicting", len(due)):
            if tell is not None and reading.exception() is None:
                tell(f"{job.name}: at most about {_memory(model, reading.result(), due, job):.1f} GiB of memory")
            work.do(job, reading, writer)
        work.settle(leave=0)
    if work.failed:
        raise CasesFailedError("predict", work.failed, done=len(jobs) - len(work.failed))
    return len(due)


class _Work:
    """Predicts one job after another; each is written while the next is predicted."""

    def __init__(
        self, model: Model, statistics: Statistics, wanted: Wanted, outputs: Outputs, watch: Stopwatch
    ) -> None:
        self.model, self.statistics, self.wanted, self.outputs, self.watch = model, statistics, wanted, outputs, watch
        self.failed: dict[str, str] = {}
        self._writing: deque[tuple[Job, Prediction, Future[None]]] = deque()

    def is_done(self, job: Job) -> bool:
        """Return whether the mask is there, made by this model from these files in this way."""
        return job.out.is_file() and self.statistics.has(job.name, self._key(job))

    def do(self, job: Job, reading: Future[Volume], writer: ThreadPoolExecutor) -> None:
        """Predict a job and have it written."""
        try:
            image = reading.result()
            with _told_as_error():
                made = self.model.predict(image, self.wanted, self.watch)
        except AutosegError as error:
            self.failed[job.name] = str(error)
            return
        self.statistics.forget(job.name)
        shown = image if self.outputs.preview else None
        written = writer.submit(_write, job, self.model.plan, shown, made, self.outputs, self.watch)
        self._writing.append((job, made, written))
        self.settle(leave=1)

    def settle(self, leave: int) -> None:
        """Wait until at most `leave` jobs are still being written."""
        while len(self._writing) > leave:
            job, made, written = self._writing.popleft()
            try:
                written.result()
                self.statistics.add(job.name, self._key(job), made)
            except AutosegError as error:
                self.failed[job.name] = str(error)

    def _key(self, job: Job) -> str:
        """Return what changes when the job would give other files: model, ways, or the image's own files."""
        inside = [sorted(image.rglob("*")) if image.is_dir() else [image] for image in job.images]
        files = [file for files in inside for file in files if file.is_file()]
        states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        about = f"{self.model.digest} {self.wanted} {self.outputs} {job.series} {states}"
        return hashlib.sha256(about.encode()).hexdigest()[:16]


@contextmanager
def _told_as_error() -> Iterator[None]:
    """Turn what the system refuses into an error of the one job.

    Raises:
        TooLittleMemoryError: If the memory is full.
        VolumeError: If a file cannot be read or written.
    """
    try:
        yield
    except MemoryError as error:
        raise TooLittleMemoryError("there is too little memory for it; close other programs") from error
    except OSError as error:
        raise VolumeError(
            f"{error.filename or 'a file'}: {error.strerror or error}; check path and disk space"
        ) from error


def _memory(model: Model, image: Volume, due: Sequence[Job], job: Job) -> float:
    """Return the memory that a job will take while the next one is read, in GiB."""
    beside = 0.0
    for after in due[due.index(job) + 1 :][:1]:
        with suppress(AutosegError):
            beside = sum(reading_bytes(*read_header(file, after.series)) for file in after.images)
    return model.memory_gib(image, beside)


def _read(job: Job, watch: Stopwatch) -> Volume:
    with watch.stage("read"), _told_as_error():
        return read_image(job.images, job.series)


def _write(job: Job, plan: Plan, image: Volume | None, made: Prediction, outputs: Outputs, watch: Stopwatch) -> None:
    with watch.stage("write"), _told_as_error():
        write_outputs(job, plan, image, made, outputs)


def _ahead(jobs: Sequence[Job], pool: ThreadPoolExecutor, watch: Stopwatch) -> Iterator[tuple[Job, Future[Volume]]]:
    """Yield each job with its image, while the next one is being read."""
    reading: Future[Volume] | None = None
    for job, after in zip(jobs, [*jobs[1:], None], strict=True):
        now = reading or pool.submit(_read, job, watch)
        now.exception()  # wait: the next one is read only when this one is
        reading = pool.submit(_read, after, watch) if after else None
        yield job, now
