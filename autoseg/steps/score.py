"""score: the masks of one folder against those of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from autoseg.dataset.label_table import names_in_files
from autoseg.dataset.metadata import ignored_value, labelled_organs, organ_names, regions_in
from autoseg.errors import CasesFailedError
from autoseg.evaluation.case_rows import CaseRows
from autoseg.evaluation.failures import pieces as pieces_by_organ
from autoseg.evaluation.folders import PartlyScoredError, require_free, score_folders
from autoseg.evaluation.instances import instances_file, write_instances
from autoseg.evaluation.pairs import Pair, ScoredPair, form_of_scores
from autoseg.evaluation.scores import COLUMNS, Row, write_scores
from autoseg.options import ScoreOptions
from autoseg.part_notes import PartNotes, clear_notes, part_notes
from autoseg.pool import Crew, Track, untracked
from autoseg.steps.crew import crew_of


@dataclass(frozen=True, kw_only=True)
class ScoredMasks:
    """How many cases have scores, and what kept the others from it."""

    cases: int
    by_organ: pd.DataFrame | None = None  # pieces found, missed and invented, where they were asked for
    pieces: int = 0
    failed: CasesFailedError | None = None


def score(predictions: Path, references: Path, options: ScoreOptions, track: Track = untracked) -> ScoredMasks:
    """Score the masks of one folder against those of the same name in another, and write what could be scored.

    Raises:
        RunError: If a folder is missing, no names match, or the file for the scores must not be replaced.
    """
    require_free(options.out)
    with (
        part_notes(options.out, "autoseg score", options.part, form_of_scores()) as notes,
        crew_of(options.cluster, options.jobs, references, is_written=False) as crew,
    ):
        scored = _score(predictions, references, options, notes, crew, track)
    if options.part is None and scored.cases:
        clear_notes(options.out, "autoseg score")
    return scored


def _score(
    predictions: Path,
    references: Path,
    options: ScoreOptions,
    notes: PartNotes[Pair, ScoredPair],
    crew: int | Crew,
    track: Track,
) -> ScoredMasks:
    labels = options.labels
    names, labelled = (None, None) if labels is None else (organ_names(labels), labelled_organs(labels))
    rows: CaseRows
    pieces: list[Row] = []
    failed: PartlyScoredError | None = None
    try:
        tolerance_mm, ignored = options.tolerance_mm, None if labels is None else ignored_value(labels)
        scheme = None if labels is None else regions_in(labels)
        within = {} if scheme is None else {organ.value: scheme.values_of(organ) for organ in scheme.labels}
        rows = score_folders(
            predictions,
            references,
            names,
            labelled,
            tolerance_mm,
            crew,
            track,
            ignored,
            common=options.common,
            within=within,
            take_pieces=pieces.extend if options.instances else None,
            notes=notes,
            called={} if labels is None else names_in_files(labels),
        )
    except PartlyScoredError as error:
        rows, failed = error.rows, error
    if options.part is not None:
        return ScoredMasks(cases=rows.cases, failed=failed)
    if rows or failed is None:
        write_scores(rows, options.out)
        if not options.instances:
            instances_file(options.out).unlink(missing_ok=True)  # of other scores
    if not options.instances or not rows:
        return ScoredMasks(cases=rows.cases, failed=failed)
    write_instances(pieces, instances_file(options.out))
    of_pieces = (row for row in rows if str(row["metric"]).startswith("pieces_"))
    by_organ = pieces_by_organ(pd.DataFrame(of_pieces, columns=list(COLUMNS)), ["testing"], least=0)
    return ScoredMasks(cases=rows.cases, failed=failed, pieces=len(pieces), by_organ=by_organ)
