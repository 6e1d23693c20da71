"""Tests of autoseg.network.norms: what CUDA computes is what torch's own norms compute in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from autoseg.network.norms import GroupNorm, InstanceNorm, norms_as_on_cuda

NORMS: dict[str, nn.Module] = {
    "instance": InstanceNorm(16, affine=True),
    "two groups": GroupNorm(2, 16),
    "one group": GroupNorm(1, 16),
}
SHAPE = (3, 16, 5, 6, 7)


def last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("name", NORMS)
def test_values_and_gradients_are_those_of_torch_in_double_precision(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    spread, middle = torch.rand(16) * 3 + 0.5, torch.randn(16) * 2
    image = last((torch.randn(SHAPE) * spread[:, None, None, None] + middle[:, None, None, None]).to(dtype))
    back = last(torch.randn(SHAPE).to(dtype))
    norm = copy.deepcopy(NORMS[name])
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)  # type: ignore[operator, union-attr]
        norm.bias.uniform_(-1, 1)  # type: ignore[operator, union-attr]
    exact = copy.deepcopy(norm).double()
    results = []
    for module, tensor, gradient in (
        (norms_as_on_cuda(norm), image.clone().requires_grad_(), back),
        (exact, image.double().requires_grad_(), back.double()),
    ):
        out = module(tensor)
        out.backward(gradient)
        results.append([out, tensor.grad, *(p.grad for p in module.parameters())])
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own.double(), expected, atol=tolerance, rtol=tolerance)
    assert results[0][0].dtype == results[0][1].dtype == dtype
    assert results[0][0].stride() == results[0][1].stride() == image.stride()


@pytest.mark.parametrize("name", NORMS)
def test_a_cpu_keeps_torchs_own_operation_and_its_bits(name: str) -> None:
    norm = NORMS[name]
    parent = type(norm).__mro__[1]
    image = torch.randn(SHAPE)
    assert torch.equal(norm(image), parent.forward(norm, image))


def test_an_even_image_has_no_infinite_gradient() -> None:
    norm = norms_as_on_cuda(InstanceNorm(2, affine=True))
    image = torch.full((1, 2, 4, 4, 4), 1e3, requires_grad=True)
    norm(image).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
