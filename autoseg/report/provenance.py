"""The provenance of a run: its commands, trainings, software versions, file digests, and data check."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import pandas as pd

from autoseg.dataset.origin import splits_of
from autoseg.dataset.split import Split
from autoseg.digests import file_digest
from autoseg.errors import ModelError, PlanError
from autoseg.evaluation.freshness import is_evaluated
from autoseg.inference.postprocess import rules_in_words
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.inference.second_cases import read_errors
from autoseg.json_file import read_json
from autoseg.machine import machine_in_words
from autoseg.network.weights import MODEL, parse_facts, read_facts
from autoseg.plan import parse_plan
from autoseg.report.privacy import command_without_folders, rows_without_folders
from autoseg.run import Run, StageFolder
from autoseg.timings import read_timings
from autoseg.training.log import read_rows
from autoseg.version import VERSION
from autoseg.words import counted, in_minutes, in_words

PACKAGES = ("autoseg", "torch", "batchgenerators", "SimpleITK", "numpy", "scikit-image", "pandas", "matplotlib")
VALIDATION = "dice_validation_"  # of log.csv: how the columns of the organs begin
LATE = 0.8  # of the iterations, from where on what the validation Dice gains is late
_COMMAND = re.compile(r"\S+ \S+ INFO (?:\S*/)?(autoseg .+)")  # a line of log.txt that holds a command


def commands_of(run: Run) -> tuple[str, ...]:
    """Return the commands that were run on a RUN, each once, in the order of their first use, without folders."""
    file = run.log_file
    if not file.is_file():
        return ()
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    commands = (match[1] for line in lines if (match := _COMMAND.fullmatch(line)))
    return tuple(dict.fromkeys(command_without_folders(command, run) for command in commands))


def trainings_of(run: Run) -> tuple[str, ...]:
    """Return a sentence for each trained fold, or for all alike: its iterations, and the time that they took."""
    trained: dict[int, tuple[str, float]] = {}
    for fold in run.folds():
        rows = read_rows(run.fold(fold).log)
        if rows:
            done = counted(int(rows[-1]["iteration"]), "iteration")
            seconds = sum(float(row.get("seconds") or 0) for row in rows)
            trained[fold] = done, seconds
    if len(trained) > 1 and len({done for done, _ in trained.values()}) == 1:
        total = in_minutes(sum(seconds for _, seconds in trained.values()))
        done, _ = trained[min(trained)]
        return (f"{in_words(len(trained), 'fold').capitalize()} were trained for {done} each; all steps took {total}.",)
    return tuple(
        f"Fold {fold} was trained for {done}; its steps took {in_minutes(seconds)}."
        for fold, (done, seconds) in trained.items()
    )


def environment() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES`, and the machine that the report is made on."""
    versions = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **versions, "machine of the report": machine_in_words()}


def trained_iterations(stage: StageFolder) -> int:
    """Return the iterations of a stage's longest training so far; 0 where none is logged."""
    rows = [read_rows(stage.fold(fold).log) for fold in stage.folds()]
    return max((int(of_fold[-1]["iteration"]) for of_fold in rows if of_fold), default=0)


def repetitions_of(run: Run) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Return the evaluated repetitions of a run, and the names of those of another plan, split or length."""
    evaluated = [again for again in run.repetitions() if is_evaluated(again)]
    same = [again for again in evaluated if _repeated(again) == _repeated(run)]
    return tuple(same), tuple(again.folder.name for again in evaluated if again not in same)


def _repeated(run: Run) -> tuple[object, ...]:
    """Return what a repetition has in common with its run: the plan but for seed and device, the split, the length."""
    stages = [stage.model_copy(update={"seed": 0, "device": "cpu", "iterations": 1}) for stage in run.plan().stages]
    lengths = [trained_iterations(run.stage(number)) for number in range(len(stages))]
    return stages, lengths, splits_of(run)


def late_gain(run: Run) -> float | None:
    """Return by how much the mean validation Dice (0 to 1) rose over the last fifth of a training, the mean over folds.

    None where no fold was looked at both before and at the end.
    """
    gains = []
    for fold in run.folds():
        rows = [
            (int(row["iteration"]), [float(row[key]) for key in row if key.startswith(VALIDATION) and row[key]])
            for row in read_rows(run.fold(fold).log)
        ]
        seen = [(iteration, sum(dice) / len(dice)) for iteration, dice in rows if dice]
        before = [dice for iteration, dice in seen if iteration <= LATE * seen[-1][0]]
        if before:
            gains.append(seen[-1][1] - before[-1])
    return sum(gains) / len(gains) if gains else None


def is_displaced(run: Run) -> bool:
    """Return whether a second stage learnt from displaced probabilities of the first."""
    known = [read_errors(run.stage(1).fold(fold).cases) for fold in run.stage(1).folds()]
    return any(any(errors.displacements) for errors in known if errors is not None)


def other_trainings(run: Run, splits: Sequence[Split]) -> tuple[str, ...]:
    """Return a sentence on each fold whose model was trained on other cases than the present split's."""
    sentences = []
    for fold in run.folds():
        file = run.fold(fold).model
        with suppress(ModelError):
            learnt = set(parse_facts(read_facts(file, MODEL), file).get("trained_on", ()))
            given = set(splits[fold].training) if fold < len(splits) else learnt
            if learnt and learnt != given:
                sentences.append(
                    f"Fold {fold} was trained on {counted(len(learnt), 'case')}, the present split names "
                    f"{len(given)} ({len(learnt & given)} of them the same): what this page says of training cases is "
                    "of the present split."
                )
    return tuple(sentences)


def clean_up_of(run: Run) -> tuple[str, ...] | None:
    """Return the clean-up rules of a run's folds in words; None before a fold is trained and evaluated."""
    rules: list[str] = []
    for fold in run.folds():
        file = run.fold(fold).model
        with suppress(ModelError, PlanError, ValueError):
            texts = read_facts(file, MODEL)
            facts, own = parse_facts(texts, file), parse_plan(texts.get("plan", ""), str(file))
            names = {place: organ.name for place, organ in enumerate(own.labels, start=1)}  # of the model's own plan
            if "aftercare" in facts:
                rules += rules_in_words(Postprocessing.model_validate(facts["aftercare"]).cleanup, names)
            else:
                return None
    return tuple(dict.fromkeys(rules)) if run.folds() else None


def stages(run: Run) -> pd.DataFrame:
    """Return how long each verb has worked on a RUN, and where: columns Verb, Time, Seconds, Machine."""
    rows = [
        [verb, in_minutes(float(entry["seconds"])), round(float(entry["seconds"])), str(entry.get("machine", ""))]
        for verb, entry in read_timings(run).items()
    ]
    return pd.DataFrame(rows, columns=["Verb", "Time", "Seconds", "Machine"])


def file_hashes(run: Run) -> dict[str, str]:
    """Return the SHA-256 of the files that the scores depend on, by name in RUN."""
    models = [run.stage(number).fold(fold).model for number in range(len(run.plan().stages)) for fold in run.folds()]
    files = [run.plan_file, run.split_file, run.fingerprint_file, *models, run.scores_file]
    return {file.relative_to(run.folder).as_posix(): file_digest(file) for file in files if file.is_file()}


def check_rows(run: Run) -> tuple[tuple[Mapping[str, object], ...] | None, tuple[str, ...]]:
    """Return the rows of check.json, None without a readable one, and a sentence if it is damaged."""
    file = run.check_file
    if not file.is_file():
        return None, ()
    try:
        rows = read_json(file, list)
        return rows_without_folders([dict(row) for row in rows], run), ()
    except (OSError, ValueError, TypeError, AttributeError):
        return None, ("check.json is damaged: `autoseg check DATASET --json check.json` makes it anew.",)


def _version(package: str) -> str:
    try:
        return VERSION if package == "autoseg" else version(package)
    except PackageNotFoundError:
        return "not installed"
