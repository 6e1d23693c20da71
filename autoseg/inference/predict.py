"""Predict images: read, segment, write; the next is read and the last written while the network works."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from autoseg.digests import code_digest, digest
from autoseg.errors import AutosegError, CasesFailedError, TooLittleMemoryError, VolumeError
from autoseg.imaging.stored import stored_digest
from autoseg.imaging.volumes import Volume, read_header, read_image
from autoseg.inference.cost import Stopwatch, reading_bytes
from autoseg.inference.inputs import Input
from autoseg.inference.model import MASK_CODE, Model, Prediction, PreparedImage
from autoseg.inference.outputs.write import PLAIN, Outputs, output_files, write_outputs
from autoseg.inference.stage import USUAL_OPTIONS, InferenceOptions
from autoseg.inference.statistics import Origin, Statistics
from autoseg.pool import Track, untracked
from autoseg.words import shortened

logger = logging.getLogger(__name__)
PREVIEW_CODE = (*MASK_CODE, "figures")
Reading = Future[tuple[PreparedImage, Volume | None]]


def predict(
    model: Model,
    jobs: Sequence[Input],
    statistics: Statistics,
    options: InferenceOptions = USUAL_OPTIONS,
    outputs: Outputs = PLAIN,
    track: Track = untracked,
    watch: Stopwatch | None = None,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Predict every job and write its mask on the image's own grid; jobs that are done already are left out.

    Args:
        model: Ready on its device.
        jobs: From `jobs_for`.
        statistics: Tells which jobs are done, and takes the predictions.
        options: How to predict.
        outputs: What to write beside the masks.
        track: Shows progress.
        watch: Gets the time of each phase, summed over the jobs.
        tell: Gets a line on each job: before it is begun the memory that it will take, on a CPU; and how a second
            stage has looked.

    Returns:
        How many were predicted.

    Raises:
        CasesFailedError: When all others are done, if some could not be predicted.
    """
    work = Work(model, statistics, options, outputs, watch or Stopwatch(), tell)
    due = work.refuse_others([job for job in jobs if not work.is_done(job)])
    after = dict(zip([job.name for job in due], due[1:], strict=False))
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        for job, reading in track(work.ahead(due, reader), "Predicting", len(due)):
            if tell is not None and model.plan.device == "cpu" and reading.exception() is None:
                following = [after[job.name]] if job.name in after else []
                with suppress(TooLittleMemoryError):  # which predicting it says
                    gib = model.memory_gib(reading.result()[0], options, _reading_bytes(following))
                    tell(f"{job.name}: at most about {gib:.1f} GiB of memory")
            work.do(job, reading, writer)
        work.settle(leave=0)
    statistics.sort()
    if work.failed:
        raise CasesFailedError("predict", work.failed, done=len(jobs) - len(work.failed))
    return len(due)


class Work:
    """Predicts one job after another; each is written while the next is predicted."""

    def __init__(
        self,
        model: Model,
        statistics: Statistics,
        options: InferenceOptions,
        outputs: Outputs,
        watch: Stopwatch,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.statistics, self.options, self.outputs, self.watch = model, statistics, options, outputs, watch
        self.tell = tell
        self.failed: dict[str, str] = {}
        self._writing: deque[tuple[Input, Future[None]]] = deque()

    def is_done(self, job: Input) -> bool:
        """Return whether the mask exists, made by this model from these files in this way."""
        return self.statistics.knows(job.name) and self.statistics.has(
            job.name, self._origin(job).key, self._files(job)
        )

    def refuse_others(self, jobs: Sequence[Input]) -> list[Input]:
        """Return the jobs whose mask would not replace that of another image; the others have failed."""
        for job in (job for job in jobs if self.statistics.knows(job.name)):
            try:
                self.statistics.require_same_image(job.name, job.out, self._origin(job))
            except AutosegError as error:
                self.failed[job.name] = str(error)
        return [job for job in jobs if job.name not in self.failed]

    def ahead(self, jobs: Sequence[Input], pool: ThreadPoolExecutor) -> Iterator[tuple[Input, Reading]]:
        """Yield each job with its image, while the next one is being read and prepared."""
        reading: Reading | None = None
        for job, after in zip(jobs, [*jobs[1:], None], strict=False):
            now = reading or self._begun(job, pool)
            now.exception()  # wait: the next one is read only when this one is
            reading = self._begun(after, pool) if after else None
            yield job, now

    def _begun(self, job: Input, pool: ThreadPoolExecutor) -> Reading:
        return pool.submit(read_input, self.model, job, self.outputs, self.watch)

    def do(self, job: Input, reading: Reading, writer: ThreadPoolExecutor) -> None:
        """Predict a job and have it written."""
        try:
            prepared, image = reading.result()
            with raise_as_job_error():
                prediction = self.model.segment(prepared, self.options, self.watch)
        except AutosegError as error:
            self.failed[job.name] = str(error)
            return
        if self.tell is not None:
            for note in prediction.notes:
                self.tell(f"{job.name}: {note}")
        self._writing.append((job, writer.submit(self._write, job, image, prediction)))
        self.settle(leave=1)

    def _write(self, job: Input, image: Volume | None, prediction: Prediction[Volume]) -> None:
        """Write the files of a job, then its rows; meanwhile others write the files of other images."""
        origin = self._origin(job)
        with raise_as_job_error(job.out), self.statistics.alone(job.name), self.watch.phase("write"):
            with self.statistics.locked():
                self.statistics.require_same_image(job.name, job.out, origin)
                self.statistics.forget(job.name)  # or they would stay where writing fails halfway
            write_outputs(job, self.model.plan, image, prediction, self.outputs)
            with self.statistics.locked():
                self.statistics.forget(job.name)
                self.statistics.add(job.name, origin, self._files(job), prediction)

    def note(self, job: Input, prediction: Prediction[None], written: str) -> None:
        """Write the rows of a job whose files a worker has written, if they are still those: a digest of them says."""
        origin = self._origin(job)
        try:
            with raise_as_job_error(job.out), self.statistics.locked():
                self.statistics.require_same_image(job.name, job.out, origin)
                if stored_digest(self._files(job)) != written:
                    raise VolumeError(
                        f"{job.out}: was replaced or removed by another process meanwhile; where several write, give "
                        "each an OUT of its own, else run the same command again"
                    )
                self.statistics.forget(job.name)
                self.statistics.add(job.name, origin, self._files(job), prediction)
        except AutosegError as error:
            self.failed[job.name] = str(error)

    def settle(self, leave: int) -> None:
        """Wait until at most `leave` jobs are still being written."""
        while len(self._writing) > leave:
            job, written = self._writing.popleft()
            try:
                written.result()
            except AutosegError as error:
                self.failed[job.name] = str(error)

    def _origin(self, job: Input) -> Origin:
        """Return what changes when the job would give other files: model, ways, or the image's own files."""
        code = PREVIEW_CODE if self.outputs.preview else MASK_CODE
        how = (self.options, self.outputs, job.series, code_digest(*code))
        files = stored_digest(job.images)
        places = [str(file.resolve()) for file in job.images]
        return Origin(
            key=digest(self.model.digest, how, files)[:16],
            image=digest(files, job.series)[:16],
            place=digest(places, job.series)[:16],
        )

    def _files(self, job: Input) -> tuple[Path, ...]:
        return output_files(job, self.model.plan, self.outputs, self.options.probabilities)


def read_input(model: Model, job: Input, outputs: Outputs, watch: Stopwatch) -> tuple[PreparedImage, Volume | None]:
    """Return the prepared image of a job, and the image itself where a preview is drawn from it.

    Raises:
        AutosegError: If it cannot be read or used.
    """
    with raise_as_job_error():
        with watch.phase("read"):
            image = read_image(job.images, job.series)
        for remark in image.remarks:
            logger.warning("%s: %s", job.name, remark.found)
        if 1 in image.stored.shape and min(model.plan.crop_size) > 1:
            logger.warning("%s: is a single slice, and the model has learnt from volumes", job.images[0])
        return model.prepare(image, watch), image if outputs.preview else None


@contextmanager
def raise_as_job_error(written: Path | None = None, *, done: str = "predicted") -> Iterator[None]:
    """Turn what the system refuses into an error of the one job.

    Args:
        written: What to name where the system names no file, as on a full disk.
        done: What is done to it, for messages.

    Raises:
        TooLittleMemoryError: If the memory is full.
        VolumeError: If a file cannot be read or written.
    """
    try:
        yield
    except MemoryError as error:
        raise TooLittleMemoryError("there is too little memory for it; close other programs") from error
    except (ValueError, ArithmeticError) as error:  # a file that no check foresees must not stop the others
        logger.debug("a job failed", exc_info=True)  # what no check foresees may be a mistake of ours
        raise VolumeError(f"cannot be {done} ({shortened(error, 200)}); look whether its files are sound") from error
    except OSError as error:
        raise VolumeError(
            f"{error.filename or written or 'a file'}: {error.strerror or error}; check path and disk space"
        ) from error


def _reading_bytes(jobs: Sequence[Input]) -> float:
    """Return what reading the images of jobs takes; what has no header takes nothing."""
    total = 0.0
    for job in jobs:
        with suppress(AutosegError):
            total += reading_bytes(sum(read_header(file, job.series).image_bytes for file in job.images))
    return total
