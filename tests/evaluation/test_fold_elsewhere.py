"""Tests of autoseg.evaluation.fold_elsewhere: where workers compute, and that each opens the model that is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import pytest
import torch

from autoseg.errors import ModelError
from autoseg.evaluation.fold_elsewhere import determine_elsewhere, fold_for, runs_of
from autoseg.evaluation.postprocessing import determine_postprocessing
from autoseg.inference.model import Model
from autoseg.inference.opening import open_fold
from autoseg.network.build import build
from autoseg.network.weights import save_model
from autoseg.pool import Backend, Crew, call_each
from autoseg.run import Run


def at_once(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(call_each(function, items))
    return future


CREW = Crew(submit=at_once, width=lambda: 1, examine=lambda: None)


def fold_of(run: Run, precision: str = "auto") -> Model:
    torch.manual_seed(0)
    plan = made.plan(precision=precision)
    run.fold(0).folder.mkdir(parents=True)
    save_model(run.fold(0).model, plan, build(plan).state_dict(), {})
    return open_fold(run, 0, "cpu")


@pytest.mark.parametrize(
    ("precision", "is_fast", "bfloat16"),
    [("auto", True, True), ("auto", False, False), ("float32", True, False), ("bfloat16", False, True)],
)
def test_a_model_runs_where_the_workers_are_in_the_precision_that_pays_there(
    precision: str, is_fast: bool, bfloat16: bool, tmp_path: Path
) -> None:
    model = fold_of(Run(tmp_path), precision)
    assert runs_of(model, None) == runs_of(model, CREW) == model.runs
    crew = replace(CREW, backend=Backend("cuda", is_fast))
    assert runs_of(model, crew) == (("cuda", bfloat16),)
    assert fold_for(crew, Run(tmp_path), 0, model).device == "cuda"


def test_a_worker_learns_the_same_after_the_network_and_only_from_the_model_that_is_meant(tmp_path: Path) -> None:
    run, cases = Run(tmp_path), made.easy_cases(tmp_path / "cache", 2)
    model = fold_of(run)
    fold = fold_for(CREW, run, 0, model)
    assert fold.device == "cpu"
    learnt = determine_elsewhere(CREW, fold, cases, {}, None)
    assert learnt == determine_postprocessing(model, cases, {}, None)
    with pytest.raises(ModelError, match=r"model\.autoseg: its postprocessing cannot be fitted: .* another model here"):
        determine_elsewhere(CREW, replace(fold, digest="of an older file"), cases, {}, None)
