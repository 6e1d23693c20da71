"""report: tables, charts and pictures of a RUN, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd

from autoseg.dataset.fingerprint import load_fingerprint
from autoseg.dataset.origin import read_origin, splits_of
from autoseg.dataset.statements import statements_of
from autoseg.digests import remembered
from autoseg.errors import RunError
from autoseg.evaluation.beside import Scored
from autoseg.evaluation.cases import doubts
from autoseg.evaluation.external_source import DATASET, external_patients, read_source
from autoseg.evaluation.freshness import has_other_models, read_looks, stale_scores
from autoseg.evaluation.published import PUBLISHED, require_published
from autoseg.evaluation.records import EDGE, PATIENT, case_records
from autoseg.evaluation.reliability import read_reliability
from autoseg.evaluation.scores import COLUMNS, read_scores
from autoseg.evaluation.statistics import with_misses
from autoseg.evaluation.stress import read_stress
from autoseg.figures.canvas import Undrawn, try_to_draw
from autoseg.figures.colours import organ_colours
from autoseg.files import replacing, write_text
from autoseg.labels import organ_key
from autoseg.locks import lock
from autoseg.metrics.registry import NSD, known_metric
from autoseg.network.build import plan_of
from autoseg.options import ReportOptions
from autoseg.plan import Plan
from autoseg.pool import Track, untracked
from autoseg.report.case_scores import case_scores
from autoseg.report.charts import flow_picture
from autoseg.report.claim import claim
from autoseg.report.formats import TextTable, write_text_table
from autoseg.report.limits import limits
from autoseg.report.methods import Facts, methods, methods_text
from autoseg.report.page import Pictures, ReportContent, places_of, render_report
from autoseg.report.pdf import print_pdf, require_browser
from autoseg.report.performance import ScoreTables, write_tables
from autoseg.report.pictures import draw_pictures
from autoseg.report.privacy import without_folders
from autoseg.report.provenance import (
    check_rows,
    clean_up_of,
    commands_of,
    environment,
    file_hashes,
    is_displaced,
    late_gain,
    other_trainings,
    repetitions_of,
    stages,
    trained_iterations,
    trainings_of,
)
from autoseg.report.review import REVIEW, Evidence, flow_of, review_tables
from autoseg.report.summary import summary_of
from autoseg.report.tables import paper_tables
from autoseg.run import ExternalFolder, Run
from autoseg.steps.crew import crew_of
from autoseg.words import some

ShowTables = Callable[[Sequence[TextTable]], None]
REPORT_WAIT_S = 60.0  # for another report of the same RUN; nothing else waits or is waited for


def report(
    run: Run,
    options: ReportOptions,
    track: Track = untracked,
    show: ShowTables | None = None,
) -> dict[str, str]:
    """Write RUN/report from everything that the run has so far.

    Args:
        run: A planned run; everything else may be missing or unfinished.
        options: Published table to set beside; processes that draw, None for one per usable core.
        track: Shows progress.
        show: Gets the tables of Dice, testing first, before anything is drawn; none without scores.

    Returns:
        Case to cause for those that could not be drawn.

    Raises:
        RunError: If the folder is not a RUN, or its scores cannot be read.
        AutosegError: If a PDF is asked for and there is no browser to print it.
        LockedError: If another process writes a report of it and does not end soon.
    """
    if options.beside is not None:
        require_published(options.beside)
    if options.pdf:
        require_browser()
    run.plan()  # or a folder that is no RUN would get one for the lock
    rewritten = run.report.tables_and_charts([table.name for table in REVIEW])
    with lock(run.report.folder, "autoseg report", REPORT_WAIT_S), replacing(rewritten):
        return _report(run, options, track, show)


def _report(run: Run, options: ReportOptions, track: Track, show: ShowTables | None) -> dict[str, str]:
    plan = plan_of(run)
    is_scored = run.scores_file.is_file()
    scores = with_misses(read_scores(run.scores_file)) if is_scored else pd.DataFrame(columns=list(COLUMNS))
    records = case_records(run)
    checks, problem = check_rows(run)
    readers = None if options.observers is None else _readers(options.observers, scores)
    evidence = _evidence(run, scores, records, checks or (), readers)
    beside = PUBLISHED in (options.beside, plan.preset)
    with remembered(run.digests_file), crew_of(options.cluster, options.jobs, run.folder) as crew:
        tables = _score_tables(run, scores, beside, dict(records[PATIENT]), plan.name)
        if show is not None:
            show(tables.printed if len(scores) else ())
        drawn = draw_pictures(run, plan, scores, crew, track)
    lacking = (
        *_missing(run, scores, evidence.unlike),
        *drawn.notes,
        *(f"{c} is not drawn: {w}" for c, w in drawn.failed.items()),
    )
    content = replace(
        _content(run, plan, tables, drawn.pictures, evidence),
        missing=tuple(without_folders(sentence, run) for sentence in (*lacking, *problem)),
        check_rows=checks,
    )
    said = set(records.columns) - {PATIENT, EDGE}  # of the patients; a spacing alone is not about them
    _write_page(run, content, set() if said else {"characteristics"})
    if options.pdf:
        print_pdf(run.report.page, run.report.pdf)
    return drawn.failed


def _content(run: Run, plan: Plan, tables: ScoreTables, pictures: Pictures, evidence: Evidence) -> ReportContent:
    """Return what the page shows, but for what the run lacks and the rows of its data check; write review tables."""
    scores = evidence.scores
    chart = try_to_draw(partial(flow_picture, run, flow_of(evidence)))
    stated = {key: without_folders(text, run) for key, text in statements_of(run).items()}
    review = _review(run, evidence)
    return ReportContent(
        title=plan.name,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        summary=(*summary_of(scores, evidence.patients), *trainings_of(run)),
        missing=(),
        tables=tables.page,
        published=tables.published,
        metrics=tables.others,
        review=review,
        pictures=pictures if isinstance(chart, Undrawn) else replace(pictures, flow=chart),
        cases=case_scores(scores),
        colours={plan.scheme.names[value]: colour for value, colour in organ_colours(plan.labels).items()},
        has_patients=evidence.unit == "patient",
        limits=limits(evidence),
        statements=stated,
        doubts=doubts(scores) if "expected_dice" in scores["metric"].unique() else None,
        plan_text=without_folders(_read(run.plan_text_file), run),
        methods=_methods(run, plan, stated, evidence, {t.name for tables in review.values() for t in tables}),
        check_rows=None,
        environment=environment(),
        hashes=file_hashes(run),
        commands=commands_of(run),
    )


def _score_tables(
    run: Run, scores: pd.DataFrame, beside: bool, patients: Mapping[str, str], dataset: str
) -> ScoreTables:
    if len(scores):
        return write_tables(run, scores, beside, patients, dataset)
    empty = tuple(paper_tables(scores))
    return ScoreTables(printed=empty, page=empty)


def _readers(file: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Read the scores of one reader against another.

    Raises:
        RunError: If they cannot be read, or have no organ or no case of the run.
    """
    readers = read_scores(file)
    for column, way_out in (("organ", "give `autoseg score` the names by --labels"), ("case", "name the masks alike")):
        own, theirs = ({organ_key(str(name)) for name in frame[column].unique()} for frame in (scores, readers))
        if own and theirs and own.isdisjoint(theirs):
            raise RunError(
                f"--observers {file}: has no {column} of this run ({some(sorted(theirs), 3)}, not "
                f"{some(sorted(own), 3)}); {way_out}"
            )
    return readers


def _write_page(run: Run, content: ReportContent, unanswered: Collection[str]) -> None:
    """Write the page, the methods, and the checklist, for which the places in `unanswered` say too little."""
    page = render_report(content)
    write_text(run.report.page, page)
    run.report.pdf.unlink(missing_ok=True)  # of an earlier page
    write_text(run.report.methods, methods_text(content.methods))
    write_text(run.report.claim, claim(places_of(page) - set(unanswered)))


def _evidence(
    run: Run,
    scores: pd.DataFrame,
    records: pd.DataFrame,
    checks: Sequence[Mapping[str, object]],
    readers: pd.DataFrame | None,
) -> Evidence:
    """Return what is known of a run for the tables that a reviewer asks for."""
    looked_in = run.folds() if run.plan_file.is_file() and run.plan().finer is not None else ()
    options = read_origin(run).get("options")
    excluded = options.get("exclude", ()) if isinstance(options, dict) else ()
    same, unlike = repetitions_of(run)
    return Evidence(
        scores=scores,
        records=records,
        splits=splits_of(run) if run.split_file.is_file() else (),
        check=checks,
        excluded=tuple(map(str, excluded)),
        reliability=read_reliability(run.reliability_file),
        iterations=trained_iterations(run),
        late_gain=late_gain(run),
        stages=stages(run),
        looks=tuple(look for fold in looked_in for look in read_looks(run.fold(fold).evaluated).values()),
        readers=readers,
        externals={name: _external(folder) for name, folder in run.externals().items()},
        repetitions=tuple(read_scores(again.scores_file) for again in same),
        unlike=unlike,
        stress=read_stress(run.stress_file),
    )


def _external(folder: ExternalFolder) -> Scored:
    """Read the scores of another dataset, and whose they are."""
    return Scored(scores=read_scores(folder.scores_file), patients=external_patients(folder))


def _review(run: Run, evidence: Evidence) -> dict[str, tuple[TextTable, ...]]:
    """Write the tables that a reviewer asks for; return them by the section of the page."""
    sections = review_tables(evidence)
    for table in (table for tables in sections.values() for table in tables):
        write_text_table(table, run.report.folder)
    return sections


def _methods(
    run: Run, plan: Plan, said: Mapping[str, str], evidence: Evidence, tables: Collection[str]
) -> dict[str, str]:
    options = read_origin(run).get("options")
    is_drawn = not (isinstance(options, dict) and options.get("split"))
    metrics = map(known_metric, evidence.scores["metric"].unique())
    facts = Facts(
        iterations=trained_iterations(run),
        second_iterations=trained_iterations(run.stage(1)),
        is_displaced=is_displaced(run),
        is_drawn=is_drawn,
        has_patients=evidence.unit == "patient",
        said=said,
        clean_up=clean_up_of(run),
        tables=tables,
        tolerance=next((m.title.removeprefix("NSD at ") for m in metrics if m and m.family == NSD), ""),
    )
    return methods(plan, load_fingerprint(run.fingerprint_file), evidence.splits, facts)


def _missing(run: Run, scores: pd.DataFrame, unlike: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each thing that the run lacks, with the command that provides it."""
    splits = splits_of(run) if run.split_file.is_file() else ()
    sentences = []
    untrained = [str(fold) for fold in range(len(splits)) if fold not in run.folds()]
    if not run.folds():
        sentences.append("No fold is trained to the end yet: `autoseg train RUN` does it, or goes on with it.")
    elif untrained:
        sentences.append(f"Not trained yet: fold {', '.join(untrained)}. The numbers are those of the others.")
    if splits and not any(split.testing for split in splits):
        sentences.append("The split has no testing case, so nothing here tells how the model does on new patients.")
    sentences += other_trainings(run, splits)
    if unlike:
        sentences.append(
            f"Of another plan, split or length, so no repetition: {', '.join(unlike)}; remove it, and `autoseg run "
            "DATASET RUN --repeat N` trains it anew."
        )
    stale = stale_scores(run, scores) if len(scores) else []
    sentences += [f"{reason[0].upper()}{reason[1:]}; run `autoseg evaluate RUN` again." for reason in stale]
    others = {"stress": "--stress"}
    for name, folder in run.externals().items():
        others[f"external {name}"] = f"--dataset {read_source(folder).get(DATASET, name)}"
    sentences += [
        f"The scores of {option} are of other models; run `autoseg evaluate RUN {option}` again."
        for what, option in others.items()
        if has_other_models(run, what)
    ]
    dice = scores[scores["metric"] == "dice"]
    absent = [name for name, n in dice["value"].groupby(dice["organ"].astype(str)).count().items() if not n]
    if absent:
        sentences.append(f"In neither truth nor prediction of any scored case: {', '.join(map(str, absent))}.")
    labelled = set(dice["organ"].unique())
    unlabelled = [organ.name for organ in run.plan().labels if len(dice) and organ.name not in labelled]
    if unlabelled:
        sentences.append(f"Labelled in no scored case: {', '.join(unlabelled)}.")
    return tuple(sentences)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
