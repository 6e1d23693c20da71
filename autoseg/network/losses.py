"""The losses: Dice as in Roth et al. 2018, alone or with cross-entropy; always in float32.

Where several processes train together, it is the loss of the whole batch in each of them. Voxels whose truth is not
known are in no sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from autoseg.labels import IGNORED, LabelScheme
from autoseg.network.distributed import sum_over_processes
from autoseg.network.region_losses import Sums, part_sums, region_sums
from autoseg.plan import LossPlan

LOWEST = -1e4  # a logit of which the softmax is 0
TINY = 1e-5  # keeps an organ that is absent from truth and prediction from dividing by zero
Known = Tensor | None  # whether the truth of each voxel is known, bool (B, Z, Y, X); None: it is everywhere


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss: its sums over voxels, how its value follows from them, and its names."""

    sums: Callable[[Tensor, Tensor, Known, Tensor | None], Sums]  # of logits, truth, and class weights of voxels
    value: Callable[[Sums, LossPlan, Tensor | None], Tensor]  # of sums, and class weights where it weighs Dice terms
    weighs: Literal["dice terms", "voxels"]  # what the plan's class weights weigh
    least: float  # where everything is right and no class is weighted
    name: str  # in plan.md
    words: str  # in the report
    description: str  # in its methods

    def of(self, scheme: LabelScheme) -> Loss:
        """Return the loss with its names as they hold for a scheme."""
        if not scheme.overlapping:
            return self
        entropy = "cross-entropy of parts" if scheme.by_parts else "binary cross-entropy"
        name, words, description = (
            text.replace("cross-entropy", entropy) for text in (self.name, self.words, self.description)
        )
        return replace(self, name=name, words=words, description=description)


def overlaps(probabilities: Tensor, truth: Tensor, known: Known = None) -> tuple[Tensor, Tensor]:
    """Return Σ p r and Σ p + Σ r over the voxels of each image and class, each (B, classes).

    Args:
        probabilities: p, softmax output, float32 (B, classes, Z, Y, X).
        truth: Class indices, int64 (B, Z, Y, X); r is their one-hot form. Where it is IGNORED, r is 0.
        known: Where it is not IGNORED, if it is anywhere.
    """
    classes = torch.arange(probabilities.shape[1], device=truth.device)[:, None, None, None]
    reference = truth[:, None] == classes
    axes = (2, 3, 4)
    both = (probabilities * reference).sum(axes)
    probabilities = probabilities if known is None else probabilities * known[:, None]
    return both, probabilities.sum(axes) + reference.sum(axes).to(probabilities.dtype)


def dice_terms(both: Tensor, either: Tensor, over_batch: bool) -> Tensor:
    """Return L_l = -2 Σ p r / (Σ p + Σ r) for each class l.

    Args:
        both: Σ p r (B, classes).
        either: Σ p + Σ r (B, classes).
        over_batch: Whether the sums run over the whole batch, or over each image.

    Returns:
        (1, classes) or (B, classes), each in [-1, 0]; 0 for a class that is absent from the truth.

    Source: Roth et al. 2018, eq. 1 (no squares in the denominator).
    """
    if over_batch:
        both, either = sum_over_processes(torch.stack((both.sum(0), either.sum(0))))[:, None]
    return -2.0 * both / either.clamp_min(TINY)


def hidden_mask(hidden: Sequence[Sequence[int]], classes: int) -> Tensor | None:
    """Return which classes each image's label map does not show, bool (B, classes); None where all show all."""
    if not any(hidden):
        return None
    mask = torch.zeros(len(hidden), classes, dtype=torch.bool)
    for image, values in zip(mask, hidden, strict=True):
        image[list(values)] = True
    return mask


def with_hidden(logits: Tensor, hidden: Tensor) -> Tensor:
    """Let background stand for the classes that an image's label map does not show.

    Their probability goes to background: where the truth says background, it may be any of them.

    Args:
        logits: float32 (B, classes, Z, Y, X).
        hidden: Which classes are not shown, bool (B, classes); never background.

    Source: Shi et al. 2021, "Marginal loss and exclusion loss for partially supervised multi-organ segmentation".
    """
    hidden = hidden[:, :, None, None, None]
    outside = hidden.clone()
    outside[:, 0] = True
    background = logits.masked_fill(~outside, LOWEST).logsumexp(dim=1, keepdim=True)
    return torch.cat((background, logits.masked_fill(hidden, LOWEST)[:, 1:]), dim=1)


def segmentation_loss(
    logits: Tensor,
    truth: Tensor,
    plan: LossPlan,
    class_weights: Tensor | None,
    hidden: Tensor | None = None,
    scheme: LabelScheme | None = None,
) -> Tensor:
    """Return the loss of a batch, a scalar in float32.

    Args:
        logits: Network output (B, outputs, Z, Y, X), any precision.
        truth: Atoms, int64 (B, Z, Y, X).
        plan: Which of LOSSES, and over what its sums run.
        class_weights: w_l, float32 (classes,), of disjoint organs background first; None: all 1.
        hidden: Classes that an image's label map does not show, bool (B, classes), as for `with_hidden`; None: none.
        scheme: Of the classes; None: disjoint organs whose truth is known everywhere.
    """
    return loss_of(loss_sums(logits, truth, plan, class_weights, hidden, scheme), plan, class_weights, scheme)


def loss_sums(
    logits: Tensor,
    truth: Tensor,
    plan: LossPlan,
    class_weights: Tensor | None,
    hidden: Tensor | None = None,
    scheme: LabelScheme | None = None,
) -> Sums:
    """Return the sums of these voxels that make up the loss; arguments as for `segmentation_loss`."""
    loss = LOSSES[plan.kind]
    if scheme is not None and scheme.overlapping:
        of_regions = part_sums if scheme.by_parts else region_sums
        return of_regions(logits, truth, scheme, class_weights if loss.weighs == "voxels" else None)
    logits = logits.float() if hidden is None else with_hidden(logits.float(), hidden)
    known = None if scheme is None or scheme.ignored is None else truth != IGNORED
    return loss.sums(logits, truth, known, class_weights if loss.weighs == "voxels" else None)


def add_sums(parts: Sequence[Sums]) -> Sums:
    """Return the sums over the voxels of all parts of a batch."""
    first, *rest = parts
    for other in rest:
        first = tuple(a + b for a, b in zip(first, other, strict=True))
    return first


def loss_of(sums: Sums, plan: LossPlan, class_weights: Tensor | None, scheme: LabelScheme | None = None) -> Tensor:
    """Return the loss that voxels with these sums have, a scalar in float32."""
    loss = LOSSES[plan.kind]
    if scheme is not None and scheme.overlapping:  # background is no class
        plan = plan.model_copy(update={"background": True})
        both, either, entropy, weight = sums
        value = _dice((both, either), plan, class_weights if loss.weighs == "dice terms" else None)
        return value + _joint_mean(entropy, weight).mean() if loss.weighs == "voxels" else value
    return loss.value(sums, plan, class_weights if loss.weighs == "dice terms" else None)


def _dice_sums(logits: Tensor, truth: Tensor, known: Known, _: Tensor | None) -> Sums:
    return overlaps(logits.softmax(dim=1), truth, known)


def _dice(sums: Sums, plan: LossPlan, term_weights: Tensor | None) -> Tensor:
    """Return the mean of w_l L_l over the classes, with or without background, and over the images."""
    (both, either), over_batch = sums, plan.over == "batch"
    terms = dice_terms(both, either, over_batch)
    terms = terms if term_weights is None else terms * term_weights
    terms = terms if plan.background else terms[:, 1:]
    return terms.mean() if over_batch else _joint_mean(terms.sum(), terms.new_full((), terms.numel()))


def _dice_and_entropy_sums(logits: Tensor, truth: Tensor, known: Known, voxel_weights: Tensor | None) -> Sums:
    """Return the overlaps, and cross-entropy and weight of the voxels, each weighted by its true class."""
    both, either = overlaps(logits.softmax(dim=1), truth, known)
    ones = torch.ones(logits.shape[1], device=logits.device) if voxel_weights is None else voxel_weights
    entropies = partial(cross_entropy, ignore_index=IGNORED, reduction="none")  # whose own sum may vary on CUDA
    entropy = entropies(logits, truth, weight=voxel_weights).sum()
    weights = ones[truth] if known is None else ones[truth.where(known, 0)] * known
    return both, either, entropy, weights.sum()


def _dice_and_entropy(sums: Sums, plan: LossPlan, _: Tensor | None) -> Tensor:
    both, either, entropy, weight = sums
    return _dice((both, either), plan, None) + _joint_mean(entropy, weight)


def _joint_mean(total: Tensor, weight: Tensor) -> Tensor:
    total, weight = sum_over_processes(torch.stack((total, weight)))
    return total / weight.clamp_min(TINY)  # 0 where the truth of no voxel is known


LOSSES: dict[str, Loss] = {  # by the plan's loss.kind
    "dice": Loss(
        sums=_dice_sums,
        value=_dice,
        weighs="dice terms",
        least=-1.0,
        name="Dice",
        words="the Dice loss, −1 at best",
        description="the Dice loss",
    ),
    "dice-ce": Loss(
        sums=_dice_and_entropy_sums,
        value=_dice_and_entropy,
        weighs="voxels",
        least=-1.0,
        name="Dice + cross-entropy",
        words="the Dice loss, −1 at best, plus cross-entropy",
        description="the sum of Dice loss and cross-entropy",
    ),
}
