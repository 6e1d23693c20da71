"""Predicting where workers are: what a worker could not do leaves what was there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
import torch

from autoseg.errors import CasesFailedError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
from autoseg.inference.cost import PHASES, Stopwatch
from autoseg.inference.inputs import list_inputs
from autoseg.inference.opening import open_model
from autoseg.inference.outputs.write import Outputs
from autoseg.inference.predict_elsewhere import predict_elsewhere
from autoseg.inference.stage import InferenceOptions
from autoseg.inference.statistics import NAME, Statistics
from autoseg.network.build import build
from autoseg.network.weights import save_model
from autoseg.pool import Crew, call_each


def at_once(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(call_each(function, items))
    return future


def test_an_image_that_fails_keeps_the_rows_of_its_old_mask(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plan = made.plan(tile_depth=None, spacing_mm=(2.0, 2.0, 2.0))
    file, scans, out = tmp_path / "model.autoseg", tmp_path / "scans", tmp_path / "out"
    save_model(file, plan, build(plan).state_dict(), {})
    model = open_model(file, "cpu")
    grid = Grid(shape=(12, 12, 12), spacing_mm=(2.0, 2.0, 2.0))
    for seed, name in enumerate("ab"):
        write_array(scans / f"{name}.nii.gz", np.random.default_rng(seed).integers(0, 99, grid.shape, np.int16), grid)
    crew = Crew(submit=at_once, width=lambda: 1, examine=lambda: None)

    def predict() -> int:
        jobs = list_inputs(scans, out, 1)
        statistics = Statistics(out / NAME)
        return predict_elsewhere(crew, file, model, jobs, statistics, InferenceOptions(), Outputs(), watch=watch)

    watch = Stopwatch()
    assert predict() == 2
    assert all(watch.seconds[phase] > 0 for phase in PHASES)
    assert watch.workers_gib > 0
    rows = (out / NAME).read_bytes()
    assert predict() == 0
    (scans / "a.nii.gz").write_bytes(b"damaged")
    with pytest.raises(CasesFailedError, match=r"a\.nii\.gz"):
        predict()
    assert (out / NAME).read_bytes() == rows


def test_what_workers_measured_is_summed_and_their_memory_is_the_largest() -> None:
    whole, first, second = Stopwatch(), Stopwatch(), Stopwatch()
    first.seconds["network"], first.by_stage, first.workers_gib = 2.0, [1.5, 0.5], 3.0
    second.seconds["network"], second.by_stage, second.workers_gib = 1.0, [0.75, 0.25], 2.0
    for one in (first, second, Stopwatch()):
        whole.add(one)
    assert whole.seconds["network"] == 3.0
    assert whole.by_stage == [2.25, 0.75]
    assert whole.workers_gib == 3.0
