"""report: tables, curves, pictures and report.html of a run, finished or not."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from autoseg.errors import AutosegError
from autoseg.figures.boxes import boxes_figure
from autoseg.figures.canvas import figure_bytes
from autoseg.figures.overlays import CT_WINDOW_HU, overlay_figure
from autoseg.files import write_text
from autoseg.inference.models import MODEL_NAME
from autoseg.pipeline.origin import dataset_of
from autoseg.pipeline.trained import splits_of
from autoseg.plan import Plan
from autoseg.planning.dataset import Case
from autoseg.results.report import Picture, ReportContent, render_report, summary_of
from autoseg.results.scores import COLUMNS, read_scores
from autoseg.results.tables import TABLES, by_case, dice_by_organ, dice_table, text_rows, write_tables
from autoseg.run import Run
from autoseg.training.curves import draw_curves
from autoseg.volumes import read_image, read_label

PACKAGES = ("autoseg", "torch", "batchgenerators", "SimpleITK", "numpy", "scikit-image", "pandas", "matplotlib")
TRAINING, TESTING = ("training", "validation"), ("testing",)


def write_report(run: Run) -> dict[str, pd.DataFrame]:
    """Write RUN/report from what is there; return the two tables as shown, by caption; none without scores.

    Raises:
        RunError: If the folder is not a RUN, or its scores cannot be read.
    """
    plan = run.plan()
    scores = read_scores(run.scores_file) if run.scores_file.is_file() else pd.DataFrame(columns=list(COLUMNS))
    if len(scores):
        write_tables(scores, run.report)
    content = ReportContent(
        title=plan.name,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        summary=summary_of(dice_table(scores, TRAINING), dice_table(scores, TESTING)),
        training=dice_table(scores, TRAINING),
        testing=dice_table(scores, TESTING),
        curves=_curves(run, plan),
        boxes=_boxes(scores),
        overlays=_overlays(run, plan, scores),
        plan_text=_read(run.folder / "plan.md"),
        check_rows=_check_rows(run),
        environment={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        command=" ".join(["autoseg", *sys.argv[1:]]),
    )
    write_text(run.report / "report.html", render_report(content))
    if not len(scores):
        return {}
    return {
        table.caption: pd.DataFrame(text_rows(frame), columns=list(frame.columns))
        for table, frame in zip(TABLES, (content.training, content.testing), strict=True)
    }


def is_evaluated(run: Run) -> bool:
    """Return whether every case of every trained fold is scored, after models, plan and split were written."""
    if not run.scores_file.is_file():
        return False
    sources = [run.plan_file, run.split_file, *(run.fold(fold) / MODEL_NAME for fold in run.folds())]
    newest = run.scores_file.stat().st_mtime_ns
    if any(file.stat().st_mtime_ns > newest for file in sources if file.is_file()):
        return False
    scores, splits = read_scores(run.scores_file), splits_of(run)
    scored = set(zip(scores["fold"], scores["case"], strict=True))
    wanted = {
        (fold, case)
        for fold in run.folds()
        if fold < len(splits)
        for part in (splits[fold].training, splits[fold].validation, splits[fold].testing)
        for case in part
    }
    return wanted <= scored


def _curves(run: Run, plan: Plan) -> Picture | None:
    folds = sorted(run.folder.glob("fold-*/log.csv"))
    if not folds:
        return None
    organs = [organ.name for organ in plan.labels]
    written = draw_curves(folds[0].parent, organs, run.report / "curves", (".png", ".svg"))
    if not written:
        return None
    return Picture(
        data=written[1].read_bytes(),
        media_type="image/svg+xml",
        caption=(
            "Training loss, and mean Dice of a few validation cases predicted whole on the working grid, "
            "over the iterations."
        ),
        alt=f"Learning curves of {len(organs)} organs",
    )


def _boxes(scores: pd.DataFrame) -> Picture | None:
    sets = {"training": dice_by_organ(scores, TRAINING), "testing": dice_by_organ(scores, TESTING)}
    sets = {name: organs for name, organs in sets.items() if any(organs.values())}
    if not sets:
        return None
    return Picture(
        data=figure_bytes(boxes_figure(sets), "svg"),
        media_type="image/svg+xml",
        caption="Dice of each organ; every point is a case, on the images' own grid.",
        alt="Dice of each organ in " + " and ".join(sets) + " cases",
    )


def _overlays(run: Run, plan: Plan, scores: pd.DataFrame) -> tuple[Picture, ...]:
    """Draw the worst, median and best testing case by mean Dice over its organs."""
    dice = by_case(scores, "dice", TESTING)
    means = pd.DataFrame(dice).mean(axis=1).dropna().sort_values() if dice else pd.Series(dtype=float)
    if means.empty:
        return ()
    try:
        cases = {case.id: case for case in dataset_of(run).cases}
    except AutosegError:  # the dataset is gone: a report without pictures is better than none
        return ()
    chosen = {"Worst": 0, "Median": len(means) // 2, "Best": len(means) - 1}
    if len(means) < len(chosen):
        chosen = {"Worst": 0, "Best": 1} if len(means) == 2 else {"Only": 0}
    known = {which: str(means.index[place]) for which, place in chosen.items() if str(means.index[place]) in cases}
    tested = scores[scores["split"].isin(TESTING)]
    folds = {str(case): int(fold) for case, fold in zip(tested["case"], tested["fold"], strict=True)}
    pictures = [
        _overlay(run, plan, cases[name], folds[name], which, float(means[name])) for which, name in known.items()
    ]
    return tuple(picture for picture in pictures if picture is not None)


def _overlay(run: Run, plan: Plan, case: Case, fold: int, which: str, dice: float) -> Picture | None:
    try:
        image, truth = read_image(case.images).as_float32(), read_label(case.label)
        mask = read_label(run.fold(fold) / "predictions" / f"{case.id}.nii.gz")
    except AutosegError:  # gone or damaged: a report without a picture is better than none
        return None
    if not image.grid.shape == truth.grid.shape == mask.grid.shape:
        return None
    window = CT_WINDOW_HU if plan.intensity[0].kind == "ct" else None
    figure = overlay_figure(
        image.array[0],
        truth.array.astype(np.uint16),
        mask.array.astype(np.uint16),
        image.grid.spacing_mm,
        {organ.value: organ.name for organ in plan.labels},
        window=window,
    )
    caption = f"{which} testing case: {case.id}, mean Dice {100 * dice:.1f} %."
    return Picture(data=figure_bytes(figure), media_type="image/png", caption=caption, alt=caption)


def _check_rows(run: Run) -> tuple[Mapping[str, object], ...] | None:
    text = _read(run.folder / "check.json")
    return tuple(json.loads(text)) if text else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
