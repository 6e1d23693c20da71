"""Tests of autoseg.options: what a text means, and that the arguments of another process say the same."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from autoseg.cli.parameters import with_options
from autoseg.errors import PlanError
from autoseg.flags import arguments_of, options_of
from autoseg.notations import seconds_of
from autoseg.options import (
    CheckOptions,
    CohortOptions,
    CompareOptions,
    EvaluateOptions,
    PlanOptions,
    PredictOptions,
    PreprocessOptions,
    RepeatOptions,
    ReportOptions,
    ScoreOptions,
    TrainOptions,
    ViewOptions,
)
from autoseg.parts import Part

EVERY = (
    CheckOptions, CohortOptions, CompareOptions, EvaluateOptions, PlanOptions, PredictOptions, PreprocessOptions,
    RepeatOptions, ReportOptions, ScoreOptions, TrainOptions, ViewOptions,
)  # fmt: skip
OTHER = {  # a value that is not the default, by a field's type
    "str": "mps", "str | None": "cuda", "int": 7, "int | None": 3, "float": 1.5, "float | None": 90.25,
    "Path": Path("a.csv"), "Path | None": Path("b.csv"), "tuple[str, ...]": ("one", "two"),
    "tuple[int, ...] | None": (2,), "Part | None": Part(1, 3),
    "Mapping[str, str]": {"crop_size": "[8,8,8]", "loss.kind": "dice"},
}  # fmt: skip
OPTIONS = [(kind, name, one.refusal) for kind in EVERY for name, one in options_of(kind).items()]
ASKED = [pytest.param(kind, name, id=f"{kind.__name__}.{name}") for kind, name, refusal in OPTIONS if not refusal]
REFUSED = [pytest.param(kind, name, id=f"{kind.__name__}.{name}") for kind, name, refusal in OPTIONS if refusal]


def read(kind: type[Any], arguments: list[str]) -> Any:
    """Return the options that a verb reads from its command line."""
    seen: list[Any] = []

    def command(options: Any) -> None:
        seen.append(options)

    command.__annotations__["options"] = kind
    app = typer.Typer()
    app.command()(with_options(command))
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def changed(kind: type[Any], name: str) -> Any:
    """Return options of which one field has another value than its default."""
    field = next(one for one in fields(kind) if one.name == name)
    usual = kind()
    value = not vars(usual)[name] if field.type == "bool" else OTHER[str(field.type)]
    assert value != vars(usual)[name]
    return replace(usual, **{name: value})


@pytest.mark.parametrize(("kind", "name"), ASKED)
def test_every_option_survives_the_way_over_the_command_line(kind: type[Any], name: str) -> None:
    options = changed(kind, name)
    arguments = arguments_of(options)
    assert arguments[0].startswith("--")
    assert read(kind, arguments) == options


@pytest.mark.parametrize(("kind", "name"), REFUSED)
def test_an_option_that_a_verb_does_not_have_is_refused_with_what_to_do(kind: type[Any], name: str) -> None:
    with pytest.raises(PlanError, match=r"^--part: .*; (give it to|leave it out)"):
        read(kind, arguments_of(changed(kind, name)))


def test_all_options_of_a_training_reach_the_processes_of_a_team() -> None:
    options = TrainOptions(
        folds=(2,), iterations=5, device="cpu", workers=0, patience=4, tensorboard=True, deterministic=True, gpus=2
    )
    assert " ".join(arguments_of(options)) == (
        "--fold 2 --iterations 5 --device cpu --workers 0 --patience 4 --tensorboard --deterministic --gpus 2"
    )
    assert arguments_of(TrainOptions(time_budget_s=2700.0)) == ["--time-budget", "2700s"]
    of_no_team = {"later_iterations"}  # two stages train on one device
    assert {one.name for one in fields(TrainOptions)} - of_no_team == set(options_of(TrainOptions))


def test_defaults_need_no_arguments() -> None:
    assert [arguments_of(kind()) for kind in EVERY] == [[]] * len(EVERY)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("45m", 2700.0), ("1.5h", 5400.0), ("1d", 86400.0)])
def test_a_time_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "45", "m", "-3m", "0s", "infh", "nans", "1y"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(PlanError, match=f"--time-budget {text}: give a time as 90s, 45m, 2h or 1d"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (PlanOptions, ["--set", "batch_size"], "--set batch_size: write it as KEY=VALUE"),
        (PlanOptions, ["--set", "=2"], "--set : write it as KEY=VALUE"),
        (TrainOptions, ["--fold", "first"], "--fold first: give a number or all"),
        (
            TrainOptions,
            ["--iterations", "5", "--time-budget", "9s"],
            "--iterations and --time-budget exclude each other; give one",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(kind: type[Any], arguments: list[str], message: str) -> None:
    with pytest.raises(PlanError) as error:
        read(kind, arguments)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PlanOptions(time_budget_s=60.0, settings={"iterations": "5"}), "--time-budget and --set iterations exclude"),
        (PlanOptions(gpu_memory_gib=8.0, device="cpu"), "--gpu-memory plans for CUDA and --device cpu does not"),
        (PlanOptions(split=Path("split.json"), folds=5), "--split and --folds exclude each other"),
    ],
)
def test_options_of_a_plan_that_exclude_each_other_are_refused(options: PlanOptions, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        options.require_compatible()


@pytest.mark.parametrize("options", [PlanOptions(), PlanOptions(gpu_memory_gib=8.0, device="cuda", folds=5)])
def test_options_of_a_plan_that_agree_are_taken(options: PlanOptions) -> None:
    options.require_compatible()
