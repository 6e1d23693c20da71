"""Predict images where workers are: each opens the model once, and writes masks; the table is written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autoseg.errors import AutosegError, CasesFailedError, ModelError
from autoseg.imaging.stored import stored_digest
from autoseg.inference.cost import Stopwatch
from autoseg.inference.inputs import Input
from autoseg.inference.model import Model, Prediction
from autoseg.inference.opening import open_model
from autoseg.inference.outputs.write import Outputs, output_files, write_outputs
from autoseg.inference.predict import Work, raise_as_job_error, read_input
from autoseg.inference.stage import InferenceOptions
from autoseg.inference.statistics import Statistics
from autoseg.machine import peak_memory_gib
from autoseg.network.device import pick_device
from autoseg.pool import Crew, Track, each, untracked


@dataclass(frozen=True, kw_only=True)
class ModelOnDevice:
    """A model as a worker opens it."""

    path: Path  # a model file or a RUN
    device: str  # as --device has it
    digest: str  # of the model as it is meant: a worker may see an older file


Task = tuple[ModelOnDevice, Input, InferenceOptions, Outputs]


def predict_elsewhere(
    crew: Crew,
    path: Path,
    model: Model,
    jobs: Sequence[Input],
    statistics: Statistics,
    options: InferenceOptions,
    outputs: Outputs,
    track: Track = untracked,
    watch: Stopwatch | None = None,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Have every job predicted that is not done already, as `predict` does; return how many were.

    Args:
        crew: Who predicts, on the device that it names; on the model's where it names none.
        path: Of the model.
        model: What was read from there.
        jobs: As of `predict`; and so on.
        statistics: As of `predict`.
        options: As of `predict`.
        outputs: As of `predict`.
        track: Shows progress.
        watch: Gets the time of each phase, summed over the workers.
        tell: Gets lines on how a second stage has looked.

    Raises:
        CasesFailedError: When all others are done, if some could not be predicted.
    """
    watch = watch or Stopwatch()
    work = Work(model, statistics, options, outputs, watch)
    due = {job.name: job for job in work.refuse_others([job for job in jobs if not work.is_done(job)])}
    device = model.plan.device if crew.backend is None else crew.backend.device
    at = ModelOnDevice(path=path, device=device, digest=model.digest)
    tasks: dict[str, Task] = {name: (at, job, options, outputs) for name, job in due.items()}
    for name, result in track(each(_predict_here, tasks, crew), "Predicting", len(due)):
        if isinstance(result, AutosegError):
            work.failed[name] = str(result)
        else:
            prediction, its_watch, written = result
            watch.add(its_watch)
            work.note(due[name], prediction, written)
            if tell is not None:
                for line in prediction.notes:
                    tell(f"{name}: {line}")
    statistics.sort()
    if work.failed:
        raise CasesFailedError("predict", work.failed, done=len(jobs) - len(work.failed))
    return len(due)


def _predict_here(task: Task) -> tuple[Prediction[None], Stopwatch, str]:
    """Predict an image and write its files; return what the table says of it, what it took, and a digest of them."""
    at, job, options, outputs = task
    model, watch = _opened(at), Stopwatch()
    prepared, image = read_input(model, job, outputs, watch)
    with raise_as_job_error(job.out):
        prediction = model.segment(prepared, options, watch)
        with watch.phase("write"):
            write_outputs(job, model.plan, image, prediction, outputs)
            written = stored_digest(output_files(job, model.plan, outputs, options.probabilities))
    watch.workers_gib = peak_memory_gib()
    told = Prediction(mask=None, organs=prediction.organs, unlike=prediction.unlike, notes=prediction.notes)
    return told, watch, written


@lru_cache(maxsize=1)
def _opened(at: ModelOnDevice) -> Model:
    model = open_model(at.path, pick_device(at.device))
    if model.digest != at.digest:
        raise ModelError(f"{at.path}: a worker sees another model here; see that all machines share one disk")
    return model
