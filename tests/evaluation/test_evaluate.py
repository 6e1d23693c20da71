"""Tests of autoseg.evaluation.evaluate: which models belong to a plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from two_stages import FIRST, second

from autoseg.dataset.split import Split
from autoseg.errors import ModelError
from autoseg.evaluation import evaluate
from autoseg.inference.model import Model
from autoseg.inference.stage import Stage
from autoseg.plan import Plan
from autoseg.run import Run

SPLIT = Split(training=("a",), validation=(), testing=("b",))


def model_of(*plans: Plan) -> Model:
    return Model(stages=tuple(Stage(networks=(), plan=plan) for plan in plans), trained_on=frozenset("a"))


@pytest.mark.parametrize(
    ("trained", "culprit"),
    [
        ((FIRST, second(downsampling=(2, 2, 2))), "stage-1/fold-0"),
        ((FIRST.model_copy(update={"downsampling": (2.0, 2.0, 2.0)}), second()), "RUN/fold-0"),
    ],
)
def test_a_stage_that_was_trained_under_another_plan_is_refused_by_its_name(
    tmp_path: Path, trained: tuple[Plan, Plan], culprit: str
) -> None:
    run = Run(tmp_path / "RUN")
    run.folder.mkdir()
    run.plan_file.write_text(FIRST.model_copy(update={"finer": second()}).model_dump_json(), encoding="utf-8")
    evaluate.require_fitting(run, 0, model_of(FIRST, second(margin_mm=9.0)), SPLIT)  # as it was measured
    with pytest.raises(ModelError, match=rf"{culprit}/model\.autoseg: was trained under another plan; remove"):
        evaluate.require_fitting(run, 0, model_of(*trained), SPLIT)
