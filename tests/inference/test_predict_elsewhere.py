"""Predicting where workers are: what a worker could not do leaves what was there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made
import numpy as np
import pandas as pd
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
from autoseg.pool import Crew, Track, call_each, untracked


def at_once(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(call_each(function, items))
    return future


@dataclass(frozen=True)
class Place:
    """A model, two scans, and where their masks go."""

    folder: Path
    watch: Stopwatch

    @property
    def scans(self) -> Path:
        return self.folder / "scans"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def predict(self, track: Track = untracked) -> int:
        file = self.folder / "model.autoseg"
        jobs, statistics = list_inputs(self.scans, self.out, 1), Statistics(self.out / NAME)
        crew = Crew(submit=at_once, width=lambda: 1, examine=lambda: None)
        model, how = open_model(file, "cpu"), InferenceOptions()
        return predict_elsewhere(crew, file, model, jobs, statistics, how, Outputs(), track, watch=self.watch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    torch.manual_seed(0)
    plan = made.plan(tile_depth=None, spacing_mm=(2.0, 2.0, 2.0))
    place = Place(tmp_path, Stopwatch())
    save_model(tmp_path / "model.autoseg", plan, build(plan).state_dict(), {})
    grid = Grid(shape=(12, 12, 12), spacing_mm=(2.0, 2.0, 2.0))
    for seed, name in enumerate("ab"):
        image = np.random.default_rng(seed).integers(0, 99, grid.shape, np.int16)
        write_array(place.scans / f"{name}.nii.gz", image, grid)
    return place


def test_an_image_that_fails_keeps_the_rows_of_its_old_mask(place: Place) -> None:
    assert place.predict() == 2
    assert all(place.watch.seconds[phase] > 0 for phase in PHASES)
    assert place.watch.workers_gib > 0
    rows = (place.out / NAME).read_bytes()
    assert place.predict() == 0
    (place.scans / "a.nii.gz").write_bytes(b"damaged")
    with pytest.raises(CasesFailedError, match=r"a\.nii\.gz"):
        place.predict()
    assert (place.out / NAME).read_bytes() == rows


def test_a_mask_that_another_process_replaces_meanwhile_is_not_taken_for_its_own(place: Place) -> None:
    def replacing(tasks: Iterable[Any], *_: object) -> Iterator[Any]:
        for name, result in tasks:
            if name == "a":
                (place.out / "a.nii.gz").write_bytes(b"of another process")
            yield name, result

    with pytest.raises(CasesFailedError, match=r"a\.nii\.gz: was replaced or removed by another process meanwhile"):
        place.predict(replacing)
    assert set(pd.read_csv(place.out / NAME)["case"]) == {"b"}
    assert place.predict() == 1


def test_what_workers_measured_is_summed_and_their_memory_is_the_largest() -> None:
    whole, first, second = Stopwatch(), Stopwatch(), Stopwatch()
    first.seconds["network"], first.by_stage, first.workers_gib = 2.0, [1.5, 0.5], 3.0
    second.seconds["network"], second.by_stage, second.workers_gib = 1.0, [0.75, 0.25], 2.0
    for one in (first, second, Stopwatch()):
        whole.add(one)
    assert whole.seconds["network"] == 3.0
    assert whole.by_stage == [2.25, 0.75]
    assert whole.workers_gib == 3.0
