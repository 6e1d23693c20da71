"""Instance and group norm that leave big tensors as they are on CUDA: channels last, and in bfloat16."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

AXES = (2, 3, 4)


class InstanceNorm(nn.InstanceNorm3d):
    """Instance norm; torch's own first brings the image to the layout channels first, on CUDA an extra pass."""

    as_on_cuda = False  # compute as there on any device, to count its memory

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (B, C, Z, Y, X)."""
        if self.as_on_cuda or image.device.type == "cuda":
            return _normalise(image, cast(Tensor, self.weight), cast(Tensor, self.bias), self.num_features, self.eps)
        return super().forward(image)


class GroupNorm(nn.GroupNorm):
    """Group norm; under CUDA's autocast torch's own first makes the image float32, and channels first."""

    as_on_cuda = False  # compute as there on any device, to count its memory

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (B, C, Z, Y, X)."""
        if self.as_on_cuda or image.device.type == "cuda":
            return _normalise(image, self.weight, self.bias, self.num_groups, self.eps)
        return super().forward(image)


def norms_as_on_cuda(network: nn.Module) -> nn.Module:
    """Let the norms of a network compute as on CUDA, whatever its device."""
    for module in network.modules():
        if isinstance(module, InstanceNorm | GroupNorm):
            module.as_on_cuda = True
    return network


def _normalise(image: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    with torch.autocast(image.device.type, enabled=False):
        return cast(Tensor, _Normalise.apply(image, weight, bias, groups, eps))  # type: ignore[no-untyped-call]


class _Normalise(torch.autograd.Function):
    """Group norm by sums over the voxels of each channel, in float32; big tensors keep type and layout.

    With x̂ = (x - mean) / deviation of a group of channels, n its voxels, and y = w x̂ + b, the gradient is
    dx = (w dy - Σ w dy / n - x̂ Σ w dy x̂ / n) / deviation: of each channel a dy + c x + d.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        channels, voxels = image.shape[1], image[0, 0].numel()
        totals = image.sum(AXES, dtype=torch.float32)
        squares = torch.linalg.vector_norm(image, dim=AXES, dtype=torch.float32).square_()
        width = channels // groups
        mean, square = (_over_groups(t, groups) / (voxels * width) for t in (totals, squares))
        inverse = (square - mean * mean).clamp_min_(0.0).add_(eps).rsqrt_()  # of the deviation, (B, C)
        scale = inverse * weight
        out = torch.empty_like(image)
        _affine(bias - mean * scale, image, scale, out)
        ctx.save_for_backward(image, weight, mean, inverse)
        ctx.groups = groups
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, weight, mean, inverse = ctx.saved_tensors
        (back,) = gradients
        # Σ dy and Σ dy x̂ of each channel, in one pass over both
        sums = [
            torch.ops.aten.native_batch_norm_backward(
                back[b : b + 1], image[b : b + 1], weight, None, None, mean[b], inverse[b], True, 0.0, _SUMS_ONLY
            )[1:]
            for b in range(len(image))
        ]
        along, plain = (torch.stack(part) for part in zip(*sums, strict=True))
        n = image[0, 0].numel() * (image.shape[1] // ctx.groups)
        slope = _over_groups(weight * along, ctx.groups) * inverse * inverse / -n
        shift = _over_groups(weight * plain, ctx.groups) * inverse / -n - slope * mean
        out = torch.empty_like(image)
        _affine(shift, image, slope, out)
        _affine(out, back, inverse * weight, out)
        return out, along.sum(0), plain.sum(0), None, None


_SUMS_ONLY = [False, True, True]


def _over_groups(values: Tensor, groups: int) -> Tensor:
    """Return for each channel the sum over its group, (B, C)."""
    if values.shape[1] == groups:
        return values
    grouped = values.reshape(len(values), groups, -1)
    return grouped.sum(2, keepdim=True).expand_as(grouped).flatten(1)


def _affine(shift: Tensor, image: Tensor, scale: Tensor, out: Tensor) -> None:
    """Write shift + scale × image; what is (B, C) is that of each channel, in float32 whatever the image's type."""
    scale = scale[:, :, None, None, None]
    shift = shift if shift.dim() == image.dim() else shift[:, :, None, None, None]
    torch.addcmul(shift, image, scale, out=out)
