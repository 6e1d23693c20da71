"""Tests of autoseg.network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

import made
import pytest
import torch
from torch import Tensor, nn

from autoseg.errors import PlanError
from autoseg.network import memory
from autoseg.network.device import Precision, autocast, pick_device
from autoseg.network.losses import segmentation_loss
from autoseg.network.memory import tile_bytes, training_bytes
from autoseg.network.residual import residual_unet
from autoseg.network.unet import Convolution, UNet3D, fold_norms, leave_out_biases, parameter_count
from autoseg.plan import Level, NetworkPlan, OptimiserPlan
from autoseg.planning.budget import Budget, step_gib

TINY = made.plan().network
FLAT = NetworkPlan(
    stages=(
        Level(features=(2, 4), kernel=(1, 3, 3)),
        Level(features=(4, 4), pooling=(1, 2, 2)),
        Level(features=(4, 6), pooling=(2, 2, 2)),
    )
)


@pytest.mark.parametrize(
    ("network", "size"), [(TINY, (8, 8, 8)), (TINY, (2, 4, 10)), (FLAT, (2, 4, 8)), (FLAT, (6, 12, 4))]
)
@pytest.mark.parametrize("up", ["keep", "skip"])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_every_voxel_gets_a_logit_for_each_class(
    network: NetworkPlan, size: tuple[int, int, int], up: str, norm: str
) -> None:
    plan = NetworkPlan.model_validate(network.model_dump() | {"up": up, "norm": norm})
    logits = UNet3D(2, 5, plan)(torch.randn(3, 2, *size))
    assert logits.shape == (3, 5, *size)
    assert torch.isfinite(logits).all()


def test_parameters_are_those_counted_by_hand() -> None:
    plan = NetworkPlan(stages=(Level(features=(2, 3)), Level(features=(4, 5))))
    down = (1 * 27 * 2 + 2 + 4) + (2 * 27 * 3 + 3 + 6) + (3 * 27 * 4 + 4 + 8) + (4 * 27 * 5 + 5 + 10)
    up = 5 * 8 * 5 + 5  # the transposed convolution keeps its width
    across = ((5 + 3) * 27 * 3 + 3 + 6) + (3 * 27 * 3 + 3 + 6)
    classify = 3 * 2 + 2
    assert parameter_count(UNet3D(1, 2, plan)) == down + up + across + classify


def test_up_to_the_width_of_the_skip_is_a_smaller_network() -> None:
    keep, skip = (UNet3D(1, 2, TINY.model_copy(update={"up": up})) for up in ("keep", "skip"))
    assert parameter_count(keep) - parameter_count(skip) == (8 * 8 + 1) * 4 + 4 * 27 * 4  # 8 -> 4 wide, TINY skip 4


def test_prediction_does_not_depend_on_what_else_is_in_the_batch() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, TINY).eval()
    image = torch.randn(2, 1, 8, 8, 8)
    together = network(image)
    assert torch.equal(together, network(image))
    torch.testing.assert_close(network(image[:1]), together[:1])


def test_the_skip_carries_detail_that_pooling_loses() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 2, TINY).eval()
    image = torch.randn(1, 1, 4, 4, 4)
    swapped = image[..., [1, 0, 3, 2]]  # the same two voxels in each pooled block
    assert not torch.allclose(network(image), network(swapped)[..., [1, 0, 3, 2]], atol=1e-3)


def test_every_parameter_gets_a_gradient() -> None:
    network = UNet3D(1, 3, FLAT)
    network(torch.randn(2, 1, 4, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gradients_of_thin_volumes_are_right_in_bfloat16_too(depth: int) -> None:
    torch.manual_seed(0)
    convolution, image = Convolution(16, 16, (3, 3, 3), padding=1), torch.randn(2, 16, depth, 4, 4)
    gradients = []
    for bfloat16 in (False, True):
        convolution.zero_grad()
        rubbish = [torch.full((2**n,), math.nan) for n in range(10, 20)]  # in memory that is then reused
        del rubbish
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            convolution(image).float().square().sum().backward()
        assert convolution.weight.grad is not None
        gradients.append(convolution.weight.grad.clone())
    assert torch.allclose(*gradients, atol=0.02 * float(gradients[0].abs().max()))


@pytest.mark.parametrize("axis", [0, 2])
def test_a_single_slice_is_convolved_in_2d_in_bfloat16_with_the_gradients_of_3d(axis: int) -> None:
    kernel, shape = ((1, 3, 3), (1, 16, 16)) if axis == 0 else ((3, 3, 1), (16, 16, 1))
    layer = Convolution(4, 8, kernel, padding=(kernel[0] // 2, 1, kernel[2] // 2))
    image = torch.randn(2, 4, *shape, generator=torch.Generator().manual_seed(0))
    layer(image).square().sum().backward()
    in_3d, outputs = cast(Tensor, layer.weight.grad).clone(), layer(image)
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        in_2d = layer(image)
    in_2d.float().square().sum().backward()
    assert torch.allclose(in_2d.float(), outputs, atol=0.03)
    assert torch.allclose(cast(Tensor, layer.weight.grad), in_3d, rtol=0.05, atol=0.02 * float(in_3d.abs().max()))


def test_memory_grows_with_crop_and_batch() -> None:
    small = training_bytes(made.plan(), bfloat16=False)
    larger_crop = training_bytes(made.plan(crop_size=(16, 16, 16)), bfloat16=False)
    larger_batch = training_bytes(made.plan(batch_size=16), bfloat16=False)
    fixed = 16 * parameter_count(UNet3D(1, 3, TINY))  # value, gradient, two moments
    assert larger_crop == larger_batch  # eight times the voxels, either way
    assert larger_batch - fixed == pytest.approx(8 * (small - fixed), rel=0.05)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_counted_memory_is_what_a_step_on_real_tensors_holds_at_its_peak(bfloat16: bool) -> None:
    plan = made.plan(crop_size=(16, 16, 16), batch_size=3)
    ledger = memory._Ledger()
    with ledger:  # the same count, but of storages that exist
        network = UNet3D(1, 3, TINY)
        kept = [[torch.empty_like(p) for p in network.parameters()] for _ in range(3)]
        image, truth = torch.zeros(3, 1, 16, 16, 16), torch.zeros(3, 16, 16, 16, dtype=torch.int64)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            logits = network(image)
        loss = segmentation_loss(logits, truth, plan.loss, None)
        kept.pop()
        loss.backward()
    assert training_bytes(plan, bfloat16) == pytest.approx(ledger.peak, rel=0.02)


def test_memory_of_a_tile_by_hand() -> None:
    plan = made.plan()
    voxels = 8 * 8 * 8
    image, logits = 4 * voxels, 4 * 3 * voxels  # float32
    assert tile_bytes(plan, (8, 8, 8), False) >= image + 2 * logits
    larger = tile_bytes(plan, (64, 8, 8), False)
    weights = 4 * parameter_count(UNet3D(1, 3, TINY))
    assert larger - weights == pytest.approx(8 * (tile_bytes(plan, (8, 8, 8), False) - weights), rel=0.05)
    assert larger < training_bytes(made.plan(crop_size=(64, 8, 8), batch_size=1), False)


def test_bfloat16_needs_less_memory_and_averaged_weights_need_four_bytes_each() -> None:
    plan = made.plan(crop_size=(16, 16, 16))
    averaged = made.plan(
        crop_size=(16, 16, 16), optimiser=OptimiserPlan(name="adam", schedule="constant", averaging=0.9)
    )
    whole = training_bytes(plan, bfloat16=False)
    assert training_bytes(plan, bfloat16=True) < whole
    assert training_bytes(averaged, bfloat16=False) - whole == 4 * parameter_count(UNet3D(1, 3, TINY))


def test_memory_is_at_least_what_autograd_keeps_of_a_real_step() -> None:
    plan = made.plan(crop_size=(16, 16, 16))
    kept: dict[int, int] = {}
    alive = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network = UNet3D(1, 3, TINY)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        network(torch.randn(2, 1, 16, 16, 16))
    assert sum(kept.values()) < training_bytes(plan, bfloat16=False) < 3 * sum(kept.values())


def test_counting_memory_leaves_the_random_stream_as_it_was() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    training_bytes(made.plan(), bfloat16=False)
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_device_lists_those_that_are_there() -> None:
    assert pick_device("cpu") == "cpu"
    with pytest.raises(PlanError, match=r"--device tpu: this machine has no such device; it has: .*cpu"):
        pick_device("tpu")


def test_folded_norms_compute_the_same() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, NetworkPlan(stages=(Level(features=(4, 4)), Level(features=(4, 8)))))
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 1, 8, 8, 8) * 3 + 1)  # statistics that are not those of a new norm
        network.eval()
        image = torch.randn(1, 1, 8, 8, 8)
        expected = network(image)
        fold_norms(network)
        assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm3d)]
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("precision", "expected"), [("float32", False), ("bfloat16", True)])
def test_the_plan_decides_the_precision(precision: Precision, expected: bool) -> None:
    layer = nn.Linear(2, 2)
    with autocast("cpu", precision):
        assert (layer(torch.ones(1, 2)).dtype == torch.bfloat16) == expected
    memory_of_both = {p: step_gib(made.plan(precision=p), BUDGET) for p in ("float32", "bfloat16")}
    assert memory_of_both["float32"] > memory_of_both["bfloat16"]


BUDGET = Budget(device="cuda", memory_gib=8.0, bfloat16=True)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("up", ["keep", "skip"])
@pytest.mark.parametrize("depth", [2, 10, 34])
def test_inference_mode_changes_memory_but_no_number(memory_format: torch.memory_format, up: str, depth: int) -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 3, TINY.model_copy(update={"up": up})).eval().to(memory_format=memory_format)  # type: ignore[call-overload]
    image = torch.randn(2, 1, depth, 8, 6).to(memory_format=memory_format)
    with torch.no_grad():
        usual = network(image)
    with torch.inference_mode():
        frugal = network(image)
    torch.testing.assert_close(frugal, usual, rtol=1e-6, atol=1e-6)


def test_in_inference_mode_no_level_is_there_twice() -> None:
    plan = NetworkPlan(stages=(Level(features=(8, 8)), Level(features=(8, 16))))
    level = 4 * 16 * 4096  # bytes of 16 channels, float32; joined they are 24, 16 from below and 8 across

    def peak(mode: AbstractContextManager[object]) -> int:
        def predict() -> None:
            with mode:
                UNet3D(1, 2, plan).eval()(torch.empty(1, 1, 16, 16, 16))

        return memory._peak_bytes(predict)

    assert peak(torch.no_grad()) - peak(torch.inference_mode()) >= level // 2


@pytest.mark.parametrize("kind", [UNet3D, residual_unet])
@pytest.mark.parametrize(("norm", "takes_out"), [("batch", True), ("instance", True), ("group", False)])
def test_biases_that_a_norm_takes_out_can_be_left_out(kind: Callable[..., UNet3D], norm: str, takes_out: bool) -> None:
    torch.manual_seed(0)
    network = kind(1, 3, NetworkPlan.model_validate(TINY.model_dump() | {"norm": norm}))
    for name, values in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("bias") or "running" in name:
            nn.init.uniform_(values, 0.5, 1.5)
    image = torch.randn(2, 1, 8, 8, 8)
    expected = network.eval()(image), copy.deepcopy(network).train()(image)
    biases = [m.bias for m in network.modules() if isinstance(m, Convolution) and m is not network.classify]
    count = parameter_count(network)
    leave_out_biases(network)
    leave_out_biases(network)  # a second time there is nothing to do
    folded = copy.deepcopy(network)
    fold_norms(folded)
    outputs = network.eval()(image), network.train()(image), folded(image)
    for output, before in zip(outputs, (*expected, expected[0]), strict=True):
        torch.testing.assert_close(output, before, rtol=1e-4, atol=1e-4)
    network(image).sum().backward()
    assert all((b.grad is None) == takes_out for b in biases)
    assert all((not b.any()) == takes_out for b in biases)
    assert parameter_count(network) == count
