"""Tests of autoseg.network.build: what every network must do, and names that are not known."""

from __future__ import annotations

import json
from pathlib import Path

import made
import pytest
import torch
from torch import nn

from autoseg.errors import PlanError
from autoseg.network import memory
from autoseg.network.build import NETWORKS, build, plan_of
from autoseg.network.losses import segmentation_loss
from autoseg.network.memory import is_indexable, training_bytes
from autoseg.network.unet import fold_norms
from autoseg.network.weights import load_networks, save_model
from autoseg.plan import Level, NetworkPlan, Plan
from autoseg.planning.budget import Budget, step_gib
from autoseg.planning.fit import apply_settings
from autoseg.planning.planner import Decision
from autoseg.planning.presets import preset_plan
from autoseg.planning.recipe import grid_of
from autoseg.run import Run

FLAT = (
    Level(features=(4, 4), kernel=(1, 3, 3)),
    Level(features=(4, 8), pooling=(1, 2, 2)),
    Level(features=(8, 8), pooling=(2, 2, 2)),
)
FINGERPRINT = made.fingerprint((64, 64, 64), (1.0, 1.0, 1.0), labels=2)
each_network = pytest.mark.parametrize("kind", NETWORKS)


def plan_with(kind: str, norm: str = "batch", **changes: object) -> Plan:
    network = NetworkPlan.model_validate({"kind": kind, "stages": FLAT, "norm": norm})
    return made.plan(network=network, crop_size=(8, 16, 16), **changes)


@each_network
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_every_voxel_gets_a_logit_for_each_class_and_every_parameter_a_gradient(kind: str, norm: str) -> None:
    network = build(plan_with(kind, norm))
    logits = network(torch.randn(2, 1, 4, 8, 12))
    assert logits.shape == (2, 3, 4, 8, 12)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@each_network
@pytest.mark.parametrize("bfloat16", [False, True])
def test_counted_memory_is_what_a_real_step_holds_at_its_peak(kind: str, bfloat16: bool) -> None:
    plan = plan_with(kind, batch_size=8)
    ledger = memory._Ledger()
    with ledger:
        network = build(plan)
        kept = [[torch.empty_like(p) for p in network.parameters()] for _ in range(3)]
        image, truth = torch.zeros(8, 1, *plan.crop_size), torch.zeros(8, *plan.crop_size, dtype=torch.int64)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        loss = segmentation_loss(logits, truth, plan.loss, None)
        kept.pop()
        loss.backward()
    assert training_bytes(plan, bfloat16) == pytest.approx(ledger.peak, rel=0.02)


@each_network
def test_folded_norms_compute_the_same(kind: str) -> None:
    torch.manual_seed(0)
    network = build(plan_with(kind))
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm3d)):
            norm.weight.uniform_(0.5, 1.5)  # not those of a new norm
            norm.bias.uniform_(-0.5, 0.5)
        for _ in range(3):
            network(torch.randn(2, 1, 4, 8, 8) * 3 + 1)
        network.eval()
        image = torch.randn(1, 1, 4, 8, 8)
        expected = network(image)
        fold_norms(network)
        assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
        torch.testing.assert_close(network(image), expected, atol=1e-4, rtol=1e-4)


def test_a_file_without_a_kind_of_network_is_a_u_net() -> None:
    tree = json.loads(made.plan().model_dump_json())
    assert tree["network"].pop("kind") == "unet"
    assert Plan.model_validate(tree) == made.plan()


UNKNOWN = [
    ("loss.kind", "focal", "loss.kind: input should be 'dice' or 'dice-ce', got 'focal'; "),
    ("network.kind", "resnet", f"network.kind: input should be {' or '.join(map(repr, NETWORKS))}, got 'resnet'; "),
]


@pytest.mark.parametrize(("key", "kind", "message"), UNKNOWN)
def test_a_kind_that_is_not_known_is_refused_with_those_that_are(
    tmp_path: Path, key: str, kind: str, message: str
) -> None:
    part, _, name = key.partition(".")
    tree = json.loads(made.plan().model_dump_json())
    tree[part][name] = kind
    (tmp_path / "plan.json").write_text(json.dumps(tree))
    budget = Budget(device="cpu", memory_gib=8.0, bfloat16=False)
    plan = made.plan()
    decision = Decision(plan=plan, grids=(grid_of(plan, FINGERPRINT),), chosen=None, step_gib=step_gib(plan, budget))
    save_model(tmp_path / "m", Plan.model_validate(tree), build(plan).state_dict(), {})
    attempts = {
        f"--set {key}={kind}: {message}write KEY=VALUE": lambda: apply_settings(
            decision, FINGERPRINT, budget, {key: kind}
        ),
        f"--preset p.json: {message}correct the file": lambda: preset_plan(
            FINGERPRINT, "cpu", tree, 0, "--preset p.json"
        ),
        f"{tmp_path}/plan.json: {message}correct the file": lambda: plan_of(Run(tmp_path)),
        f"{tmp_path}/m: {message}correct the file": lambda: load_networks(tmp_path / "m", "cpu"),
    }
    for expected, attempt in attempts.items():
        with pytest.raises(PlanError) as caught:
            attempt()
        assert str(caught.value).startswith(expected)
        assert "\n" not in str(caught.value)


def test_crops_stay_below_what_32_bits_count_on_a_gpu() -> None:
    stages = (Level(features=(32, 32)), Level(features=(64, 64), pooling=(2, 2, 2)))
    plan = made.plan(network=NetworkPlan(stages=stages, up="skip"), device="cuda")
    assert is_indexable(plan, 1, (320, 320, 320))  # 64 × 320³ = 2.10e9 numbers, below 2³¹ = 2.15e9
    assert not is_indexable(plan, 1, (320, 320, 352))
    assert not is_indexable(plan, 3, (320, 320, 320))  # 3 × 32 × 320³ are pooled
    assert is_indexable(plan.model_copy(update={"device": "cpu"}), 3, (320, 320, 320))
