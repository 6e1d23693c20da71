"""report: tables, curves, pictures and report.html of a run, finished or not."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from autoseg.dataset.origin import read_origin, splits_of
from autoseg.digests import file_digest, remembered
from autoseg.evaluation.cases import doubts
from autoseg.evaluation.freshness import stale_scores
from autoseg.evaluation.published import published_beside, published_note
from autoseg.evaluation.scores import COLUMNS, read_scores
from autoseg.evaluation.statistics import TABLES, dice_table, statistics
from autoseg.figures.colours import organ_colours
from autoseg.files import atomic_path, write_text
from autoseg.network.build import plan_of
from autoseg.pool import Track, untracked
from autoseg.report.formats import TextTable, write_text_table
from autoseg.report.history import commands_of, trainings_of
from autoseg.report.page import ReportContent, render_report, summary_of
from autoseg.report.pictures import draw_pictures
from autoseg.report.tables import beside_table, case_scores, metric_table, paper_tables
from autoseg.run import Run
from autoseg.version import VERSION

PACKAGES = ("autoseg", "torch", "batchgenerators", "SimpleITK", "numpy", "scikit-image", "pandas", "matplotlib")


def write_report(run: Run, jobs: int = 1, track: Track = untracked) -> tuple[list[TextTable], dict[str, str]]:
    """Write RUN/report from what is there.

    Args:
        run: Planned; everything else may be missing or under way.
        jobs: Processes that draw.
        track: Shows progress.

    Returns:
        The two tables as shown, none without scores; and the causes by case where one could not be drawn.

    Raises:
        RunError: If the folder is not a RUN, or its scores cannot be read.
    """
    plan = plan_of(run)
    scores = read_scores(run.scores_file) if run.scores_file.is_file() else pd.DataFrame(columns=list(COLUMNS))
    _forget(run)
    tables, published, metrics = _write_tables(run, scores) if len(scores) else (paper_tables(scores), (), ())
    with remembered(run.digests_file):
        drawn = draw_pictures(run, plan, scores, jobs, track)
    undrawn = (f"{case} is not drawn: {cause}" for case, cause in drawn.failed.items())
    check, problem = _check_rows(run)
    content = ReportContent(
        title=plan.name,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        summary=(*summary_of(scores), *trainings_of(run)),
        missing=(*_missing(run, scores), *drawn.notes, *undrawn, *problem),
        tables=tuple(tables),
        published=published,
        metrics=metrics,
        pictures=drawn.pictures,
        cases=case_scores(scores),
        colours={plan.scheme.names[value]: colour for value, colour in organ_colours(plan.labels).items()},
        doubts=doubts(scores) if "expected_dice" in set(scores["metric"]) else None,
        plan_text=_read(run.plan_text_file),
        check_rows=check,
        environment={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        hashes=_hashes(run),
        commands=commands_of(run),
    )
    write_text(run.report.page, render_report(content))
    return (tables if len(scores) else []), drawn.failed


def _forget(run: Run) -> None:
    """Remove what an earlier report wrote and this one may not: no old number may stand beside a new page.

    Pictures of cases stay: each is looked at before it is used.
    """
    for file in list(run.report.tables_and_charts()):
        file.unlink()


def _write_tables(
    run: Run, scores: pd.DataFrame
) -> tuple[list[TextTable], tuple[TextTable, ...], tuple[TextTable, ...]]:
    """Write all tables and their numbers; return the paper's, those beside it, and the wide ones."""
    numbers = [statistics(scores, table.splits) for table in TABLES]
    tables, published = paper_tables(scores), _published(scores)
    metrics = tuple(metric_table(table, frame) for table, frame in zip(TABLES, numbers, strict=True))
    for table in (*tables, *published, *metrics):
        write_text_table(table, run.report.folder)
    coarse = [statistics(scores, table.splits, "working") for table in TABLES]
    frames = [
        frame.assign(cases=table.which, grid=grid)
        for grid, both in (("original", numbers), ("working", coarse))
        for table, frame in zip(TABLES, both, strict=True)
    ]
    with atomic_path(run.report.statistics) as beside:
        pd.concat(frames, ignore_index=True).to_csv(beside, index=False, float_format="%.6g")
    return tables, published, metrics


def _missing(run: Run, scores: pd.DataFrame) -> tuple[str, ...]:
    """Return what the run does not have yet, with the way to get it."""
    splits = splits_of(run) if run.split_file.is_file() else ()
    said = []
    untrained = [str(fold) for fold in range(len(splits)) if fold not in run.folds()]
    if not run.folds():
        said.append("No fold is trained to the end yet: `autoseg train RUN` does it, or goes on with it.")
    elif untrained:
        said.append(f"Not trained yet: fold {', '.join(untrained)}. The numbers are those of the others.")
    if splits and not any(split.testing for split in splits):
        said.append("The split has no testing case, so nothing here tells how the model does on new patients.")
    stale = stale_scores(run, scores) if len(scores) else []
    said += [f"{why[0].upper()}{why[1:]}; run `autoseg evaluate RUN` again." for why in stale]
    dice = scores[scores["metric"] == "dice"]
    absent = [name for name, n in dice.groupby("organ")["value"].count().items() if not n]
    if absent:
        said.append(f"In neither truth nor prediction of any scored case: {', '.join(map(str, absent))}.")
    unlabelled = [organ.name for organ in run.plan().labels if len(dice) and organ.name not in set(dice["organ"])]
    if unlabelled:
        said.append(f"Labelled in no scored case: {', '.join(unlabelled)}.")
    return tuple(said)


def _published(scores: pd.DataFrame) -> tuple[TextTable, ...]:
    """Return the paper's numbers beside the run's own, where it has the same organs."""
    tables = []
    for table in TABLES:
        beside = published_beside(dice_table(scores, table.splits), table.which)
        if beside is not None:
            title = f"Dice (%) of the {table.which} cases beside the paper's."
            tables.append(beside_table(beside, title, published_note(table.which), f"published_{table.which}"))
    return tuple(tables)


def _hashes(run: Run) -> dict[str, str]:
    """Return the SHA-256 of the files that the scores follow from."""
    models = [run.fold(fold).model for fold in run.folds()]
    files = [run.plan_file, run.split_file, run.fingerprint_file, *models, run.scores_file]
    return {file.relative_to(run.folder).as_posix(): file_digest(file) for file in files if file.is_file()}


def _check_rows(run: Run) -> tuple[tuple[Mapping[str, object], ...] | None, tuple[str, ...]]:
    """Return the rows of check.json, None where there are none to read, and a sentence where they are damaged."""
    file = run.check_file
    if not file.is_file():
        return None, ()
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        root = f"{read_origin(run).get('dataset', '')}/"  # a page that is passed on tells no paths of this machine
        return tuple(dict(row) | {"file": str(row.get("file", "")).removeprefix(root)} for row in rows), ()
    except (OSError, ValueError, TypeError):
        return None, ("check.json is damaged: `autoseg check DATASET --json check.json` makes it anew.",)


def _version(package: str) -> str:
    try:
        return VERSION if package == "autoseg" else version(package)
    except PackageNotFoundError:
        return "not installed"


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
