"""Predict images where workers are: each opens the model once, and writes masks; the table is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autoseg.errors import AutosegError, CasesFailedError, ModelError
from autoseg.inference.cost import Stopwatch
from autoseg.inference.inputs import Input
from autoseg.inference.model import Model, Prediction, open_model
from autoseg.inference.outputs.write import Outputs, write_outputs
from autoseg.inference.predict import Work, raise_as_job_error, read_input
from autoseg.inference.stage import InferenceOptions
from autoseg.inference.statistics import Statistics
from autoseg.network.device import DeviceName
from autoseg.pool import Crew, Track, each, untracked


@dataclass(frozen=True, kw_only=True)
class ModelOnDevice:
    """A model as a worker opens it."""

    path: Path  # a model file or a RUN
    device: DeviceName
    digest: str  # of the model as it is meant: a worker may see an older file


Task = tuple[ModelOnDevice, Input, InferenceOptions, Outputs]


def predict_elsewhere(
    crew: Crew,
    path: Path,
    device: DeviceName,
    model: Model,
    jobs: Sequence[Input],
    statistics: Statistics,
    options: InferenceOptions,
    outputs: Outputs,
    track: Track = untracked,
) -> int:
    """Have every job predicted that is not done already, as `predict` does; return how many were.

    Args:
        crew: Who predicts.
        path: Of the model.
        device: That it runs on.
        model: What was read from there.
        jobs: As of `predict`; and so on.
        statistics: As of `predict`.
        options: As of `predict`.
        outputs: As of `predict`.
        track: Shows progress.

    Raises:
        CasesFailedError: When all others are done, if some could not be predicted.
    """
    work = Work(model, statistics, options, outputs, Stopwatch())
    due = {job.name: job for job in work.refuse_others([job for job in jobs if not work.is_done(job)])}
    at = ModelOnDevice(path=path, device=device, digest=model.digest)
    tasks: dict[str, Task] = {name: (at, job, options, outputs) for name, job in due.items()}
    for name, result in track(each(_predict_here, tasks, crew), "Predicting", len(due)):
        if isinstance(result, AutosegError):
            work.failed[name] = str(result)
        else:
            work.note(due[name], result)
    statistics.sort()
    if work.failed:
        raise CasesFailedError("predict", work.failed, done=len(jobs) - len(work.failed))
    return len(due)


def _predict_here(task: Task) -> Prediction[None]:
    """Predict an image and write its files; return what the table says of it."""
    at, job, options, outputs = task
    model = _opened(at)
    prepared, image = read_input(model, job, outputs, Stopwatch())
    with raise_as_job_error():
        prediction = model.segment(prepared, options)
        write_outputs(job, model.plan, image, prediction, outputs)
    return Prediction(mask=None, organs=prediction.organs, unlike=prediction.unlike)


@lru_cache(maxsize=1)
def _opened(at: ModelOnDevice) -> Model:
    model = open_model(at.path, at.device)
    if model.digest != at.digest:
        raise ModelError(f"{at.path}: a worker sees another model here; see that all machines share one disk")
    return model
