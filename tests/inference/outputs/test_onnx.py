"""A model as ONNX: the same probabilities in another program, and nothing written where they are not."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pytest
import torch
from two_stages import FIRST, second

from autoseg.errors import ModelError
from autoseg.inference.model import Model
from autoseg.inference.outputs import onnx as onnx_output
from autoseg.inference.outputs.onnx import Probabilities, write_onnx
from autoseg.inference.stage import Stage
from autoseg.network.build import NETWORKS, build
from autoseg.network.outputs import of_classes
from autoseg.network.unet import fold_norms

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest) -> Model:
    """Two untrained networks of the small plan, of each kind."""
    plan = made.plan()
    plan = plan.model_copy(update={"network": plan.network.model_copy(update={"kind": request.param})})
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build(plan).eval()
        fold_norms(network)
        networks.append(network)
    return Model(stages=(Stage(networks=tuple(networks), plan=plan),), trained_on=frozenset())


def test_another_program_finds_the_same_probabilities_in_volumes_of_any_size(model: Model, tmp_path: Path) -> None:
    write_onnx(model, tmp_path / "m.onnx", "a card")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    for size in ((8, 8, 8), (16, 24, 8)):
        image = np.random.default_rng(0).normal(size=(2, len(model.plan.channels), *size)).astype(np.float32)
        (found,) = session.run(["probabilities"], {"image": image})
        with torch.no_grad():
            expected = Probabilities(model.stages[0].networks, model.plan.scheme)(torch.from_numpy(image)).numpy()
        assert found.shape == (2, model.plan.classes, *size)
        assert found == pytest.approx(expected, abs=1e-5)
        assert found.sum(axis=1) == pytest.approx(np.ones((2, *size)), abs=1e-5)


@pytest.mark.parametrize("region_parts", [False, True])
@pytest.mark.parametrize("regions", [((1, 2), (2,)), ((1, 2),)])
def test_regions_have_a_probability_each(
    tmp_path: Path, regions: tuple[tuple[int, ...], ...], *, region_parts: bool
) -> None:
    plan = made.plan(labels=made.plan().labels[: len(regions)], regions=regions, region_parts=region_parts)
    torch.manual_seed(0)
    network = build(plan).eval()
    fold_norms(network)
    write_onnx(Model(stages=(Stage(networks=(network,), plan=plan),), trained_on=frozenset()), tmp_path / "m.onnx", "")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(size=(1, 1, 8, 8, 8)).astype(np.float32)
    (found,) = session.run(["probabilities"], {"image": image})
    with torch.no_grad():
        logits = network(torch.from_numpy(image))
    expected = of_classes(plan.scheme, logits.softmax(1), 1) if region_parts else logits.sigmoid()
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_file_holds_the_plan_and_the_card(model: Model, tmp_path: Path) -> None:
    write_onnx(model, tmp_path / "m.onnx", "a card")
    held = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "m.onnx")).metadata_props}
    assert held["autoseg_card"] == "a card"
    assert json.loads(held["autoseg_plan"]) == model.plan.model_dump(mode="json")


def test_nothing_is_written_where_the_masks_differ(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_output, "_voxels_apart", lambda ours, theirs, scheme: 3)
    with pytest.raises(ModelError, match=r"m\.onnx: in onnxruntime the class differs in 3 voxels of a random volume"):
        write_onnx(model, tmp_path / "m.onnx", "")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two_stages() -> Model:
    """Two untrained stages."""
    stages = []
    for plan in (FIRST, second()):
        network = build(plan).eval()
        fold_norms(network)
        stages.append(Stage(networks=(network,), plan=plan))
    return Model(stages=tuple(stages), trained_on=frozenset())


def test_two_stages_are_both_written_or_both_as_they_were(
    two_stages: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (tmp_path / "m.onnx", tmp_path / "m_second.onnx")
    for file in files:
        file.write_bytes(b"earlier")
    with monkeypatch.context() as broken:
        apart = iter((0, 0, 3))  # the first stage is right
        broken.setattr(onnx_output, "_voxels_apart", lambda ours, theirs, scheme: next(apart))
        with pytest.raises(ModelError, match=r"m_second\.onnx: in onnxruntime the class differs in 3 voxels"):
            write_onnx(two_stages, files[0], "")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == dict.fromkeys(files, b"earlier")
    assert write_onnx(two_stages, files[0], "") == files
    assert all(len(file.read_bytes()) > 1000 for file in files)

    first = replace(two_stages, stages=two_stages.stages[:1])
    assert write_onnx(first, files[0], "") == files[:1]
    assert list(tmp_path.iterdir()) == [files[0]]  # no second stage of another model


@pytest.mark.parametrize("is_onnx", [False, True])
def test_a_file_with_the_name_of_a_second_stage_that_holds_none_stays(
    two_stages: Model, tmp_path: Path, is_onnx: bool
) -> None:
    first = replace(two_stages, stages=two_stages.stages[:1])
    other = tmp_path / "m_second.onnx"
    if is_onnx:
        write_onnx(first, other, "a model that is called so")
    else:
        other.write_bytes(b"no network at all")
    before = other.read_bytes()
    write_onnx(first, tmp_path / "m.onnx", "")
    assert other.read_bytes() == before


def test_voxels_apart_leave_out_ties() -> None:
    ours = np.array([[0.5, 0.2, 0.49999], [0.5, 0.8, 0.50001]], dtype=np.float32)[:, None, None]
    theirs = np.array([[0.4, 0.6, 0.6], [0.6, 0.4, 0.4]], dtype=np.float32)[:, None, None]
    assert onnx_output._voxels_apart(ours, theirs, made.scheme(2)) == 1


def test_a_missing_package_is_told_with_the_way_to_install_it(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"m\.onnx: .*pip install onnx onnxruntime"):
        write_onnx(model, tmp_path / "m.onnx", "")
