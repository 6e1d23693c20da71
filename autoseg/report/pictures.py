"""The pictures of a report: choose the views, draw those that are out of date, and add the charts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from autoseg.dataset.load import Case
from autoseg.dataset.origin import dataset_of
from autoseg.dataset.split import TESTING, TRAINING
from autoseg.errors import AutosegError
from autoseg.evaluation.cases import chosen_cases, own_folds
from autoseg.evaluation.freshness import read_looks
from autoseg.evaluation.statistics import by_case, dice_by_organ
from autoseg.figures.canvas import Undrawn, try_to_draw
from autoseg.figures.windows import CT_WINDOW_HU
from autoseg.imaging.grid import Box
from autoseg.imaging.volumes import read_grid
from autoseg.inference.outputs.legend import file_names
from autoseg.machine import free_memory_gib
from autoseg.plan import Plan
from autoseg.pool import Crew, Track, each
from autoseg.report.case_pictures import CaseWork, Drawings, Sources, View, draw_case
from autoseg.report.charts import (
    agreement_picture,
    boxes_picture,
    ceilings_picture,
    curves_picture,
    splits_name,
    trust_picture,
)
from autoseg.report.page import Picture, Pictures
from autoseg.run import Run

logger = logging.getLogger(__name__)
MOST_ORGANS = 8  # with pictures in the page, those of the lowest Dice
MANY_ORGANS = 20  # of which only those in the page are drawn; of fewer, all are written as files
MOST_CASES = 60  # with a picture in the page, some 100 kB each
_USUAL = "The slices in which it is largest."
_WORST = "The slices with most of its wrong voxels."
_ERRORS = "Its wrong voxels in the same slices; the thin lines are the reference of all organs."
PART = 4  # pictures of a case that one task draws
VOXEL_BYTES = 24  # of a case while it is drawn: image, two label maps, copies


@dataclass(frozen=True, kw_only=True)
class DrawnPictures:
    """The pictures of a report, and the cases that could not be drawn."""

    pictures: Pictures
    failed: dict[str, str]  # case to cause
    notes: tuple[str, ...]  # sentences about charts and all cases


def draw_pictures(run: Run, plan: Plan, scores: pd.DataFrame, crew: int | Crew, track: Track) -> DrawnPictures:
    """Draw all pictures that a run's scores, log and masks allow, and write their files into RUN/report."""
    splits = TESTING if scores["split"].isin(TESTING).any() else TRAINING
    looks = _looks(run, plan, scores)
    small, large = (
        [_framed(view, plan, looks) for view in views]
        for views in (_small_views(run, scores), _views(run, plan, scores, splits))
    )
    work, notes = _work_of(run, plan, scores, [*small, *large])
    drawings = Drawings(run.report)
    failed = _draw_all(work, drawings, crew, track)
    drawn_small, drawn_large = (
        [view for view in views if work[view.case].has_drawn(view, drawings)] for views in (small, large)
    )
    window = _window_text(plan)
    embedded = [(view, _embedded(view.embedded, view.caption)) for view in drawn_large]
    charts, undrawn = _charts(
        {
            run.report.curves.name: partial(curves_picture, run, plan),
            run.report.dice.name: partial(boxes_picture, run, scores),
            run.report.ceilings.name: partial(ceilings_picture, run, plan, scores, splits),
            run.report.volumes.name: partial(agreement_picture, run, plan, scores, splits),
            run.report.trust.name: partial(trust_picture, run, plan, scores),
        }
    )
    pictures = Pictures(
        curves=charts[run.report.curves.name],
        boxes=charts[run.report.dice.name],
        ceilings=charts[run.report.ceilings.name],
        agreement=charts[run.report.volumes.name],
        trust=charts[run.report.trust.name],
        surfaces=tuple(picture for view, picture in embedded if view.kind == "surfaces"),
        organs=_by_organ(plan, scores, splits, embedded),
        cases={
            view.case: replace(_embedded(view.embedded, view.caption + window), is_strip=True) for view in drawn_small
        },
    )
    return DrawnPictures(pictures=pictures, failed=failed, notes=(*notes, *undrawn))


def _draw_all(work: Mapping[str, CaseWork], drawings: Drawings, crew: int | Crew, track: Track) -> dict[str, str]:
    """Draw the pictures that are missing or out of date; return failed case to cause."""
    undrawn = {name: one.without_drawn(drawings) for name, one in work.items()}
    drawings.keep_only(_files(work) - _files(undrawn))
    stale = _parts(one for one in undrawn.values() if one.case is not None)
    if isinstance(crew, int):
        crew = max(1, min(crew, int(0.5 * free_memory_gib() * 2**30 / (VOXEL_BYTES * _most_voxels(stale.values())))))
    sources = {name: [(view, one.sources(view)) for view in one.views] for name, one in stale.items()}
    failed: dict[str, str] = {}
    drawn: list[tuple[View, Sources]] = []
    try:
        for name, result in track(each(draw_case, stale, crew), "Drawing the cases", len(stale)):
            if isinstance(result, AutosegError):
                failed[stale[name].views[0].case] = str(result)
                continue
            for file, undrawn_picture in result.items():
                failed[stale[name].views[0].case] = _cause(file.relative_to(drawings.folder), undrawn_picture)
            drawn += [
                source for view, source in zip(stale[name].views, sources[name], strict=True) if view.file not in result
            ]
    finally:
        if stale:
            drawings.remember(drawn)
    return failed


def _charts(charts: Mapping[str, Callable[[], Picture | None]]) -> tuple[dict[str, Picture | None], tuple[str, ...]]:
    """Return the charts by name, and a sentence on each that could not be drawn."""
    drawn = {name: try_to_draw(draw) for name, draw in charts.items()}
    pictures = {name: None if isinstance(result, Undrawn) else result for name, result in drawn.items()}
    failed = {name: result for name, result in drawn.items() if isinstance(result, Undrawn)}
    return pictures, tuple(f"A chart is not drawn: {_cause(Path(name), result)}." for name, result in failed.items())


def _cause(picture: Path, undrawn: Undrawn) -> str:
    """Return why a picture could not be drawn, and log the traceback."""
    logger.info("%s cannot be drawn\n%s", picture.as_posix(), undrawn.traceback)
    return f"{picture.as_posix()} cannot be drawn ({undrawn.cause}); log.txt has the traceback, please report it"


def _parts(work: Iterable[CaseWork]) -> dict[str, CaseWork]:
    """Return the work in parts of a few pictures each: one testing case may have dozens, for one process."""
    parts = [replace(one, views=one.views[n : n + PART]) for one in work for n in range(0, len(one.views), PART)]
    return {str(number): part for number, part in enumerate(parts)}


def _files(work: Mapping[str, CaseWork]) -> set[Path]:
    """Return the pictures of some work, without suffix."""
    return {view.file for one in work.values() for view in one.views}


def _window_text(plan: Plan) -> str:
    low, high = CT_WINDOW_HU
    if plan.intensity[0].kind == "ct":
        return f" Window {high - low:g} HU, level {(low + high) / 2:g} HU."
    return " Grey from the 1st to the 99.5th percentile of the image."


def _most_voxels(work: Iterable[CaseWork]) -> int:
    """Return the voxels of the largest mask, from the headers; at least 1."""
    most = 1
    for one in work:
        with suppress(AutosegError):
            most = max(most, math.prod(read_grid(one.mask).shape))
    return most


def _work_of(
    run: Run, plan: Plan, scores: pd.DataFrame, views: Sequence[View]
) -> tuple[dict[str, CaseWork], tuple[str, ...]]:
    """Return the work of every scored case, and a sentence if the images are not found."""
    if scores.empty:
        return {}, ()
    cases, notes = dict[str, Case](), tuple[str, ...]()
    try:
        cases = {case.id: case for case in dataset_of(run).cases}
    except AutosegError as error:
        notes = (f"No case is drawn anew, as the images cannot be found: {error}",)
    by_case: dict[str, list[View]] = {}
    for view in views:
        by_case.setdefault(view.case, []).append(view)
    work = {
        str(name): CaseWork(
            case=cases.get(str(name)),
            mask=run.fold(int(fold)).prediction(str(name)),
            plan=plan,
            views=tuple(by_case.get(str(name), ())),
        )
        for name, _, fold in own_folds(scores).itertuples(index=False)
    }
    return work, notes


def _looks(run: Run, plan: Plan, scores: pd.DataFrame) -> dict[str, tuple[Box, ...]]:
    """Return the boxes that a second stage has looked into in each case; no case where there is one stage."""
    boxes: dict[str, tuple[Box, ...]] = {}
    if plan.finer is None or scores.empty:
        return boxes
    by_fold = {fold: read_looks(run.fold(fold).evaluated) for fold in run.folds()}
    for name, _, fold in own_folds(scores).itertuples(index=False):
        look = by_fold.get(int(fold), {}).get(str(name))
        if look is not None and look.boxes:
            sides = [[slice(first, behind) for first, behind in box] for box in look.boxes]
            boxes[str(name)] = tuple((z, y, x) for z, y, x in sides)
    return boxes


def _framed(view: View, plan: Plan, looks: Mapping[str, tuple[Box, ...]]) -> View:
    """Return a view of outlines with the second stage's boxes, where that looked at what it shows."""
    again = () if plan.finer is None else plan.finer.labels
    looked = looks.get(view.case, ())
    if not looked or view.kind not in ("case", "overlay") or (view.organ is not None and view.organ not in again):
        return view
    frames = "box" if len(looked) == 1 else "boxes"
    return replace(view, looked=looked, caption=f"{view.caption} The thin yellow {frames}: what the second stage saw.")


def _small_views(run: Run, scores: pd.DataFrame) -> list[View]:
    """Return the small pictures for the list of cases: of every scored case, or of a choice of very many."""
    names = [str(name) for name in scores["case"].drop_duplicates()]
    if len(names) > MOST_CASES:
        names = _sample(names, scores)
    caption = "reference solid, prediction dashed; the slices in which the organs are largest."
    return [View(kind="case", case=n, file=run.report.cases / n, caption=f"{n}: {caption}") for n in names]


def _sample(names: Sequence[str], scores: pd.DataFrame) -> list[str]:
    """Return `MOST_CASES` cases, testing ones first: half of them the worst, a sixth the best, others by chance."""
    dice = scores[(scores["metric"] == "dice") & (scores["grid"] == "original")]
    mean = dice.groupby(dice["case"].astype(str))["value"].mean()
    tested = set(scores.loc[scores["split"].isin(TESTING), "case"].astype(str))
    ranked = sorted(names, key=lambda name: (name not in tested, mean.get(name, 0.0), name))
    count = min(len(tested), len(ranked)) or len(ranked)
    worst, best = ranked[: MOST_CASES // 2], ranked[:count][-MOST_CASES // 6 :]
    others = [name for name in ranked if name not in {*worst, *best}]
    by_chance = np.random.default_rng(0).permutation(len(others))[: MOST_CASES - len({*worst, *best})]
    chosen = {*worst, *best, *(others[n] for n in by_chance)}
    return [name for name in names if name in chosen]


def _views(run: Run, plan: Plan, scores: pd.DataFrame, splits: tuple[str, ...]) -> list[View]:
    """Return the large pictures: surfaces of the worst, median and best case, and of each organ its own three."""
    of = splits_name(splits)
    dice = by_case(scores, "dice", splits)
    means = pd.DataFrame(dice).mean(axis=1).dropna() if dice else pd.Series(dtype=float)
    views = []
    in_3d = means if plan.flat is None else means[:0]  # of slices that are seen one by one there is no surface
    for which, case in chosen_cases([(str(c), float(v)) for c, v in in_3d.items()]).items():
        caption = (
            f"{which} {of} case, {case}: mean Dice {100 * means[case]:.1f} %. Seen from the front, smoothed."
            + _unlabelled(plan, dice, case)
        )
        file = run.report.surfaces / which.lower()
        views.append(View(kind="surfaces", case=case, file=file, caption=caption))
    lowest = _lowest_organs(scores, splits)
    for label, file_name in zip(plan.labels, file_names(plan.labels), strict=True):
        if len(plan.labels) > MANY_ORGANS and label.name not in lowest:
            continue
        values = dice[label.value].dropna()
        for which, case in chosen_cases([(str(c), float(v)) for c, v in values.items()]).items():
            about = f"{label.name}, {which.lower()} {of} case, {case}: Dice {100 * values[case]:.1f} %."
            file = run.report.organs / f"{file_name}_{which.lower()}"
            at_errors = which in ("Worst", "Only")
            where = _WORST if at_errors else _USUAL
            overlay = View(
                kind="overlay", case=case, file=file, caption=f"{about} {where}", organ=label, at_errors=at_errors
            )
            views.append(overlay)
            if at_errors:
                errors = file.with_name(f"{file.name}_errors")
                views.append(View(kind="errors", case=case, file=errors, caption=f"{about} {_ERRORS}", organ=label))
    return views


def _unlabelled(plan: Plan, dice: Mapping[int, pd.Series[float]], case: str) -> str:
    names = [o.name for o in plan.labels if case not in dice[o.value].index]
    return f" Not labelled in this case: {', '.join(names)}." if names else ""


def _embedded(file: Path, caption: str) -> Picture:
    return Picture(data=file.read_bytes(), media_type="image/webp", caption=caption, alt=caption)


def _lowest_organs(scores: pd.DataFrame, splits: tuple[str, ...]) -> set[str]:
    """Return at most `MOST_ORGANS` organs, those of the lowest mean Dice."""
    means = {name: float(np.mean(values)) for name, values in dice_by_organ(scores, splits).items() if values}
    return set(sorted(means, key=lambda name: means[name])[:MOST_ORGANS])


def _by_organ(
    plan: Plan, scores: pd.DataFrame, splits: tuple[str, ...], embedded: Sequence[tuple[View, Picture]]
) -> dict[str, tuple[Picture, ...]]:
    """Return the pictures of at most `MOST_ORGANS` organs, those of the lowest mean Dice where there are more."""
    lowest = _lowest_organs(scores, splits)
    pictures_by_organ = {}
    for organ in plan.labels:
        pictures = [picture for view, picture in embedded if view.organ is not None and view.organ.name == organ.name]
        if pictures and organ.name in lowest:
            pictures_by_organ[organ.name] = tuple(pictures)
    return pictures_by_organ
