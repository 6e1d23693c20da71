"""Regions as sums of the parts that they divide a volume into.

The network has one output a part and a softmax over them, as for disjoint organs; a region is as likely as its parts
together. So small regions are found as early as disjoint organs, and none can be likelier than one that it lies in.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from autoseg.labels import LabelScheme, Mask

SLABS = 8  # in which at most a volume is brought from parts to regions
LEAST = 1e-30  # probability of a region or of its outside, so that there are log odds


def parts_of(scheme: LabelScheme) -> Mask:
    """Return which regions each part lies in, (parts, regions): each set of them that a voxel can be in, once."""
    sets = dict.fromkeys(map(tuple, scheme.membership[: len(scheme.values)].tolist()))
    return np.array(list(sets), dtype=np.bool_)


class RegionsOfParts(nn.Module):
    """Brings the outputs of parts to those of regions: log odds, of which the sigmoid is the probability."""

    def __init__(self, parts: Mask) -> None:
        """Keep which regions each part lies in, (parts, regions), as of `parts_of`."""
        super().__init__()
        self.register_buffer("inside", torch.tensor(parts), persistent=False)  # follows from the plan

    def forward(self, logits: Tensor) -> Tensor:
        """Return the log odds of regions (B, regions, Z, Y, X) of logits of parts (B, parts, Z, Y, X)."""
        inside = cast(Tensor, self.inside).float()
        with torch.autocast(logits.device.type, enabled=False):
            if logits.requires_grad:
                return cast(Tensor, _LogOdds.apply(logits, inside))  # type: ignore[no-untyped-call]
            return _log_odds(logits, inside)


def _log_odds(logits: Tensor, inside: Tensor) -> Tensor:
    """Return ln(Σ p / (1 − Σ p)) over the parts of each region, for p = softmax(logits), in the type of the logits."""

    def of(slab: Tensor) -> Tensor:
        probabilities = _probabilities(slab)
        odds = _sums(probabilities, inside).log_()
        return _as_logits(odds.sub_(_sums(probabilities, 1.0 - inside).log_()), logits)

    return torch.cat([of(slab) for slab in _slabs(logits)], dim=2)


def _slabs(volumes: Tensor) -> tuple[Tensor, ...]:
    """Return slabs along Z of (B, C, Z, Y, X), so that of what is computed in float32 few are there at a time."""
    return (volumes,) if torch.onnx.is_in_onnx_export() else volumes.chunk(SLABS, dim=2)


def _as_logits(values: Tensor, logits: Tensor) -> Tensor:
    """Return (B, Z, Y, X, C) as (B, C, Z, Y, X), in the type of the logits."""
    return values.permute(0, 4, 1, 2, 3).to(logits.dtype)


def _probabilities(logits: Tensor) -> Tensor:
    """Return the softmax of (B, parts, Z, Y, X) as (B, Z, Y, X, parts), float32."""
    return logits.permute(0, 2, 3, 4, 1).float().softmax(dim=-1)


def _sums(probabilities: Tensor, inside: Tensor) -> Tensor:
    """Return how likely each region is, of parts (…, parts): (…, regions)."""
    return (probabilities @ inside).clamp_min_(LEAST)


class _LogOdds(torch.autograd.Function):
    """The log odds with their gradient, of which only the logits are kept.

    d ln(q / (1 − q)) / d z of a part's logit z and probability p is p / q where the region of probability q has the
    part, and −p / (1 − q) where it has not: over all parts it adds up to 0, as it must for a softmax.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, inside: Tensor) -> Tensor:
        ctx.save_for_backward(logits, inside)
        return _log_odds(logits, inside)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, inside = ctx.saved_tensors
        outside = 1.0 - inside

        def of(slab: Tensor, of_regions: Tensor) -> Tensor:
            probabilities, of_regions = _probabilities(slab), of_regions.permute(0, 2, 3, 4, 1).float()
            of_parts = (of_regions / _sums(probabilities, inside)) @ inside.T
            of_parts -= (of_regions / _sums(probabilities, outside)) @ outside.T
            return _as_logits(of_parts.mul_(probabilities), logits)

        slabs = zip(_slabs(logits), _slabs(gradients[0]), strict=True)
        return torch.cat([of(slab, of_regions) for slab, of_regions in slabs], dim=2), None
