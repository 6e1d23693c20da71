"""view: a page that shows a case with its truth and prediction in a browser."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.dataset.load import Case, Dataset
from autoseg.dataset.origin import dataset_of
from autoseg.dataset.split_file import load_splits
from autoseg.errors import AutosegError, DatasetError, RunError
from autoseg.figures.planes import window_of
from autoseg.figures.windows import CT_WINDOW_HU
from autoseg.files import write_text
from autoseg.imaging.grid import Grid, Voxels, corner_distance_mm, lie_together
from autoseg.imaging.volumes import read_image, read_label
from autoseg.labels import IGNORED, Atoms, LabelScheme
from autoseg.metrics.overlap import dice
from autoseg.plan import Plan
from autoseg.pool import Track, untracked
from autoseg.report.view_volumes import (
    Image,
    as_int16,
    factors_of,
    nifti_bytes,
    reduced_atoms,
    reduced_grid,
    reduced_image,
)
from autoseg.report.viewer import Organ, ViewContent, Window, view_page
from autoseg.run import Run
from autoseg.words import counted

logger = logging.getLogger(__name__)
CT_WINDOWS = (
    Window(name="Soft tissue", low=CT_WINDOW_HU[0], high=CT_WINDOW_HU[1]),
    Window(name="Lung", low=-1350.0, high=150.0),
    Window(name="Bone", low=-500.0, high=1300.0),
)
_PARTS = {
    "testing": "the network has not seen it",
    "validation": "the network did not learn from it, but was chosen by it",
    "training": "the network learnt from it",
}


@dataclass(frozen=True)
class _Prediction:
    """The prediction of a case: its file, its fold, and the side of that fold's split that holds the case."""

    file: Path
    fold: int
    part: str | None  # of the split; None: the case is in no part


def write_view(run: Run, case: str, out: Path | None = None) -> Path:
    """Write a page that shows a case, with truth and prediction, in any browser and without a network.

    It is linked to the pages of the predicted cases before and after it that are in the same folder.

    Args:
        run: The run.
        case: Case id.
        out: HTML file, or a folder for CASE.html; None: RUN/report/view.

    Returns:
        The page.

    Raises:
        RunError: If the folder is not a RUN.
        DatasetError: If the dataset is gone or has no such case.
        VolumeError: If the image cannot be read.
        OSError: If the disk is full.
    """
    dataset = dataset_of(run)
    shown_case = _case_of(dataset, case)
    folder = run.report.views if out is None else out
    is_file = folder.suffix.lower() in (".html", ".htm") and not folder.is_dir()
    file = folder if is_file else folder / f"{shown_case.id}.html"
    neighbours = _neighbours(predicted_cases(run, dataset), case)
    links = [one if one and (file.parent / f"{one}.html").is_file() else None for one in neighbours]
    write_text(file, view_page(_content(run, run.plan(), shown_case), *links))
    return file


def write_views(run: Run, out: Path | None = None, track: Track = untracked) -> tuple[Path, dict[str, str]]:
    """Write the pages of all cases that have a prediction, each linked to the one before and after it.

    Args:
        run: The run.
        out: Folder; None: RUN/report/view.
        track: Shows progress.

    Returns:
        The first page, and case to cause for those whose page could not be written.

    Raises:
        RunError: If the folder is not a RUN, or no case has a prediction.
        DatasetError: If the dataset is gone.
        OSError: If the disk is full.
    """
    plan, dataset = run.plan(), dataset_of(run)
    folder, names = run.report.views if out is None else out, predicted_cases(run, dataset)
    if not names:
        raise RunError(f"{run.folder}: no case has a prediction; run `autoseg evaluate {run.folder}` first")
    failed = {}
    for name in track(names, "Writing the pages", len(names)):
        try:
            page = view_page(_content(run, plan, _case_of(dataset, name)), *_neighbours(names, name))
        except AutosegError as error:
            failed[name] = str(error)
        else:
            write_text(folder / f"{name}.html", page)
    return folder / f"{names[0]}.html", failed


def predicted_cases(run: Run, dataset: Dataset) -> list[str]:
    """Return the cases of the dataset that a fold has predicted, in the dataset's order."""
    folders = run.fold_folders().values()
    return [case.id for case in dataset.cases if any(fold.prediction(case.id).is_file() for fold in folders)]


def _neighbours(names: Sequence[str], name: str) -> tuple[str | None, str | None]:
    """Return what stands before and after a name.

    >>> _neighbours(["a", "b"], "b"), _neighbours(["a", "b"], "c")
    (('a', None), (None, None))
    """
    if name not in names:
        return None, None
    place = names.index(name)
    return names[place - 1] if place else None, names[place + 1] if place + 1 < len(names) else None


def _case_of(dataset: Dataset, case: str) -> Case:
    """Return the case of an id; such ids can be file names.

    Raises:
        DatasetError: If there is none.
    """
    cases = {one.id: one for one in dataset.cases}
    if case not in cases:
        near = difflib.get_close_matches(case, cases, n=3) or list(cases)[:3]
        raise DatasetError(
            f"{dataset.root}: has no case {case!r} among its {len(cases)}; give one as in {', '.join(near)}"
        )
    return cases[case]


def _content(run: Run, plan: Plan, case: Case) -> ViewContent:
    volume = read_image(case.images)
    image, whole = volume.array[0], volume.grid
    shape = whole.shape
    prediction = _prediction_of(run, case.id)
    truth_map, notes = _map_of("truth", case.label_files, whole, plan.scheme, "`autoseg check` looks at all label maps")
    prediction_map, problems = _prediction_map(run, case.id, prediction, whole, plan.scheme)
    factors = factors_of(volume.grid)
    stored, slope, intercept = as_int16(reduced_image(image, factors), plan.intensity[0].kind == "ct")
    grid = reduced_grid(volume.grid, factors)
    return ViewContent(
        title=plan.name,
        case=case.id,
        notes=(
            *_notes(plan, shape, factors, prediction),
            *_unlabelled(plan, case),
            *_unannotated(truth_map),
            *notes,
            *problems,
        ),
        image=nifti_bytes(stored, grid),
        slope=slope,
        intercept=intercept,
        unit="HU" if plan.intensity[0].kind == "ct" else "",
        windows=CT_WINDOWS if plan.intensity[0].kind == "ct" else _windows(image),
        truth=None if truth_map is None else nifti_bytes(reduced_atoms(_places(plan.scheme)[truth_map], factors), grid),
        prediction=None
        if prediction_map is None
        else nifti_bytes(reduced_atoms(_places(plan.scheme)[prediction_map], factors), grid),
        organs=_organs(plan.scheme, truth_map, prediction_map, volume.grid.voxel_ml, case),
        slice_plane=shape.index(1) if 1 in shape else None,
    )


def _prediction_of(run: Run, case: str) -> _Prediction | None:
    """Return the prediction of the fold that tests the case, else validates it, else has one."""
    try:
        splits = load_splits(run.split_file, None)
    except AutosegError:  # no split, or a damaged one: a prediction may be there all the same
        splits = ()
    side_in_fold = {fold: split.side_of(case) for fold, split in enumerate(splits)}
    predictions = []
    for number, fold in run.fold_folders().items():
        if fold.prediction(case).is_file():
            predictions.append(_Prediction(fold.prediction(case), number, side_in_fold.get(number)))
    order = [*_PARTS, None]
    return min(predictions, key=lambda one: (order.index(one.part), one.fold), default=None)


def _notes(plan: Plan, shape: Voxels, factors: Voxels, prediction: _Prediction | None) -> list[str]:
    """Return what a reader must know about the page, a sentence each."""
    notes = []
    if prediction is None:
        notes.append("There is no prediction of this case: autoseg evaluate makes one.")
    elif prediction.part is None:
        notes.append(f"The prediction is of fold {prediction.fold}, whose split does not name this case.")
    else:
        notes.append(f"A {prediction.part} case of fold {prediction.fold}: {_PARTS[prediction.part]}.")
    if len(plan.channels) > 1:
        notes.append(f"The image is channel 1 of {len(plan.channels)}, {plan.channels[0]}.")
    if max(factors) > 1:
        size, by = (" × ".join(str(n) for n in reversed(numbers)) for numbers in (shape, factors))
        notes.append(
            f"The case has {size} voxels (x, y, z); shown it is reduced by {by}. The numbers are of the whole."
        )
    return notes


def _prediction_map(
    run: Run, case: str, prediction: _Prediction | None, whole: Grid, scheme: LabelScheme
) -> tuple[Atoms | None, list[str]]:
    """Return the prediction as `_map_of` does; warn where there is none."""
    if prediction is None:
        logger.warning("there is no prediction of %s to show; `autoseg evaluate %s` makes one", case, run.folder)
        return None, []
    way_out = f"`autoseg evaluate {run.folder}` makes a new one"
    return _map_of("prediction", prediction.file, whole, scheme, way_out)


def _map_of(
    what: str, files: Path | Sequence[Path], whole: Grid, scheme: LabelScheme, way_out: str
) -> tuple[Atoms | None, list[str]]:
    """Return the atoms of a label map, None where it cannot be shown, and sentences on what is amiss."""
    try:
        label = read_label(files, whole, scheme)
    except AutosegError as error:  # the rest of the case is worth a look
        return None, _not_shown(what, f"{error}; {way_out}")
    if label.grid.shape != whole.shape:
        found = f"it has {label.grid.shape} voxels (z, y, x), the image {whole.shape}"
        return None, _not_shown(what, f"{found}; {way_out}")
    if not lie_together(label.grid, whole):
        apart = corner_distance_mm(label.grid, whole)
        return None, _not_shown(what, f"it lies {apart:.1f} mm off the image; {way_out}")
    atoms = scheme.encode_known(label.array)
    strange = int(np.count_nonzero(label.array) - np.count_nonzero(atoms))
    sentence = f"Not shown: {counted(strange, 'voxel')} of the {what} with values that are no organ's."
    return atoms, [sentence] if strange else []


def _not_shown(what: str, why: str) -> list[str]:
    """Warn that a label map is missing on the page, and return the sentence that the page says."""
    logger.warning("the %s is not shown: %s", what, why)
    return [f"The {what} is not shown: {why}."]


def _unlabelled(plan: Plan, case: Case) -> list[str]:
    scheme = plan.scheme
    names = [scheme.organs[index].name for index in scheme.hidden(case.shows)]
    return [f"Not labelled in this case: {', '.join(names)}."] if names else []


def _unannotated(truth: Atoms | None) -> list[str]:
    share = 1.0 if truth is None else float(np.mean(truth != IGNORED))
    return [] if share == 1.0 else [f"Annotated is {share:.1%} of the image; elsewhere no truth is shown or compared."]


def _places(scheme: LabelScheme) -> Atoms:
    """Return the place, from 1, of the organ that each atom is painted as, the last that holds it; else 0."""
    places = np.zeros(IGNORED + 1, dtype=np.uint8)
    for place, atoms in enumerate(scheme.atoms_of.values(), start=1):
        places[list(atoms)] = place
    return places


def _organs(
    scheme: LabelScheme, truth: Atoms | None, prediction: Atoms | None, voxel_ml: float, case: Case
) -> tuple[Organ, ...]:
    """Return volumes and Dice, from the maps at full size."""
    volumes_ml = [
        {} if atoms is None else {index: count * voxel_ml for index, count in scheme.voxels(atoms).items()}
        for atoms in (truth, prediction)
    ]
    dices = {} if truth is None or prediction is None else dice(prediction, truth, scheme.atoms_of, IGNORED)
    for index in scheme.hidden(case.shows):
        volumes_ml[0].pop(index, None)
        dices.pop(index, None)
    return tuple(
        Organ(
            name=organ.name,
            truth_ml=volumes_ml[0].get(index),
            prediction_ml=volumes_ml[1].get(index),
            dice=dices.get(index),
        )
        for index, organ in scheme.organs.items()
    )


def _windows(image: Image) -> tuple[Window, ...]:
    low, high = window_of(image)
    whole = Window(name="Full range", low=float(image.min()), high=float(image.max()))
    return Window(name="Automatic", low=low, high=high), whole
