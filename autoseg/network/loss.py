"""The loss: Dice as in Roth et al. 2018, alone or with cross-entropy; always in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from autoseg.plan import LossPlan

TINY = 1e-5  # keeps an organ that is absent from truth and prediction from dividing by zero


def dice_terms(probabilities: Tensor, truth: Tensor, over_batch: bool) -> Tensor:
    """Return L_l = -2 Σ p r / (Σ p + Σ r) for each class l.

    Args:
        probabilities: p, softmax output, float32 (B, classes, Z, Y, X).
        truth: Class indices, int64 (B, Z, Y, X); r is their one-hot form.
        over_batch: Whether the sums run over the whole batch, or over each image.

    Returns:
        (1, classes) or (B, classes), each in [-1, 0]; 0 for a class that is absent from the truth.

    Source: Roth et al. 2018, eq. 1 (no squares in the denominator).
    """
    reference = one_hot(truth, probabilities.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    both = (probabilities * reference).sum(axes)
    either = probabilities.sum(axes) + reference.sum(axes)
    terms = -2.0 * both / either.clamp_min(TINY)
    return terms[None] if over_batch else terms


def segmentation_loss(logits: Tensor, truth: Tensor, plan: LossPlan, class_weights: Sequence[float] | None) -> Tensor:
    """Return the loss of a batch, a scalar in float32.

    Args:
        logits: Network output (B, classes, Z, Y, X), any precision.
        truth: Class indices, int64 (B, Z, Y, X).
        plan: `dice`: (1/L) Σ w_l L_l over the classes, the mean over the images. `dice-ce`: that plus cross-entropy,
            each voxel weighted by its class.
        class_weights: w_l, background first; None: all 1.
    """
    logits = logits.float()
    terms = dice_terms(logits.softmax(dim=1), truth, plan.over == "batch")
    weights = None if class_weights is None else torch.tensor(class_weights, device=logits.device)
    if plan.kind == "dice":
        terms = terms if weights is None else terms * weights
        return _over_classes(terms, plan)
    return _over_classes(terms, plan) + cross_entropy(logits, truth, weight=weights)


def _over_classes(terms: Tensor, plan: LossPlan) -> Tensor:
    return (terms if plan.background else terms[:, 1:]).mean()
