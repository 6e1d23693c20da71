"""What a model says of one tile: the mean over its networks, and over mirrorings of the image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoseg.network.device import autocast
from autoseg.plan import Plan

Mirrors = Sequence[tuple[int, ...]]  # axes that are flipped together, 1 for Z to 3 for X; () is the image as it is


@dataclass(frozen=True)
class Ensemble:
    """Networks of one plan that answer together."""

    networks: Sequence[nn.Module]  # in evaluation mode, on the plan's device
    plan: Plan
    mirrors: Mirrors = ((),)  # averaged over, from `mirrors_of`

    def mean(self, piece: Tensor) -> Tensor:
        """Return the mean probabilities (classes, z, Y, X) of a tile (1, C, z, Y, X); classes lie last in memory."""
        first, *others = itertools.product(self.networks, self.mirrors)
        total = self._probabilities(*first, piece)
        for network, axes in others:
            total += self._probabilities(network, axes, piece)
        return total.div_(1 + len(others)).cpu()

    def _probabilities(self, network: nn.Module, axes: tuple[int, ...], piece: Tensor) -> Tensor:
        """Return the probabilities of a tile, which the network sees mirrored, on the network's device."""
        device = next(network.parameters()).device
        piece = piece.flip([axis + 1 for axis in axes]) if axes else piece
        placed = piece.to(device) if device.type == "mps" else piece.to(device, memory_format=torch.channels_last_3d)
        with torch.inference_mode(), autocast(device.type, self.plan.precision):  # type: ignore[arg-type]
            logits: Tensor = network(placed)
        probabilities = self.plan.scheme.activate(logits[0].permute(1, 2, 3, 0).float(), dim=-1)
        probabilities = probabilities.flip([axis - 1 for axis in axes]) if axes else probabilities
        return probabilities.permute(3, 0, 1, 2)


def mirrors_of(plan: Plan) -> Mirrors:
    """Return all combinations of the axes on which training mirrored its crops; a network knows no others."""
    axes = tuple("zyx".index(axis) + 1 for axis in plan.augmentation.mirrored)
    return tuple(some for count in range(len(axes) + 1) for some in itertools.combinations(axes, count))
