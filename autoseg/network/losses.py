"""The loss: Dice as in Roth et al. 2018, alone or with cross-entropy; always in float32.

Where several processes train together, it is the loss of the whole batch in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from autoseg.network.distributed import sum_over_processes
from autoseg.plan import LossPlan

LOWEST = -1e4  # a logit of which the softmax is 0
TINY = 1e-5  # keeps an organ that is absent from truth and prediction from dividing by zero


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What a loss is made of, added up over voxels: of a whole batch, or of parts of it one after another."""

    both: Tensor  # Σ p r of each image and class (B, classes)
    either: Tensor  # Σ p + Σ r (B, classes)
    entropy: Tensor  # cross-entropy, weighted; a scalar
    weight: Tensor  # the voxels' weights; a scalar

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over the voxels of both."""
        return Sums(
            both=self.both + other.both,
            either=self.either + other.either,
            entropy=self.entropy + other.entropy,
            weight=self.weight + other.weight,
        )


def overlaps(probabilities: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ p r and Σ p + Σ r over the voxels of each image and class, each (B, classes).

    Args:
        probabilities: p, softmax output, float32 (B, classes, Z, Y, X).
        truth: Class indices, int64 (B, Z, Y, X); r is their one-hot form.
    """
    classes = torch.arange(probabilities.shape[1], device=truth.device)[:, None, None, None]
    reference = truth[:, None] == classes
    axes = (2, 3, 4)
    both = (probabilities * reference).sum(axes)
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
    logits: Tensor, truth: Tensor, plan: LossPlan, class_weights: Tensor | None, hidden: Tensor | None = None
) -> Tensor:
    """Return the loss of a batch, a scalar in float32.

    Args:
        logits: Network output (B, classes, Z, Y, X), any precision.
        truth: Class indices, int64 (B, Z, Y, X).
        plan: `dice`: (1/L) Σ w_l L_l over the classes, the mean over the images. `dice-ce`: that plus cross-entropy,
            each voxel weighted by its class.
        class_weights: w_l, float32 (classes,), background first; None: all 1.
        hidden: Classes that an image's label map does not show, bool (B, classes), as for `with_hidden`; None: none.
    """
    return loss_of(loss_sums(logits, truth, plan, class_weights, hidden), plan, class_weights)


def loss_sums(
    logits: Tensor, truth: Tensor, plan: LossPlan, class_weights: Tensor | None, hidden: Tensor | None = None
) -> Sums:
    """Return what the loss of these voxels is made of; arguments as for `segmentation_loss`."""
    logits = logits.float() if hidden is None else with_hidden(logits.float(), hidden)
    both, either = overlaps(logits.softmax(dim=1), truth)
    if plan.kind == "dice":
        nothing = both.new_zeros(())
        return Sums(both=both, either=either, entropy=nothing, weight=nothing)
    ones = torch.ones(logits.shape[1], device=logits.device) if class_weights is None else class_weights
    entropy = cross_entropy(logits, truth, weight=class_weights, reduction="none").sum()  # its own sum may vary on CUDA
    return Sums(both=both, either=either, entropy=entropy, weight=ones[truth].sum())


def loss_of(sums: Sums, plan: LossPlan, class_weights: Tensor | None) -> Tensor:
    """Return the loss that voxels with these sums have, a scalar in float32."""
    over_batch = plan.over == "batch"
    terms = dice_terms(sums.both, sums.either, over_batch)
    if plan.kind == "dice" and class_weights is not None:
        terms = terms * class_weights
    terms = terms if plan.background else terms[:, 1:]
    dice = terms.mean() if over_batch else _joint_mean(terms.sum(), terms.new_full((), terms.numel()))
    return dice if plan.kind == "dice" else dice + _joint_mean(sums.entropy, sums.weight)


def _joint_mean(total: Tensor, weight: Tensor) -> Tensor:
    total, weight = sum_over_processes(torch.stack((total, weight)))
    return total / weight
