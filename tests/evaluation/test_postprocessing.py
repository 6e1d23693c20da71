"""Tests of autoseg.evaluation.postprocessing: what validation cases teach is stored in the model and used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import made
import numpy as np
import pytest
import torch

from autoseg.data.cache import CachedCase
from autoseg.dataset.load import Case
from autoseg.evaluation import postprocessing
from autoseg.evaluation.postprocessing import determine_postprocessing, store_postprocessing
from autoseg.imaging.volumes import write_array
from autoseg.inference.calibration import Calibration
from autoseg.inference.model import Model
from autoseg.inference.opening import open_model
from autoseg.inference.postprocess import PostprocessRule
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.inference.stage import Stage
from autoseg.inference.upsample import Upsampler
from autoseg.network.build import build
from autoseg.network.weights import load_networks, save_model

PLAN = made.plan(tile_depth=None)


def crumbly(image: np.ndarray, full: tuple[int, int, int]) -> Upsampler:
    """Predict the truth of `made.two_blocks` with crumbs of class 1 in a corner."""
    _, label = made.two_blocks(full)
    label[-1, -1, -2:] = 1
    upsampler = Upsampler(PLAN.scheme, full, full)
    certain = torch.nn.functional.one_hot(torch.from_numpy(label).long(), 3).permute(3, 0, 1, 2).float()
    sure = 0.6 + 0.3 * float(np.abs(image).mean() % 0.01) / 0.01  # each case's network is sure to another degree
    upsampler.add(sure * certain + (1 - sure) / 3)
    return upsampler


def source_of(case_id: str, label: Path) -> Case:
    return Case(id=case_id, images=(), label=label, patient=case_id)


def test_the_clean_up_that_helps_and_the_line_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = made.easy_cases(tmp_path / "cache", 5)
    dataset = {case.id: source_of(case.id, tmp_path / f"{case.id}.nii.gz") for case in cases}
    for case in cases:
        write_array(dataset[case.id].label, np.asarray(case.label()), case.stored)
    model = Model(stages=(Stage(networks=(), plan=PLAN),), trained_on=frozenset())
    monkeypatch.setattr(Model, "infer", lambda self, image, full, original: crumbly((image,), full))
    found = determine_postprocessing(model, cases, dataset, None)
    assert [(rule.label, rule.largest) for rule in found.cleanup] == [(1, True)]
    assert found.cleanup[0].gain > 0.0005
    assert found.calibration.scatter == pytest.approx(0.0, abs=1e-6)  # all reach a Dice of 1, however sure they are
    assert found.calibration.expected(0.7) == pytest.approx(1.0, abs=1e-6)
    del dataset["case0"]  # its label is gone: the others still teach
    assert determine_postprocessing(model, cases, dataset, None).cleanup


def test_what_was_learnt_is_stored_beside_the_weights_and_used(tmp_path: Path) -> None:
    network = build(PLAN)
    save_model(tmp_path / "m", PLAN, network.state_dict(), {"iteration": 3, "trained_on": ["a"]})
    before = open_model(tmp_path / "m", "cpu").digest
    learnt = Postprocessing(
        cleanup=(PostprocessRule(label=2, holes=True, gain=0.01),),
        calibration=Calibration(slope=0.5, intercept=0.4, scatter=0.02),
        fingerprint=made.fingerprint((9, 9, 9), (1, 1, 1)),
    )
    store_postprocessing(tmp_path / "m", learnt)
    model = open_model(tmp_path / "m", "cpu")
    assert model.postprocessing == learnt
    assert model.digest != before
    (loaded,), _, facts = load_networks(tmp_path / "m", "cpu")
    assert facts["iteration"] == 3
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor)


def test_it_is_learnt_once_and_again_when_a_label_map_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, file, label = made.easy_cases(tmp_path / "cache", 2), tmp_path / "m", tmp_path / "label.nii.gz"
    label.write_bytes(b"label")
    save_model(file, PLAN, build(PLAN).state_dict(), {"iteration": 3, "trained_on": ["a"]})
    learnt, dataset = list[int](), {"case0": source_of("case0", label)}

    def learn(_: Model, cases: Sequence[CachedCase], *__: object) -> Postprocessing:
        learnt.append(len(cases))
        return Postprocessing(cleanup=(PostprocessRule(label=2, holes=True, gain=0.01),))

    monkeypatch.setattr(postprocessing, "determine_postprocessing", learn)
    for count in (1, 1):
        model = postprocessing.with_postprocessing(file, open_model(file, "cpu"), cases, dataset, None)
        assert model.postprocessing.cleanup[0].label == 2
        assert len(learnt) == count
    label.write_bytes(b"another label")
    again = postprocessing.with_postprocessing(file, open_model(file, "cpu"), cases, dataset, None)
    assert len(learnt) == 2
    assert open_model(file, "cpu").postprocessing == again.postprocessing
