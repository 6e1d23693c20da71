"""predict: masks of whatever images the user has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autoseg.imaging.readers import strip_suffix
from autoseg.inference.cost import Stopwatch
from autoseg.inference.inputs import Input, folder_of, list_inputs
from autoseg.inference.model import Model
from autoseg.inference.opening import open_model
from autoseg.inference.outputs.legend import write_legends
from autoseg.inference.outputs.write import Outputs, require_outputs
from autoseg.inference.predict import predict as predict_inputs
from autoseg.inference.predict_elsewhere import predict_elsewhere
from autoseg.inference.stage import InferenceOptions
from autoseg.inference.statistics import NAME, Statistics, require_table
from autoseg.machine import peak_memory_gib
from autoseg.network.device import pick_device
from autoseg.options import PredictOptions
from autoseg.parts import share_of
from autoseg.pool import Track, untracked
from autoseg.steps.crew import cluster_of
from autoseg.words import counted

NAMED = 3  # cases in the line on those that the model has learnt from


@dataclass(frozen=True, kw_only=True)
class PredictedImages:
    """The number of masks that a prediction has written."""

    masks: int
    predicted_before: int  # masks of this model that were written earlier


def predict(
    model: Path,
    image: Path,
    out: Path,
    options: PredictOptions,
    say: Callable[[str], None],
    track: Track = untracked,
) -> PredictedImages:
    """Segment what an image file, a folder of images or a DICOM folder holds.

    Args:
        model: A model file or a RUN.
        image: What to segment.
        out: A file where it has an image suffix, else a folder.
        options: What the user asks.
        say: Gets the lines that the user should read whether or not all goes well, such as what to look at first.
        track: Shows progress.

    Raises:
        AutosegError: Before anything is predicted, if an option is not possible.
        CasesFailedError: When all others are done, if some images could not be predicted.
    """
    opened = open_model(model, pick_device(options.device if options.cluster is None else "cpu"))
    inputs = list_inputs(image, out, len(opened.plan.channels), options.series)
    way = InferenceOptions(mirrored=options.mirror, cleaned=options.cleanup, probabilities=options.probabilities)
    outputs = Outputs(
        per_organ=options.per_organ, preview=options.preview, dicom_seg=options.dicom_seg, rtstruct=options.rtstruct
    )
    _require_possible(opened, inputs, way, outputs, options.statistics)
    _warn_of_training_cases(opened, inputs, say)
    share = share_of(options.part, [one.name for one in inputs])
    masks_of_all = [one.out for one in inputs]
    inputs = tuple(one for one in inputs if one.name in share)
    folder = folder_of(out)
    statistics = Statistics(folder / NAME if folder else None, fresh=options.overwrite)
    watch = Stopwatch()
    say_each = say if options.verbose else None
    legend = partial(
        write_legends, folder or out.parent, opened.plan.labels, "" if folder else strip_suffix(out) or out.name
    )
    fresh = legend()
    try:
        with cluster_of(options.cluster, folder or out.parent, device=options.device) as crew:
            if crew is None:
                masks = predict_inputs(opened, inputs, statistics, way, outputs, track, watch, say_each)
            else:
                masks = predict_elsewhere(crew, model, opened, inputs, statistics, way, outputs, track, watch, say_each)
    finally:
        if any(mask.exists() for mask in masks_of_all):
            legend()  # another part may have taken it back
        else:
            for file in fresh:
                file.unlink(missing_ok=True)
        if options.statistics is not None:
            statistics.write(options.statistics)
        for line in _last_lines(watch, statistics, options.verbose):
            say(line)
    return PredictedImages(masks=masks, predicted_before=len(inputs) - masks)


def _require_possible(
    model: Model, inputs: Sequence[Input], way: InferenceOptions, outputs: Outputs, statistics: Path | None
) -> None:
    """Refuse what could not be done, before anything is predicted."""
    model.require_possible(way)
    if statistics is not None:
        require_table(statistics)
    require_outputs(outputs, inputs)


def _warn_of_training_cases(model: Model, inputs: Sequence[Input], say: Callable[[str], None]) -> None:
    """Say which images seem to be those that the model has learnt from."""
    learnt = sorted(model.trained_on & {one.name for one in inputs})
    if learnt:
        say(
            f"{len(learnt)} of {counted(len(inputs), 'image')} named like cases that the model has learnt from "
            f"({', '.join(learnt[:NAMED])}{', …' if len(learnt) > NAMED else ''}): if they are these, their masks say "
            "nothing of new ones"
        )


def _last_lines(watch: Stopwatch, statistics: Statistics, verbose: bool) -> Iterable[str]:
    """Yield the time of each phase and the memory where they are asked for, and which masks to look at first."""
    if verbose:
        yield ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in watch.seconds.items())
        if watch.by_stage:
            of_first, of_second = watch.by_stage
            yield f"first stage {of_first:.1f} s, second stage {of_second:.1f} s, each with its network and upsampling"
        own = f"memory: {peak_memory_gib():.1f} GiB at most"
        yield f"{own}, a worker {watch.workers_gib:.1f}" if watch.workers_gib else own
    for line in statistics.look_at_first():
        yield f"check this mask first: {line}"
