"""Open the sources of a comparison: a RUN, scores.csv, nnU-Net's summary.json, a CSV table, a published table."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from autoseg.dataset.split import TESTING, TRAINING
from autoseg.dataset.split_file import load_splits
from autoseg.errors import RunError
from autoseg.evaluation.external_source import external_patients
from autoseg.evaluation.foreign import NNUNET, ForeignScores, read_nnunet, read_table
from autoseg.evaluation.patients import Patients
from autoseg.evaluation.published import PUBLISHED, TITLE, published_table
from autoseg.evaluation.records import run_patients
from autoseg.evaluation.scores import ROUNDING, read_scores
from autoseg.evaluation.statistics import TOTAL, by_case, organs_of
from autoseg.labels import organ_key
from autoseg.metrics.registry import comparable_metric
from autoseg.run import ExternalFolder, Run
from autoseg.sheet import read_columns
from autoseg.words import counted, shortened

ACCEPTED = (
    "give a RUN, a scores.csv, nnU-Net's summary.json, a CSV table of Dice with the column case and one column an "
    f"organ, or {PUBLISHED}"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreSource:
    """One metric of one method: by case, or as a published table."""

    name: str
    values: pd.DataFrame | None  # a row a case, a column an organ, NaN where undefined; None: only published averages
    labels: Mapping[str, int]  # organ to its value in the label maps, as far as known
    published: pd.DataFrame | None = None  # columns as `published.published_table`, without the total
    trained_on: frozenset[str] | None = None  # cases that trained or validated its models; None: not known
    patients: Patients = field(default_factory=dict)  # of the cases, as far as a RUN knows them
    notes: tuple[str, ...] = ()  # how it was read


def open_sources(names: Sequence[str], metric: str) -> tuple[ScoreSource, ...]:
    """Read one metric from every source; each gets the shortest name that tells it from the others.

    Args:
        names: As the user gives them: paths, or `PUBLISHED`.
        metric: As in scores.csv.

    Raises:
        RunError: If one cannot be read, is given twice, or lacks the metric.
    """
    files = {name: _score_file(Path(name)) for name in names if name != PUBLISHED}
    places = [str(files[name].resolve()) if name in files else name for name in names]
    twice = [name for name, place in zip(names, places, strict=True) if places.count(place) > 1]
    if twice:
        raise RunError(f"{twice[-1]}: these scores are given twice; give sources that differ")
    short_names = _short_names(list(files.values()))
    opened = {name: _open(file, short, metric) for (name, file), short in zip(files.items(), short_names, strict=True)}
    return tuple(opened[name] if name in opened else _published(metric) for name in names)


def _score_file(path: Path) -> Path:
    """Return the file that holds the scores of a source."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise RunError(f"{path}: there is no such file or folder; {ACCEPTED}")
    for file in (Run(path).scores_file, path / "summary.json"):
        if file.is_file():
            return file
    if Run(path).plan_file.is_file():
        raise RunError(f"{path}: has no scores.csv yet; run `autoseg evaluate {path}` first")
    raise RunError(f"{path}: holds neither scores.csv nor summary.json; {ACCEPTED}")


def _short_names(files: Sequence[Path]) -> list[str]:
    """Name each file by the last parts of its path, as few as tell them apart."""
    paths = [Path(os.path.abspath(file)) for file in files]
    parts = [(p.parent if p.name in {"scores.csv", "summary.json"} else p.with_suffix("")).parts for p in paths]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(file) for file in files]


def _open(file: Path, name: str, metric: str) -> ScoreSource:
    if file.suffix.lower() == ".json":
        _require_metric(file, metric, NNUNET)
        return _sound(file, metric, name, read_nnunet(file, metric))
    try:
        header = read_columns(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read as text ({error}); {ACCEPTED}") from error
    if {"case", "organ", "metric", "value"} <= set(header):
        return _long(file, name, metric)
    if "case" in header:
        _require_metric(file, metric, ("dice",))
        return _sound(file, metric, name, read_table(file))
    raise RunError(f"{file}: holds no scores (its first line is {','.join(header)[:80]!r}); {ACCEPTED}")


def _published(metric: str) -> ScoreSource:
    if metric != "dice":
        raise RunError(f"{PUBLISHED}: the paper has no {metric}; compare its dice")
    table = published_table("testing")
    return ScoreSource(name=TITLE, values=None, labels={}, published=table[table["Organ"] != TOTAL])


def _long(file: Path, name: str, metric: str) -> ScoreSource:
    """Read the testing cases of a scores.csv; a case of several folds counts once, with its mean."""
    scores = read_scores(file)
    testing = scores[(scores["split"] == "testing") & (scores["grid"] == "original")]
    if testing.empty:
        splits = ", ".join(sorted(set(scores["split"]))) or "none"
        raise RunError(
            f"{file}: has no testing case on the grid original (its splits: {splits}), and only those are compared; "
            "plan with a share of cases to test, or with folds"
        )
    _require_metric(file, metric, sorted(set(testing["metric"])))
    try:
        columns = by_case(scores, metric, TESTING)
        organs = organs_of(scores)
    except (ValueError, TypeError) as error:
        raise RunError(f"{file}: a label or a value is not a number ({error}); correct that row") from error
    values = pd.DataFrame(columns)
    values.columns = pd.Index([organs[label] for label in columns])
    again = int(testing[["fold", "case"]].drop_duplicates()["case"].duplicated().sum())
    table = ForeignScores(
        values=values,
        labels={organ: label for label, organ in organs.items()},
        notes=(f"the mean counts where several folds test a case ({counted(again, 'case')})",) if again else (),
    )
    run = Run(file.parent)
    patients = run_patients(run) if run.plan_file.is_file() else external_patients(ExternalFolder(file.parent))
    return replace(_sound(file, metric, name, table), trained_on=_trained_on(file, scores), patients=patients)


def _trained_on(file: Path, scores: pd.DataFrame) -> frozenset[str] | None:
    """Return the training and validation cases, by the scores and by the RUN's split; None if neither names any."""
    cases = set(scores.loc[scores["split"].isin(TRAINING), "case"])
    run = Run(file.parent)
    if run.plan_file.is_file() and run.split_file.is_file():
        splits = load_splits(run.split_file, None)
        folds = [splits[fold] for fold in set(scores["fold"]) if isinstance(fold, int) and 0 <= fold < len(splits)]
        cases |= {case for split in folds for side in TRAINING for case in split.sides()[side]}
    return frozenset(cases - set(scores.loc[scores["split"] == "testing", "case"])) if cases else None


def _require_metric(file: Path, metric: str, held: Collection[str]) -> None:
    if metric not in held:
        raise RunError(f"{file}: does not hold {metric}; compare one of {', '.join(held)}")


def _sound(file: Path, metric: str, name: str, scores: ForeignScores) -> ScoreSource:
    """Return scores as a source once their organs and values are checked.

    Raises:
        RunError: If two organs have one name, or a value cannot be of the metric.
    """
    keys = Counter(str(organ) for organ in scores.values.columns)
    twice = [key for key, count in keys.items() if count > 1]
    if twice:
        raise RunError(f"{file}: has the organ {twice[0]} twice; give every organ a name of its own")
    highest = min(comparable_metric(metric).range[1] + ROUNDING, sys.float_info.max)
    for organ, column in scores.values.items():
        wrong = column[(column < 0) | (column > highest)]
        if len(wrong):
            value = f"{metric} of {shortened(organ)} is {wrong.iloc[0]:g}"
            raise RunError(f"{file}, case {wrong.index[0]}: {value}, which cannot be; correct it")
    notes = tuple(f"{name}: {note}." for note in scores.notes)
    return ScoreSource(name=name, values=scores.values, labels=scores.labels, notes=notes)


def match_organs(one: ScoreSource, other: ScoreSource) -> dict[str, str]:
    """Return the organs of `one` that `other` has, to their names there, in the order of `one`.

    By name, whatever its case where that leaves no doubt; "label 3" is also the organ that has the value 3 in the other
    source.
    """
    names = _unique_keys(organs_in(other))
    own = _unique_keys(organs_in(one))
    same = set(organs_in(other))
    by_label = {other.labels[organ]: organ for organ in organs_in(other) if organ in other.labels}
    matched: dict[str, str] = {}
    for organ in organs_in(one):
        alike = names.get(organ_key(organ)) if organ_key(organ) in own else None
        match = organ if organ in same else alike or by_label.get(one.labels.get(organ, -1))
        same_name = match is not None and organ_key(match) == organ_key(organ)
        if match is not None and (same_name or is_numbered(organ) != is_numbered(match)):
            matched[organ] = match
    return matched


def _unique_keys(organs: Sequence[str]) -> dict[str, str]:
    """Return the organs by key, without those whose names differ only in capitals: earlier RUNs have such."""
    keys = Counter(organ_key(organ) for organ in organs)
    return {organ_key(organ): organ for organ in organs if keys[organ_key(organ)] == 1}


def organs_in(source: ScoreSource) -> list[str]:
    """Return the names of the organs of a source."""
    if source.values is None:
        return [] if source.published is None else [str(organ) for organ in source.published["Organ"]]
    return [str(organ) for organ in source.values.columns]


def is_numbered(organ: str) -> bool:
    """Return whether an organ is named by its label value, as in "label 3"."""
    return re.fullmatch(r"label \d+", organ_key(organ)) is not None
