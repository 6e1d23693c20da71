"""Tests of autoseg.report.provenance: the commands and trainings in the logs of a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import made
import pytest
from command_line import SMALL_PLAN, Cli
from two_stages import FIRST, second

from autoseg.dataset.split import Split
from autoseg.inference.postprocess import PostprocessRule
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.inference.second_cases import NOTE
from autoseg.network.build import build
from autoseg.network.weights import save_model
from autoseg.report.provenance import (
    clean_up_of,
    commands_of,
    file_hashes,
    is_displaced,
    late_gain,
    other_trainings,
    repetitions_of,
    trained_iterations,
    trainings_of,
)
from autoseg.run import Run

LOG = """\
2026-11-25 07:52:25,579 INFO /opt/venv/bin/autoseg preprocess RUN
2026-11-25 07:52:29,346 INFO autoseg train RUN --set 'name=a b'
2026-11-25 07:53:29,346 WARNING autoseg warns
2026-11-25 07:53:30,000 INFO the autoseg RUN
2026-11-25 08:45:48,289 ERROR failed
Traceback (most recent call last):
2026-11-25 08:46:00,000 INFO autoseg train RUN --set 'name=a b'
"""


def test_each_command_is_told_once_without_the_place_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(LOG)
    assert commands_of(Run(tmp_path)) == ("autoseg preprocess RUN", "autoseg train RUN --set 'name=a b'")
    assert commands_of(Run(tmp_path / "nothing")) == ()


def test_a_training_is_told_by_its_iterations_and_the_time_of_its_steps(tmp_path: Path) -> None:
    for number, seconds in ((0, (30.0, 45.0)), (2, (7200.0,))):
        folder = tmp_path / f"fold-{number}"
        folder.mkdir()
        (folder / "model.autoseg").touch()
        rows = [f"{i},{s}" for i, s in enumerate(seconds, start=1)]
        (folder / "log.csv").write_text("\n".join(["iteration,seconds", *rows, ""]))
    assert trainings_of(Run(tmp_path)) == (
        "Fold 0 was trained for 2 iterations; its steps took 1 min.",
        "Fold 2 was trained for 1 iteration; its steps took 2 h 0 min.",
    )


def test_folds_of_equal_trainings_are_told_in_one_sentence(tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / f"fold-{number}"
        folder.mkdir()
        (folder / "model.autoseg").touch()
        (folder / "log.csv").write_text("iteration,seconds\n1,30.0\n2,30.0\n")
    assert trainings_of(Run(tmp_path)) == ("Three folds were trained for 2 iterations each; all steps took 3 min.",)


def test_what_the_validation_dice_gains_late_is_the_mean_over_folds(tmp_path: Path) -> None:
    for number, end in ((0, "0.8,0.6"), (1, "0.7,")):  # means of 0.7 in both, before of 0.6 and 0.7
        folder = tmp_path / f"fold-{number}"
        folder.mkdir()
        (folder / "model.autoseg").touch()
        rows = ["1,0.1,0.1", "8,0.7,0.5" if number == 0 else "8,0.7,", "9,,", f"10,{end}", ""]
        (folder / "log.csv").write_text("\n".join(["iteration,dice_validation_liver,dice_validation_vein", *rows]))
    assert late_gain(Run(tmp_path)) == pytest.approx((0.1 + 0.0) / 2)
    assert late_gain(Run(tmp_path / "none")) is None


def test_a_model_of_other_training_cases_than_the_splits_is_told(tmp_path: Path) -> None:
    run, plan = Run(tmp_path), made.plan()
    (tmp_path / "fold-0").mkdir()
    facts = {"iteration": 3, "trained_on": ["a", "b", "c"]}
    save_model(run.fold(0).model, plan, build(plan).state_dict(), facts)
    assert other_trainings(run, [Split(training=("c", "b", "a"), validation=("d",), testing=("e",))]) == ()
    (told,) = other_trainings(run, [Split(training=("a", "d"), validation=(), testing=("e",))])
    assert told.startswith("Fold 0 was trained on 3 cases, the present split names 2 (1 of them the same)")


def test_planning_is_in_the_log_of_the_run_that_it_makes(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "RUN"
    assert cli("plan", cohort, run, *SMALL_PLAN)[0] == 0
    assert commands_of(Run(run)) == (f"autoseg plan DATASET RUN {shlex.join(SMALL_PLAN)}",)


def test_the_second_stage_has_its_hashes_its_length_and_its_displacements(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.plan_file.write_text(FIRST.model_copy(update={"finer": second()}).model_dump_json(), encoding="utf-8")
    for number, iterations in ((0, "9"), (1, "4")):
        files = run.stage(number).fold(0)
        files.cases.mkdir(parents=True)
        files.model.write_bytes(iterations.encode())
        files.log.write_text(f"iteration,seconds\n{iterations},1\n")
    assert {"fold-0/model.autoseg", "stage-1/fold-0/model.autoseg"} <= set(file_hashes(run))
    assert [trained_iterations(run.stage(number)) for number in (0, 1)] == [9, 4]
    assert not is_displaced(run)
    note = run.stage(1).fold(0).cases / NOTE
    for displacements, known in (([0.0, 0.0], False), ([0.0, 1.5], True)):
        note.write_text(json.dumps({"margin_mm": 4.0, "displacements": displacements}))
        assert is_displaced(run) is known


def test_a_repetition_of_another_plan_split_or_length_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoseg.report.provenance.is_evaluated", lambda _: True)
    run = Run(tmp_path)
    changes: dict[int, dict[str, object]] = {1: {"seed": 1}, 2: {"seed": 2, "batch_size": 1}, 3: {"seed": 3}, 4: {}}
    for number, of in {0: run, **{n: run.repetition(n) for n in changes}}.items():
        of.fold(0).folder.mkdir(parents=True)
        of.fold(0).model.touch()
        of.fold(0).log.write_text(f"iteration,seconds\n{9 if number == 4 else 6},1\n")
        of.plan_file.write_text(made.plan().model_copy(update=changes.get(number, {})).model_dump_json())
        training = ["a", "b"] if number == 3 else ["a"]
        of.split_file.write_text(json.dumps([{"training": training, "validation": [], "testing": []}]))
    same, others = repetitions_of(run)
    assert [again.folder.name for again in same] == ["repeat-1"]
    assert others == ("repeat-2", "repeat-3", "repeat-4")


def test_clean_up_is_named_by_the_plan_that_the_model_was_trained_under(tmp_path: Path) -> None:
    run = Run(tmp_path)
    rule = PostprocessRule(label=2, largest=True)
    facts = {"aftercare": Postprocessing(cleanup=(rule,)).model_dump(mode="json", by_alias=True)}
    save_model(run.fold(0).model, made.plan(), build(made.plan()).state_dict(), facts)
    assert clean_up_of(run) is not None
    assert "spleen" in " ".join(clean_up_of(run) or ())
