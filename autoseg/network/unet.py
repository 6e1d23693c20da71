"""The 3D U-Net of Çiçek et al. 2016 with zero padding, as in Roth et al. 2018, Fig. 3."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from autoseg.network.norms import GroupNorm, InstanceNorm
from autoseg.plan import Level, NetworkPlan

Encode = Callable[[int, int, NetworkPlan], nn.Module]  # of input channels, number of the level from 0, and the plan
LEAK = 0.01  # slope of the leaky ReLU
GROUP_CHANNELS = 8  # channels a group of group norm
SLABS = 8  # parts in which a level is brought up in inference mode


class UNet3D(nn.Module):
    """Encoder, decoder, and concatenation skips between them.

    With the widths of `plans/roth2018.json`, one channel and eight classes it has 19.07 million parameters: all
    convolution weights and biases, and the scale and shift of every batch norm.
    """

    def __init__(self, channels: int, outputs: int, plan: NetworkPlan, encode: Encode | None = None) -> None:
        """Build the network with He-initialised convolutions.

        Args:
            channels: Input channels.
            outputs: Of the last layer.
            plan: Widths, kernels, poolings, norm and activation.
            encode: Builds a level of the encoder; None: two convolutions.
        """
        super().__init__()
        stages = plan.stages
        inputs = [channels, *(stage.features[1] for stage in stages[:-1])]
        encode = encode or _encode
        self.down = nn.ModuleList(encode(width, level, plan) for level, width in enumerate(inputs))
        self.pool = nn.ModuleList(Pool(s.pooling, s.pooling) for s in stages[1:])
        self.up = nn.ModuleList()
        self.across = nn.ModuleList()
        for upper, lower in pairwise(stages):
            skip, below = upper.features[1], lower.features[1]
            width = below if plan.up == "keep" else skip
            self.up.append(nn.ConvTranspose3d(below, width, lower.pooling, lower.pooling))
            narrow = Level(features=(skip, skip), kernel=upper.kernel)
            self.across.append(_two_convolutions(width + skip, narrow, plan))
        self.classify = Convolution(stages[0].features[1], outputs, kernel_size=1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of each voxel.

        Args:
            image: (B, C, Z, Y, X), each extent divisible by the plan's divisor.

        Returns:
            (B, outputs, Z, Y, X).
        """
        skips = []
        x = self.down[0](image)
        for pool, down in zip(self.pool, self.down[1:], strict=True):
            skips.append(x)
            x = down(pool(x))
        for up, across in zip(reversed(self.up), reversed(self.across), strict=True):
            x = _side_by_side(cast(nn.ConvTranspose3d, up), x, skips.pop())
            for layer in cast(nn.Sequential, across):  # one by one, so that what a layer has read can be freed
                x = layer(x)
        return cast(Tensor, self.classify(x))


class Pool(nn.MaxPool3d):
    """Max pooling in the type it is given: a CPU's autocast would make it float32, which changes no value."""

    def forward(self, image: Tensor) -> Tensor:
        """Pool (B, C, Z, Y, X)."""
        with torch.autocast(image.device.type, enabled=False):
            return cast(Tensor, super().forward(image))


class Convolution(nn.Conv3d):
    """A 3D convolution that is right on thin volumes too.

    On CPUs the bfloat16 weight gradient of a volume with fewer slices than the kernel is wrong: parts of it are never
    written (oneDNN as in torch 2.13). Such a layer, always a small one, computes in float32. A single slice under a
    flat kernel is convolved in 2D: in 3D its bfloat16 gradient takes minutes there.
    """

    adds_bias = True  # False: the bias is 0, and neither added nor given a gradient

    def forward(self, image: Tensor) -> Tensor:
        """Convolve (B, C, Z, Y, X)."""
        bias = self.bias if self.adds_bias else None
        sizes = zip(image.shape[2:], self.kernel_size, strict=True)
        flat = next((axis for axis, (n, k) in enumerate(sizes, start=2) if n == k == 1), None)
        if flat is not None and image.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            padding = [k // 2 for axis, k in enumerate(self.kernel_size, start=2) if axis != flat]
            return conv2d(image.squeeze(flat), self.weight.squeeze(flat), bias, padding=padding).unsqueeze(flat)
        if image.device.type == "cpu" and image.shape[2] < self.kernel_size[0]:
            with torch.autocast("cpu", enabled=False):
                image = image.float()
                return cast(Tensor, self._conv_forward(image, self.weight, bias))
        return cast(Tensor, self._conv_forward(image, self.weight, bias))


@torch.no_grad()
def leave_out_biases(network: nn.Module) -> None:
    """Set to 0, in place, every bias that the norm after it takes out again, and no longer add it; outputs stay.

    The gradient of such a bias is 0 but for rounding; on a GPU it costs three passes over the activations.
    The parameter stays. Batch norms learn their running means without it from then on, so it is taken from those.
    They are those that follow each other in a sequence, as for `fold_norms`.
    """
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for layer, norm in pairwise(block):
            if not isinstance(norm, _BatchNorm | nn.InstanceNorm3d) or not isinstance(layer, Convolution):
                continue
            bias = cast(Tensor, layer.bias)
            if norm.running_mean is not None:
                norm.running_mean -= bias
            bias.zero_()
            layer.adds_bias = False


def fold_norms(network: nn.Module) -> None:
    """Merge every batch norm into the convolution before it, in place: less to compute, for prediction only.

    They are those that follow each other in a sequence (nn.Sequential), whatever the network around it.
    """
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for number, (layer, norm) in enumerate(pairwise(list(block))):
            if isinstance(layer, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                block[number] = fused = fuse_conv_bn_eval(layer, norm)
                fused.adds_bias = True  # type: ignore[assignment] # what was the norm's shift
                block[number + 1] = nn.Identity()


def _side_by_side(up: nn.ConvTranspose3d, below: Tensor, skip: Tensor) -> Tensor:
    """Return the channels of a level: what comes up from below, and what comes across.

    In inference mode they are put into one tensor slab by slab along Z: at no time are both there twice. The kernel of
    the transposed convolution is its stride, so no slab reaches into another.
    """
    if not torch.is_inference_mode_enabled():
        return torch.cat([up(below), skip], dim=1)
    batch, depth = len(below), below.shape[2]
    layout = torch.contiguous_format if skip.is_contiguous() else torch.channels_last_3d
    shape = (batch, up.out_channels + skip.shape[1], *skip.shape[2:])
    joined = torch.empty(shape, dtype=skip.dtype, device=skip.device, memory_format=layout)
    joined[:, up.out_channels :] = skip
    del skip
    thick, stride = -(-depth // SLABS), up.stride[0]
    for z in range(0, depth, thick):
        joined[:, : up.out_channels, z * stride : (z + thick) * stride] = up(below[:, :, z : z + thick])
    return joined


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable numbers: weights, biases, and scale and shift of the norms."""
    return sum(p.numel() for p in network.parameters())


def _encode(channels: int, level: int, plan: NetworkPlan) -> nn.Sequential:
    return _two_convolutions(channels, plan.stages[level], plan)


def _two_convolutions(channels: int, stage: Level, plan: NetworkPlan) -> nn.Sequential:
    first, second = stage.features
    return nn.Sequential(
        *normed_convolution(channels, first, stage.kernel, plan),
        activation(plan),
        *normed_convolution(first, second, stage.kernel, plan),
        activation(plan),
    )


def normed_convolution(
    channels: int, features: int, kernel: tuple[int, int, int], plan: NetworkPlan
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution that keeps the extents, and the plan's norm."""
    z, y, x = (k // 2 for k in kernel)
    return Convolution(channels, features, kernel, padding=(z, y, x)), _norm(features, plan)


def activation(plan: NetworkPlan) -> nn.Module:
    """Return the plan's activation; it works in place."""
    return nn.ReLU(inplace=True) if plan.activation == "relu" else nn.LeakyReLU(LEAK, inplace=True)


def _norm(features: int, plan: NetworkPlan) -> nn.Module:
    if plan.norm == "batch":
        return nn.BatchNorm3d(features)
    if plan.norm == "instance":
        return InstanceNorm(features, affine=True)
    groups = max(1, features // GROUP_CHANNELS)
    return GroupNorm(groups if features % groups == 0 else 1, features)


def _initialise(module: nn.Module) -> None:
    """Draw a convolution's weights (He), but on the device "meta": torch would load its compiler, in two seconds."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and not module.weight.is_meta:
        nn.init.kaiming_normal_(module.weight, a=LEAK)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
