"""Which scores are up to date: those of each case, by a journal, and scores.csv as a whole, by digests."""

from __future__ import annotations

import json
import os
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from autoseg.data.preprocess import plan_digest
from autoseg.dataset.origin import splits_of
from autoseg.digests import file_digest, note_sources, noted_sources, remembered
from autoseg.errors import RunError
from autoseg.evaluation.scores import Row, read_scores
from autoseg.evaluation.two_stages import SecondLook
from autoseg.files import atomic_path
from autoseg.json_file import JsonError, parse_json
from autoseg.metrics.registry import nsd_name
from autoseg.parts import Part
from autoseg.run import Run
from autoseg.words import counted

MOST_NAMED = 3  # files, in a sentence
SCORES = "scores"  # the name under which their sources are noted


class ScoreJournal:
    """The scored cases of a fold, with digests of their inputs: a file with one JSON line per case.

    A line is written as soon as its case is scored, so an interrupted evaluation resumes where it stopped. Lines stay
    in the file: what is held is where that of each case begins. A part of an evaluation has a file of its own,
    which the whole takes in.
    """

    def __init__(self, file: Path, part: Part | None = None) -> None:
        """Read the file and those of parts; drop lines that are damaged or superseded by a later line of the same case.

        Args:
            file: Of the whole.
            part: That lines are appended for; nothing but its own file is changed.
        """
        parts = sorted(file.parent.glob(_file_of_part(file, "*-of-*").name))
        self._file = file if part is None else _file_of_part(file, f"{part.number}-of-{part.of}")
        self._starts: dict[str, tuple[Path, int]] = {}  # case to the file, and the byte in it, where its line begins
        spare, torn = 0, set[Path]()
        for one in (file, *parts):
            for start, line in _lines_of(one):
                entry = _entry(line)
                if not line.endswith(b"\n"):
                    torn.add(one)
                if entry is None or entry["case"] in self._starts:
                    spare += 1
                if entry is not None:
                    self._starts[entry["case"]] = one, start
        if part is None and (spare or torn or parts):
            self._rewrite()
            for one in parts:
                one.unlink()
        elif self._file in torn:
            with self._file.open("ab") as stream:
                stream.write(b"\n")

    def rows(self, case: str, sources: str, mask: Path) -> list[Row] | None:
        """Return the rows of a case; None if it is not scored or its inputs changed since.

        Args:
            case: Its id.
            sources: Digest of everything that the rows depend on.
            mask: File of the predicted label map, which must be unchanged.
        """
        line = self._line(case)
        if not line or not mask.is_file() or [line["sources"], line["mask"]] != [sources, file_digest(mask)]:
            return None
        return list(line["rows"])

    def scored(self, case: str) -> list[Row]:
        """Return the rows of a case that was scored, whatever became of its inputs."""
        return list(self._line(case).get("rows", ()))

    def reliability(self, case: str) -> list[Row]:
        """Return the rows of reliability.csv of a scored case."""
        return list(self._line(case).get("reliability", ()))

    def append(
        self,
        case: str,
        sources: str,
        mask: Path,
        rows: Sequence[Row],
        reliability: Sequence[Row] = (),
        look: SecondLook | None = None,
    ) -> None:
        """Append the rows of a case whose mask is written, those of reliability.csv, and what a second stage did."""
        line: dict[str, Any] = {"case": case, "sources": sources, "mask": file_digest(mask), "rows": list(rows)}
        line["reliability"] = list(reliability)
        if look is not None:
            line["second_look"] = asdict(look)
        with self._file.open("ab") as stream:
            start = stream.seek(0, os.SEEK_END)
            stream.write((json.dumps(line, default=float) + "\n").encode())
        self._starts[case] = self._file, start

    def _line(self, case: str) -> dict[str, Any]:
        """Return the entry of a case, empty where it is not scored."""
        if case not in self._starts:
            return {}
        file, start = self._starts[case]
        with file.open("rb") as stream:
            stream.seek(start)
            return _entry(stream.readline()) or {}

    def _rewrite(self) -> None:
        """Write the last line of each case, and no others."""
        starts: dict[str, tuple[Path, int]] = {}
        with atomic_path(self._file) as beside, beside.open("wb") as stream:
            for case, (file, start) in self._starts.items():
                with file.open("rb") as before:
                    before.seek(start)
                    line = before.readline()
                starts[case] = self._file, stream.tell()
                stream.write(line.rstrip(b"\n") + b"\n")
        self._starts = starts


def read_looks(file: Path) -> dict[str, SecondLook]:
    """Return what a second stage did in each scored case of a journal; empty where there is one stage."""
    looks = {}
    for _, line in _lines_of(file):
        entry = _entry(line)
        if entry is not None and entry.get("second_look") is not None:
            looks[str(entry["case"])] = SecondLook.of(entry["second_look"])
    return looks


def is_evaluated(run: Run, tolerance_mm: float | None = None) -> bool:
    """Return whether every case of every trained fold has scores of the present models, plan, split and cases.

    Args:
        run: With or without scores.
        tolerance_mm: Tolerance of the normalised surface Dice that the scores must hold; None: any.
    """
    scores = present_scores(run)
    if scores is None or (tolerance_mm is not None and nsd_name(tolerance_mm) not in scores["metric"].unique()):
        return False
    return not unscored(run, scores)


def present_scores(run: Run) -> pd.DataFrame | None:
    """Return the scores if they are of the present models, plan, split and cases, though some cases may have none."""
    if not run.scores_file.is_file() or _changed_sources(run) or _is_edited(run):
        return None
    try:
        return read_scores(run.scores_file)
    except RunError:  # damaged, or of another version
        return None


def stale_scores(run: Run, scores: pd.DataFrame) -> list[str]:
    """Return the reasons why scores are out of date, half a sentence each; none if they are up to date."""
    changed = _changed_sources(run)
    names = changed if len(changed) <= MOST_NAMED else [*changed[:MOST_NAMED], "…"]
    lacking = unscored(run, scores) if run.split_file.is_file() and run.folds() else []
    return [
        *([f"the scores are older than {', '.join(names)}"] if names else []),
        *([f"not scored: {counted(len(lacking), 'case')} of trained folds"] if lacking else []),
    ]


def unscored(run: Run, scores: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the cases of trained folds that have no score, as (fold, case)."""
    splits = splits_of(run)
    scored = set(scores[["fold", "case"]].drop_duplicates().itertuples(index=False, name=None))
    expected = [(fold, case) for fold in run.folds() if fold < len(splits) for case in splits[fold].cases()]
    return [pair for pair in expected if pair not in scored]


def score_sources(run: Run) -> dict[str, str]:
    """Return the files that the scores of a run depend on: name in RUN to digest.

    Only the part of the plan that decides on cached cases and models counts.
    """
    files = [run.split_file, *sorted(run.cache.glob("*.json"))]
    digests = {_name(run, file): file_digest(file) for file in files if file.is_file()}
    plans = "".join(map(plan_digest, run.plan().stages))
    return {_name(run, run.plan_file): plans} | models_of(run) | digests


def score_sources_of_fold(run: Run, fold: int) -> dict[str, str]:
    """Return the files that the scores of one fold depend on in addition, as in `score_sources`."""
    folders = [run.stage(number).fold(fold) for number in range(len(run.plan().stages))]
    return {_name(run, files.model): file_digest(files.model) for files in folders}


def models_of(run: Run) -> dict[str, str]:
    """Return the models of all trained folds: name in RUN to digest."""
    return dict(ChainMap(*(score_sources_of_fold(run, fold) for fold in run.folds())))


def note_score_sources(run: Run, sources: Mapping[str, str]) -> None:
    """Record the digests of the files that the scores just written depend on."""
    note_sources(run.digests_file, SCORES, {**sources, _name(run, run.scores_file): file_digest(run.scores_file)})


def note_models(run: Run, what: str) -> None:
    """Record which models other scores of the RUN, as of an external dataset, were made with."""
    note_sources(run.digests_file, what, models_of(run))


def has_other_models(run: Run, what: str) -> bool:
    """Return whether such scores are of other models than the RUN's present ones; False where that is not known."""
    noted = noted_sources(run.digests_file, what)
    return noted is not None and dict(noted) != models_of(run)


def _changed_sources(run: Run) -> list[str]:
    """Return the names of the files that changed since the scores were written."""
    noted = noted_sources(run.digests_file, SCORES)
    if noted is None:  # written before digests were recorded
        return _newer_than_scores(run)
    with remembered(run.digests_file):
        return [name for name, current in score_sources(run).items() if noted.get(name) != current]


def _is_edited(run: Run) -> bool:
    """Return whether scores.csv was edited since it was written."""
    noted = noted_sources(run.digests_file, SCORES)
    return noted is not None and noted.get(_name(run, run.scores_file)) != file_digest(run.scores_file)


def _newer_than_scores(run: Run) -> list[str]:
    """Return the names of the files written later than the scores, for runs made before digests were recorded."""
    models = [run.fold(fold).model for fold in run.folds()]
    written = run.scores_file.stat().st_mtime_ns
    sources = [run.plan_file, run.split_file, *models, *run.cache.glob("*.json")]
    return [_name(run, file) for file in sources if file.is_file() and file.stat().st_mtime_ns > written]


def _name(run: Run, file: Path) -> str:
    return file.relative_to(run.folder).as_posix()


def _file_of_part(file: Path, part: str) -> Path:
    return file.with_name(f"{file.stem}.{part}{file.suffix}")


def _lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with the byte where each begins; none where there is no file."""
    start = 0
    if file.is_file():
        with file.open("rb") as stream:
            for line in stream:
                yield start, line
                start += len(line)


def _entry(line: bytes) -> dict[str, Any] | None:
    """Return what a line of a journal says; None of a damaged one."""
    try:
        entry = parse_json(line.decode("utf-8", errors="replace"), "", dict)
    except JsonError:
        return None
    return entry if {"case", "sources", "mask", "rows"} <= set(entry) else None
