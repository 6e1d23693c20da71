"""The sums over voxels that make up the losses of regions, which may overlap; their gradients are written down.

So what they take beside the logits is that of one region, or of a slab, at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import embedding, softplus

from autoseg.labels import IGNORED, LabelScheme
from autoseg.network.outputs import part_of_atoms, parts_of

VOXELS = (1, 2, 3)  # axes of a truth (B, Z, Y, X)
SLABS = 8  # in which at most the voxels of a batch are taken
LEAST = 1e-30  # probability whose logarithm is taken; the gradient stays, so that a network can turn from sure errors
Sums = tuple[Tensor, ...]  # the terms of a loss, each added up over voxels; in the order of its `sums`


def region_sums(logits: Tensor, truth: Tensor, scheme: LabelScheme, voxel_weights: Tensor | None) -> Sums:
    """Return the overlaps of regions, and binary cross-entropy and weight of the voxels of each, (regions,) each.

    Args:
        logits: (B, regions, Z, Y, X), any precision.
        truth: Atoms, int64 (B, Z, Y, X).
        scheme: Of the regions.
        voxel_weights: Of the voxels within each region, float32 (regions,); those outside weigh 1. None: all do.
    """
    extra = torch.zeros(logits.shape[1], device=logits.device) if voxel_weights is None else voxel_weights - 1.0
    both, either, entropy, inside = cast(Sums, RegionSums.apply(logits, truth, extra, scheme))  # type: ignore[no-untyped-call]
    known = truth.numel() if scheme.ignored is None else (truth != IGNORED).sum()
    return both, either, entropy, known + extra * inside


class RegionSums(torch.autograd.Function):
    """The sums of regions over voxels, region by region, so that what they take beside the logits is that of one.

    Its gradient is written down: for p = sigmoid(z) and the one-hot truth r, p (1 − p) times that of the overlaps, and
    p − r times that of the cross-entropy, weighted.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, truth: Tensor, extra: Tensor, scheme: LabelScheme) -> Sums:
        """Return Σ p r and Σ p + Σ r (B, regions), the weighted cross-entropies, and Σ r (regions,)."""
        ctx.save_for_backward(logits, truth, extra)
        ctx.scheme = scheme
        known = truth != IGNORED if scheme.ignored is not None else None
        columns = []
        for index, inside, z in _by_region(logits, truth, scheme):
            p, entropy = z.sigmoid(), softplus(z).addcmul_(z, inside, value=-1.0)
            both = (p * inside).sum(VOXELS)
            if known is not None:
                p, entropy = p.mul_(known), entropy.mul_(known)
            entropies, voxels = entropy.sum(VOXELS), inside.sum(VOXELS)
            entropies += extra[index] * entropy.mul_(inside).sum(VOXELS)
            columns.append((both, p.sum(VOXELS) + voxels, entropies, voxels))
        both, either, entropies, voxels = (torch.stack(sums, dim=1) for sums in zip(*columns, strict=True))
        return both, either, entropies.sum(dim=0), voxels.sum(dim=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the logits."""
        logits, truth, extra = ctx.saved_tensors
        of_both, of_either, of_entropy = (gradient * (ctx.scheme.logit_scale or 1.0) for gradient in gradients[:3])
        gradient = torch.empty_like(logits)
        for index, inside, z in _by_region(logits, truth, ctx.scheme):
            p = z.sigmoid_()
            part = torch.addcmul(p, p, p, value=-1.0)
            part *= inside * _by_image(of_both[:, index]) + _by_image(of_either[:, index])
            part.addcmul_(p.sub_(inside), (inside * extra[index]).add_(1.0).mul_(of_entropy[index]))
            gradient[:, index] = part if ctx.scheme.ignored is None else part.mul_(truth != IGNORED)
        return gradient, None, None, None


def _by_region(logits: Tensor, truth: Tensor, scheme: LabelScheme) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the index of each region, whether voxels are inside (0 or 1), and its scaled logits, both float32."""
    for index, atoms in scheme.atoms_of.items():
        belongs = torch.zeros(IGNORED + 1, device=logits.device)
        for atom in atoms:
            belongs[atom].fill_(1.0)  # on the device: a graph would copy what lies there later
        yield index, belongs[truth], logits[:, index].float() * (scheme.logit_scale or 1.0)


def _by_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def part_sums(logits: Tensor, truth: Tensor, scheme: LabelScheme, voxel_weights: Tensor | None) -> Sums:
    """Return the overlaps of regions, (B, regions) each, and cross-entropy and weight of all voxels over their parts.

    Args:
        logits: Of the parts (B, parts, Z, Y, X), any precision.
        truth: Atoms, int64 (B, Z, Y, X).
        scheme: Of the regions.
        voxel_weights: Of the voxels within each region, float32 (regions,): where they overlap, the greatest holds;
            those outside weigh 1. None: all do.
    """
    part_of, inside = _tables(scheme, logits.device)
    weights = inside.new_ones(len(inside))
    if voxel_weights is not None:
        greatest = torch.where(inside > 0, voxel_weights, 0.0).amax(dim=1)
        weights = torch.where(inside.any(dim=1), greatest, weights)
    weights = torch.cat((weights, weights.new_zeros(1)))  # the last is of voxels whose truth is not known
    sums = PartSums.apply(logits, truth, weights, inside, part_of)  # type: ignore[no-untyped-call]
    return cast(Sums, sums)


class PartSums(torch.autograd.Function):
    """The sums of regions over voxels where outputs are their parts, slab by slab.

    All follow from S, the sums of p = softmax(z) over the voxels of each true part t, and from the voxels of these. The
    gradient g of the overlaps to the regions' probabilities becomes p (h_t − Σ p h_t) to z, where h_t of a part is the
    sum of g over the regions that it lies in, as they are for t; that of the cross-entropy is w_t (p − t).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, truth: Tensor, weights: Tensor, inside: Tensor, part_of: Tensor) -> Sums:
        """Return Σ q r and Σ q + Σ r (B, regions), the weighted cross-entropy, and the weight of all voxels."""
        ctx.save_for_backward(logits, truth, weights, inside, part_of)
        count = len(inside)
        one_of = torch.eye(count + 1, device=logits.device)
        by_part, voxels, entropy = (
            inside.new_zeros(len(logits), count + 1, count),
            inside.new_zeros(()),
            inside.new_zeros(()),
        )
        for part, p, _ in _by_slab(logits, truth, part_of):
            is_part = embedding(part, one_of).flatten(1, 3)
            by_part = by_part + is_part.transpose(1, 2) @ p.flatten(1, 3)
            voxels = voxels + is_part.sum(dim=1)
            sure = p.gather(-1, part.clamp(max=count - 1)[..., None])[..., 0].clamp_min_(LEAST).log_()
            entropy = entropy - sure.mul_(weights[part]).sum()
        q = by_part[:, :count] @ inside  # (B, true parts, regions)
        either = q.sum(dim=1) + voxels[:, :count] @ inside
        return (q * inside).sum(dim=1), either, entropy, (voxels * weights).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of the logits."""
        logits, truth, weights, inside, part_of = ctx.saved_tensors
        of_both, of_either = (gradient[:, None] for gradient in gradients[:2])
        h = (inside * of_both + of_either) @ inside.T  # (B, true parts, parts)
        unknown = h.new_zeros(len(h), 1, len(inside))
        h, weights = torch.cat((h, unknown), dim=1).flatten(0, 1), weights * gradients[2]
        first = torch.arange(len(logits), device=logits.device)[:, None, None, None] * (len(inside) + 1)
        result, truths = torch.empty_like(logits), weights.diag()[:, :-1]
        for part, p, place in _by_slab(logits, truth, part_of):
            of_part, w = embedding(first + part, h), embedding(part, weights[:, None])
            of_part = of_part.sub_((p * of_part).sum(-1, keepdim=True)).add_(w).mul_(p)
            of_part -= embedding(part, truths)
            result[place] = of_part.permute(0, 4, 1, 2, 3)
        return result, None, None, None, None


def _by_slab(logits: Tensor, truth: Tensor, part_of: Tensor) -> Iterator[tuple[Tensor, Tensor, tuple[slice, ...]]]:
    """Yield the true part of each voxel, the parts' probabilities (…, parts), and where the slab lies.

    Slabs lie along Z, or along the longest axis of crops of few slices.
    """
    sizes = truth.shape[1:]
    axis = 0 if sizes[0] >= SLABS else max(range(3), key=lambda one: sizes[one])
    edges = [sizes[axis] * n // SLABS for n in range(SLABS + 1)]
    for start, stop in pairwise(edges):
        if start < stop:
            place = [slice(None)] * 3
            place[axis] = slice(start, stop)
            of_logits, of_truth = (slice(None), slice(None), *place), (slice(None), *place)
            p = _softmax(logits[of_logits].permute(0, 2, 3, 4, 1).float())
            yield part_of[truth[of_truth]], p, of_logits


def _softmax(logits: Tensor) -> Tensor:
    """Return the softmax over the last axis; torch's own takes several times as long on a CPU where it is short."""
    p = (logits - logits.amax(dim=-1, keepdim=True)).exp_()
    return p.div_(p.sum(dim=-1, keepdim=True))


def _tables(scheme: LabelScheme, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the part of each atom (256,), of the ignored one their number, and which regions each lies in, 0 or 1.

    They are made on the device: a graph would copy later what lies on the host.
    """
    parts = parts_of(scheme)
    part_of = torch.zeros(IGNORED + 1, dtype=torch.int64, device=device)
    inside = torch.zeros(parts.shape, device=device)
    for atom, part in enumerate(part_of_atoms(scheme)):
        part_of[atom].fill_(part)
    for part, region in zip(*parts.nonzero(), strict=True):
        inside[part, region].fill_(1.0)
    part_of[IGNORED].fill_(len(parts))
    return part_of, inside
