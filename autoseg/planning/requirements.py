"""What a plan must fulfil for its dataset, its processes and its memory, and the nearest one that does."""

from __future__ import annotations

import math

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.names import side_pairs
from autoseg.errors import PlanError
from autoseg.imaging.grid import Voxels
from autoseg.network.memory import is_indexable
from autoseg.plan import Plan
from autoseg.planning.budget import Budget, share_of, step_gib
from autoseg.planning.recipe import working_median

MOST_VOXELS, FEWEST_VOXELS = 4 * 10**9, 64  # of the median volume on the working grid


def require_crops(plan: Plan, processes: int) -> None:
    """Refuse more processes than a batch has crops.

    Raises:
        PlanError: If there are more.
    """
    if plan.batch_size < processes:
        raise PlanError(
            f"batch_size {plan.batch_size} on {processes} processes: each needs a crop; start at most "
            f"{plan.batch_size}, or plan for them: `autoseg plan … --gpus {processes}`, a preset with --set "
            f"batch_size={processes}"
        )


def require_one_device(plan: Plan, processes: int) -> None:
    """Refuse several processes that train together where there is a second stage.

    Raises:
        PlanError: If there are several.
    """
    if plan.finer is not None and processes > 1:
        raise PlanError(f"--gpus {processes}: two stages train on one device; leave it out, or plan with --stages 1")


def require_sides(plan: Plan) -> None:
    """Refuse crops mirrored along x where organs are left and right pairs: one would be learnt as the other.

    Raises:
        PlanError: If they are.
    """
    pairs = side_pairs(plan.labels)
    if pairs and "x" in plan.augmentation.mirrored:
        names = plan.scheme.names
        shown = ", ".join(f"{names[left]} and {names[right]}" for left, right in pairs[:3])
        raise PlanError(f"augmentation.mirrored {list(plan.augmentation.mirrored)}: {shown} are a pair; leave out x")


def require_sensible_grid(plan: Plan, fingerprint: Fingerprint) -> None:
    """Refuse a grid on which a volume has next to no voxels, or more than anyone can hold.

    Raises:
        PlanError: If it is one.
    """
    shape = working_median(plan, fingerprint)
    if math.prod(shape) > MOST_VOXELS or math.prod(shape) < FEWEST_VOXELS <= math.prod(fingerprint.median_shape):
        raise PlanError(
            f"spacing_mm {plan.spacing_mm}, downsampling {plan.downsampling}: the median volume would have {shape} "
            f"voxels (z, y, x); its own spacing is {fingerprint.median_spacing_mm} mm, take something near it or "
            "coarser"
        )
    if plan.flat is not None and (plan.network.divisor[plan.flat] > 1 or plan.crop_size[plan.flat] > 1):
        raise PlanError(
            f"flat_axis {plan.flat_axis}: crop_size {plan.crop_size} and the poolings must be 1 along it; set them, or "
            "flat_axis=null"
        )


def require_indexable(plan: Plan, budget: Budget, prefix: str = "") -> None:
    """Refuse a step whose tensors CUDA's libraries cannot count through; arguments as of `nearest_fit`.

    Raises:
        PlanError: If it is one; the text proposes the nearest that is none.
    """
    if not _is_indexable(plan, budget):
        raise PlanError(
            f"{prefix}batch_size {plan.batch_size}, {prefix}crop_size {list(plan.crop_size)}: a tensor of the step "
            f"would have 2^31 numbers or more, which CUDA's libraries cannot index; {nearest_fit(plan, budget, prefix)}"
        )


def _is_indexable(plan: Plan, budget: Budget) -> bool:
    return is_indexable(plan, share_of(plan, budget.processes).batch_size, plan.crop_size)


def _fits(plan: Plan, budget: Budget) -> bool:
    return _is_indexable(plan, budget) and step_gib(plan, budget) <= budget.step_gib


def nearest_fit(plan: Plan, budget: Budget, prefix: str = "") -> str:
    """Return which batch, or else which crop, is the nearest that fits, as a way out for the user.

    Args:
        plan: That does not fit.
        budget: That it must fit.
        prefix: Of the plan's keys: `finer.` of a second stage.
    """
    least = budget.processes  # each has a crop
    for batch in range(plan.batch_size - 1, least - 1, -1):
        if _fits(plan.model_copy(update={"batch_size": batch}), budget):
            return f"nearest that fits: --set {prefix}batch_size={batch}"
    size = plan.crop_size
    while any(n > d for n, d in zip(size, plan.network.divisor, strict=True)):
        size = _smaller(size, plan.network.divisor)
        smaller = plan.model_copy(update={"batch_size": least, "crop_size": size})
        if _fits(smaller, budget):
            crop = str(list(size)).replace(" ", "")
            return f"nearest that fits: --set {prefix}batch_size={least} --set {prefix}crop_size={crop}"
    return "no crop fits; take a smaller network"


def _smaller(size: Voxels, divisor: Voxels) -> Voxels:
    """Take one step of the poolings off the longest axis that can give it."""
    longest = max((n, axis) for axis, (n, d) in enumerate(zip(size, divisor, strict=True)) if n > d)[1]
    z, y, x = (n - d if axis == longest else n for axis, (n, d) in enumerate(zip(size, divisor, strict=True)))
    return z, y, x
