"""The pictures of a report: figures of all scores, and every case drawn from its image, truth and prediction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from autoseg.errors import AutosegError
from autoseg.figures.agreement import agreement_figure
from autoseg.figures.boxes import boxes_figure
from autoseg.figures.canvas import figure_bytes, save_figure
from autoseg.figures.ceilings import ceilings_figure
from autoseg.figures.errors import errors_figure
from autoseg.figures.overlays import CT_WINDOW_HU, case_figure, overlay_figure
from autoseg.figures.surfaces import surfaces_figure
from autoseg.files import appearing
from autoseg.inference.outputs import file_names
from autoseg.pipeline.origin import dataset_of
from autoseg.plan import Label, Plan
from autoseg.planning.dataset import Case
from autoseg.results.cases import chosen_cases
from autoseg.results.report import Picture, Pictures
from autoseg.results.tables import by_case, dice_by_organ, organs_of
from autoseg.run import Run
from autoseg.training.curves import draw_curves
from autoseg.volumes import Volume, read_image, read_label
from autoseg.workers import Track, each, free_memory_gib

logger = logging.getLogger(__name__)
TRAINING, TESTING = ("training", "validation"), ("testing",)
MOST_ORGANS = 8  # with pictures in the page, those of the lowest Dice; all are written as files
VOXEL_BYTES = 24  # of a case while it is drawn: image, two label maps, copies


@dataclass(frozen=True, kw_only=True)
class _View:
    """One large picture of a case."""

    kind: str  # "overlay", "errors" or "surfaces"
    file: Path  # without suffix
    caption: str
    organ: Label | None = None


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What one process needs to draw a case."""

    case: Case
    mask: Path
    plan: Plan
    small: Path  # its picture in the list of cases
    views: list[_View] = field(default_factory=list)


def draw_pictures(run: Run, plan: Plan, scores: pd.DataFrame, jobs: int, track: Track) -> Pictures:
    """Draw everything that a run's scores, log and masks allow; write the figures into RUN/report, too."""
    work = _work_of(run, plan, scores)
    drawn: dict[str, Picture] = {}
    voxels = 512 * 512 * 400
    jobs = max(1, min(jobs, int(0.5 * free_memory_gib() * 2**30 / (VOXEL_BYTES * voxels))))
    for name, failure in track(each(_draw, work, jobs), "Drawing the cases", len(work)):
        if isinstance(failure, AutosegError):  # a report without a picture is better than none
            logger.warning("%s: not drawn: %s", name, failure)
            continue
        one = work[name]
        drawn[name] = _embedded(one.small, f"{name}: truth solid, prediction dashed.")
    views = [view for name in drawn for view in work[name].views]
    shown = {view.file: _embedded(view.file.with_suffix(".webp"), view.caption) for view in views}
    return Pictures(
        curves=_curves(run, plan),
        boxes=_boxes(run, scores),
        ceilings=_ceilings(run, scores),
        agreement=_agreement(run, scores),
        surfaces=tuple(shown[view.file] for view in views if view.kind == "surfaces"),
        organs=_by_organ(plan, scores, views, shown),
        cases=drawn,
    )


def _work_of(run: Run, plan: Plan, scores: pd.DataFrame) -> dict[str, _Work]:
    """Return what to draw of every scored case whose files are there."""
    try:
        cases = {case.id: case for case in dataset_of(run).cases}
    except AutosegError as error:
        logger.warning("no pictures of cases: %s", error)
        return {}
    ranked = scores.assign(seen=~scores["split"].isin(TESTING)).sort_values(["seen", "fold"], kind="stable")
    folds = ranked.drop_duplicates("case").set_index("case")["fold"]
    work = {
        str(name): _Work(
            case=cases[str(name)],
            mask=run.fold(int(fold)) / "predictions" / f"{name}.nii.gz",
            plan=plan,
            small=run.report / "cases" / f"{name}.webp",
        )
        for name, fold in sorted(folds.items())
        if str(name) in cases
    }
    for name, view in _views(run, plan, scores):
        if name in work:
            work[name].views.append(view)
    return work


def _views(run: Run, plan: Plan, scores: pd.DataFrame) -> list[tuple[str, _View]]:
    """Return the large pictures, by case: surfaces of the worst, median and best case, and of each organ its own."""
    splits, of = (TESTING, "testing") if scores["split"].isin(TESTING).any() else (TRAINING, "training")
    dice = by_case(scores, "dice", splits)
    means = pd.DataFrame(dice).mean(axis=1).dropna() if dice else pd.Series(dtype=float)
    found = []
    for which, case in chosen_cases([(str(c), float(v)) for c, v in means.items()]).items():
        caption = f"{which} {of} case, {case}: mean Dice {100 * means[case]:.1f} %. Seen from the front."
        file = run.report / "surfaces" / which.lower()
        found.append((case, _View(kind="surfaces", file=file, caption=caption)))
    for label, file_name in zip(plan.labels, file_names(plan.labels), strict=True):
        values = dice.get(label.value, pd.Series(dtype=float)).dropna()
        for which, case in chosen_cases([(str(c), float(v)) for c, v in values.items()]).items():
            about = f"{label.name}, {which.lower()} {of} case, {case}: Dice {100 * values[case]:.1f} %."
            file = run.report / "organs" / f"{file_name}_{which.lower()}"
            found.append((case, _View(kind="overlay", file=file, caption=about, organ=label)))
            if which in ("Worst", "Only"):
                errors = file.with_name(f"{file.name}_errors")
                found.append((case, _View(kind="errors", file=errors, caption=f"{about} Errors.", organ=label)))
    return found


def _draw(work: _Work) -> None:
    """Draw a case: its small picture where it is not newer than the mask, and its large ones."""
    stale = not work.small.is_file() or work.small.stat().st_mtime_ns < work.mask.stat().st_mtime_ns
    if not stale and not work.views:
        return
    image, truth, mask = read_image(work.case.images), read_label(work.case.label), read_label(work.mask)
    if not image.grid.shape == truth.grid.shape == mask.grid.shape:
        raise AutosegError(f"{work.case.id}: image, label and prediction differ in shape; run `autoseg evaluate` again")
    window = CT_WINDOW_HU if work.plan.intensity[0].kind == "ct" else None
    organs = {organ.value: organ.name for organ in work.plan.labels}
    if stale:
        figure = case_figure(image.array[0], truth.array, mask.array, image.grid.spacing_mm, organs, window)
        _save(figure_bytes(figure, "webp"), work.small)
    for view in work.views:
        _draw_view(view, image, truth, mask, organs, window)


def _draw_view(
    view: _View,
    image: Volume,
    truth: Volume,
    mask: Volume,
    organs: Mapping[int, str],
    window: tuple[float, float] | None,
) -> None:
    spacing_mm, focus = image.grid.spacing_mm, None if view.organ is None else view.organ.value
    if view.kind == "surfaces":
        figure = surfaces_figure(truth.array, mask.array, spacing_mm, organs)
    else:
        draw = overlay_figure if view.kind == "overlay" else errors_figure
        figure = draw(image.array[0], truth.array, mask.array, spacing_mm, organs, window, focus=focus)
    save_figure(figure, view.file, (".png", ".webp"))


def _save(data: bytes, file: Path) -> None:
    with appearing(file) as beside:
        beside.write_bytes(data)


def _embedded(file: Path, caption: str) -> Picture:
    return Picture(data=file.read_bytes(), media_type="image/webp", caption=caption, alt=caption)


def _by_organ(
    plan: Plan, scores: pd.DataFrame, views: Sequence[_View], shown: Mapping[Path, Picture]
) -> dict[str, tuple[Picture, ...]]:
    """Return the pictures of at most `MOST_ORGANS` organs, the lowest Dice first where there are more."""
    names = [organ.name for organ in plan.labels]
    if len(names) > MOST_ORGANS:
        means = {name: float(np.mean(v)) for name, v in dice_by_organ(scores, (*TESTING, *TRAINING)).items() if v}
        names = sorted(means, key=lambda name: means[name])[:MOST_ORGANS]
    order = {"worst": 0, "only": 0, "worst_errors": 1, "only_errors": 1, "median": 2, "best": 3}
    found = {}
    for name in names:
        own = [view for view in views if view.organ is not None and view.organ.name == name]
        own.sort(key=lambda view: next(n for end, n in order.items() if view.file.name.endswith(f"_{end}")))
        if own:
            found[name] = tuple(shown[view.file] for view in own)
    return found


def _curves(run: Run, plan: Plan) -> Picture | None:
    folds = sorted(run.folder.glob("fold-*/log.csv"))
    if not folds:
        return None
    organs = [organ.name for organ in plan.labels]
    written = draw_curves(folds[0].parent, organs, run.report / "curves", (".png", ".svg"))
    if not written:
        return None
    fold = f" Fold {folds[0].parent.name.removeprefix('fold-')}." if len(folds) > 1 else ""
    return Picture(
        data=written[1].read_bytes(),
        media_type="image/svg+xml",
        caption=(
            "Training loss, and Dice of each organ over the iterations, measured on a few cases predicted whole on the "
            f"working grid.{fold}"
        ),
        alt=f"Learning curves of {len(organs)} organs",
    )


def _boxes(run: Run, scores: pd.DataFrame) -> Picture | None:
    sets = {"training": dice_by_organ(scores, TRAINING), "testing": dice_by_organ(scores, TESTING)}
    sets = {name: organs for name, organs in sets.items() if any(organs.values())}
    if not sets:
        return None
    save_figure(boxes_figure(sets), run.report / "dice", (".png", ".svg"))
    return Picture(
        data=(run.report / "dice.svg").read_bytes(),
        media_type="image/svg+xml",
        caption="Dice of each organ; every point is a case, on the images' own grid.",
        alt="Dice of each organ in " + " and ".join(sets) + " cases",
    )


def _ceilings(run: Run, scores: pd.DataFrame) -> Picture | None:
    """Draw what was reached beside what the working grid allows; nothing where the grid is the images' own."""
    splits = TESTING if scores["split"].isin(TESTING).any() else TRAINING
    names = organs_of(scores)
    highest = {names[label]: float(values.mean()) for label, values in by_case(scores, "ceiling_dice", splits).items()}
    highest = {organ: value for organ, value in highest.items() if np.isfinite(value)}
    reached = {organ: values for organ, values in dice_by_organ(scores, splits).items() if values}
    if not highest or min(highest.values()) > 0.9995 or not reached:
        return None
    save_figure(ceilings_figure(reached, highest), run.report / "ceilings", (".png", ".svg"))
    return Picture(
        data=(run.report / "ceilings.svg").read_bytes(),
        media_type="image/svg+xml",
        caption=(
            "Dice reached beside the resolution ceiling: what the truth itself keeps after going to the working grid "
            "and back. No network can be above it by more than chance."
        ),
        alt="Dice reached beside the resolution ceiling of each organ",
    )


def _agreement(run: Run, scores: pd.DataFrame) -> Picture | None:
    splits = TESTING if scores["split"].isin(TESTING).any() else TRAINING
    true, found = by_case(scores, "truth_ml", splits), by_case(scores, "volume_ml", splits)
    dice = by_case(scores, "dice", splits)
    names = organs_of(scores)
    volumes = {}
    for label in sorted(true.keys() & found.keys() & dice.keys()):
        cases = dice[label].dropna().index  # not where the organ is in neither
        volumes[names[label]] = (list(true[label].reindex(cases)), list(found[label].reindex(cases)))
    if not any(len(pair[0]) for pair in volumes.values()):
        return None
    save_figure(agreement_figure(volumes), run.report / "volumes", (".png", ".svg"))
    return Picture(
        data=(run.report / "volumes.svg").read_bytes(),
        media_type="image/svg+xml",
        caption=(
            "Agreement of volumes (Bland and Altman 1986): difference of prediction and truth over their mean, with "
            "bias and 95 % limits of agreement."
        ),
        alt="Bland-Altman plots of the volume of each organ",
    )
