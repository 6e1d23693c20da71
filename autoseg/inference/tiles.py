"""Whole volumes through the network: full x-y extent, overlapping tiles along z, averaged (Roth et al. 2018, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from autoseg.network.device import autocast, memory_explained
from autoseg.plan import Plan
from autoseg.resample import FloatArray


def tile_starts(depth: int, tile: int, overlap: float) -> list[int]:
    """Return the first slice of each tile, so that every slice is covered and the tiles are evenly spread.

    >>> tile_starts(10, 4, 0.5)
    [0, 2, 4, 6]
    >>> tile_starts(3, 4, 0.5)
    [0]
    """
    if depth <= tile:
        return [0]
    step = max(1, round(tile * (1 - overlap)))
    count = -(-(depth - tile) // step) + 1
    return [round(i * (depth - tile) / (count - 1)) for i in range(count)]


def predict_probabilities(networks: Sequence[nn.Module], plan: Plan, image: npt.NDArray[np.floating]) -> FloatArray:
    """Return the class probabilities of a whole volume, averaged over tiles and networks.

    Args:
        networks: In evaluation mode, on the plan's device; several are an ensemble.
        plan: Tile depth, overlap, padding.
        image: Normalised, on the working grid, (C, Z, Y, X).

    Returns:
        float32 (classes, Z, Y, X).
    """
    padded, inner = _padded(torch.from_numpy(image.astype(np.float32)), plan)
    depth = padded.shape[1]
    tile = min(plan.tile_depth, depth)
    total = torch.zeros((plan.classes, *padded.shape[1:]))
    count = torch.zeros((depth, 1, 1))
    with torch.inference_mode(), memory_explained("give the plan a smaller tile_depth, or predict with --device cpu"):
        for start in tile_starts(depth, tile, plan.tile_overlap):
            piece = padded[None, :, start : start + tile]
            for network in networks:
                total[:, start : start + tile] += _softmax(network, piece, plan)
            count[start : start + tile] += len(networks)
        total /= count
    return np.ascontiguousarray(total[(slice(None), *inner)].numpy())


def _softmax(network: nn.Module, piece: Tensor, plan: Plan) -> Tensor:
    device = next(network.parameters()).device
    placed = piece.to(device) if plan.device == "mps" else piece.to(device, memory_format=torch.channels_last_3d)
    with autocast(device.type):  # type: ignore[arg-type]
        logits = network(placed)
    probabilities: Tensor = logits[0].float().softmax(dim=0)
    return probabilities.cpu()


def _padded(image: Tensor, plan: Plan) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Pad to what the network can divide; return the padded image and where the image lies in it."""
    sides: list[int] = []
    inner = []
    for size, divisor in zip(image.shape[1:], plan.network.divisor, strict=True):
        more = -size % divisor
        inner.append(slice(more // 2, more // 2 + size))
        sides = [more // 2, more - more // 2, *sides]
    channels = [pad(c[None], sides, value=how.pad_value) for c, how in zip(image, plan.intensity, strict=True)]
    return torch.cat(channels), (inner[0], inner[1], inner[2])
