"""From what a network tells of each voxel to the probabilities of classes.

Disjoint organs: an output is a class, and there is a softmax over them. Regions are sums of the parts that they divide
a volume into: an output is a part, there is a softmax over the parts, and a region is as likely as its parts together.
So small regions are found as early as disjoint organs, and none can be likelier than one that it lies in. In earlier
plans an output is a region by itself, with a sigmoid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autoseg.labels import LabelScheme, Mask
from autoseg.network.device import send

LEAST = 1e-8  # probability whose logarithm is taken
SURE = 1e-6  # that of a region lies between this and 1 - this, where its logit is taken; 1 - 1e-8 is 1 in float32


def output_channels(scheme: LabelScheme) -> int:
    """Return the number of channels of a network's last layer."""
    return len(parts_of(scheme)) if scheme.by_parts else scheme.classes


def parts_of(scheme: LabelScheme) -> Mask:
    """Return which regions each part lies in, (parts, regions): each set of them that a voxel can be in, once."""
    return np.array(list(_places(scheme)), dtype=np.bool_)


def part_of_atoms(scheme: LabelScheme) -> tuple[int, ...]:
    """Return the part that each atom belongs to; the ignored one is none of them."""
    places = _places(scheme)
    return tuple(places[regions] for regions in _regions_of_atoms(scheme))


def activate(scheme: LabelScheme, logits: Tensor, dim: int) -> Tensor:
    """Return the probabilities of a network's outputs, which lie along `dim`."""
    if scheme.by_parts or not scheme.overlapping:
        return logits.softmax(dim=dim)
    return (logits if scheme.logit_scale is None else logits * scheme.logit_scale).sigmoid()


def logits_of(scheme: LabelScheme, probabilities: Tensor) -> Tensor:
    """Return outputs that have these probabilities (B, outputs, Z, Y, X), in place of them."""
    if scheme.by_parts or not scheme.overlapping:
        return probabilities.clamp_min_(LEAST).log_()
    return probabilities.logit_(SURE).div_(scheme.logit_scale or 1.0)


def of_classes(scheme: LabelScheme, probabilities: Tensor, dim: int) -> Tensor:
    """Return the probabilities of classes of those of outputs, either of which lie along `dim`."""
    if not scheme.by_parts:
        return probabilities
    inside = send(torch.tensor(parts_of(scheme), dtype=torch.float32), probabilities.device)
    last = probabilities.ndim - 1  # not -1, which the exporter to ONNX takes for an axis
    regions = probabilities.movedim(dim, last) @ inside
    return regions.clamp_(max=1.0).movedim(last, dim)  # a sum may be above by rounding


def _places(scheme: LabelScheme) -> dict[tuple[bool, ...], int]:
    """Return the number of each part, by the regions that it lies in."""
    return {regions: place for place, regions in enumerate(dict.fromkeys(_regions_of_atoms(scheme)))}


def _regions_of_atoms(scheme: LabelScheme) -> list[tuple[bool, ...]]:
    return list(map(tuple, scheme.membership[: len(scheme.values)].tolist()))
