"""Tests of autoseg.cli.parameters: which flags a verb has, and what its function gets."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.testing import CliRunner

from autoseg.cli.parameters import with_options, without
from autoseg.options import EvaluateOptions, PlanOptions, TrainOptions

Planning = Annotated[PlanOptions, without("--gpus", "--time-budget")]
SLACK = EvaluateOptions(tolerance_mm=3.0)


def call(*arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Return the flags of a verb that takes the options of three, and what it is called with."""
    got: dict[str, Any] = {}

    def command(name: str, planning: Planning, training: TrainOptions, evaluation: EvaluateOptions = SLACK) -> None:
        got.update(name=name, planning=planning, training=training, evaluation=evaluation)

    command.__annotations__ |= {"name": str, "planning": Planning, "training": TrainOptions}
    command.__annotations__ |= {"evaluation": EvaluateOptions}
    app = typer.Typer()
    app.command()(with_options(command))
    result = CliRunner().invoke(app, ["x", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [one.opts[-1] for one in typer.main.get_command(app).params if one.opts[-1] != "name"], got


def test_a_flag_that_several_have_is_asked_once_and_reaches_all() -> None:
    flags, got = call("--device", "cpu")
    assert flags.count("--device") == 1
    assert (got["planning"].device, got["training"].device, got["evaluation"].device) == ("cpu", "cpu", "cpu")


def test_the_order_is_that_of_the_dataclasses_and_what_is_left_to_another_stands_there() -> None:
    flags, _ = call()
    assert flags.index("--preset") < flags.index("--force") < flags.index("--fold") < flags.index("--time-budget")
    assert flags.index("--time-budget") < flags.index("--gpus") < flags.index("--tolerance")


def test_what_is_left_to_another_keeps_its_default() -> None:
    _, got = call("--gpus", "4", "--time-budget", "10m")
    assert (got["planning"].gpus, got["training"].gpus) == (1, 4)
    assert (got["planning"].time_budget_s, got["training"].time_budget_s) == (None, 600.0)


def test_a_default_of_the_parameter_gives_the_options_theirs() -> None:
    assert call()[1]["evaluation"] == SLACK
    assert call("--tolerance", "1")[1]["evaluation"].tolerance_mm == 1.0
