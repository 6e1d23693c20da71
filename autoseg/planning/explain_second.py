"""The second stage's section of plan.md: which organs, which grid, what it gains and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoseg.machine import GIB
from autoseg.planning.rules import BOX_COVER, WORTH, WorkingGrid
from autoseg.planning.second_plan import MARGIN_VOXELS, SecondPlan
from autoseg.planning.stages import STEP_SHARES
from autoseg.words import counted, escape, in_gib, in_minutes, joined


def second_section(second: SecondPlan, first: WorkingGrid, unasked_for: str = "", learning: int = 0) -> Iterable[str]:
    """Yield the paragraphs on a second stage.

    Args:
        second: Its plan, and what it is worth.
        first: The working grid of the first stage.
        unasked_for: What it gains, where the user has not asked for it.
        learning: Cases that train and validate, summed over the folds, of each of which what it sees is stored.
    """
    plan, fitted = second.plan, second.fitted
    grid = second.grid
    yield "## Second stage"
    if unasked_for:
        yield f"`plan` chose two: the grid of one would cost organs more than a tenth, but {escape(unasked_for)}."
    yield (
        f"It looks again at {', '.join(escape(organ) for organ in second.before)}, on a grid of "
        f"{joined(grid.spacing_mm)} mm, in a box around what the first stage sees of them: {joined(second.box)} voxels "
        f"of the median image. Where the first stage sees each of them is a further channel."
    )
    yield _ceilings(second, first, grid)
    yield from _reasons(second)
    if second.without_gain:
        yield f"A finer grid that fits would not help {', '.join(map(escape, second.without_gain))}."
    yield (
        f"**Margin**: {plan.margin_mm:g} mm, {MARGIN_VOXELS} voxels of the first stage's grid; `train` makes it wider "
        "where the first stage misses more in validation cases. A box out of which organs reach is widened."
    )
    voxels = [math.prod(grid.shape), math.prod(first.shape)]
    yield (
        f"**Crop** {joined(plan.crop_size)} voxels, **batch** {plan.batch_size}, {plan.iterations} iterations. In "
        f"prediction its box has {voxels[0]:,} voxels, the whole image {voxels[1]:,} on the first stage's grid."
    )
    share = "" if fitted.training_s is None else ", each for half of the time"
    stored = learning * voxels[0] * (2 * len(plan.channels) + 1) / GIB
    yield f"**Disk**: about {in_gib(stored)} beside the cache, for what it sees of the cases of each fold."
    yield f"{_cost(second)}. The two stages train one after the other{share}."


def _ceilings(second: SecondPlan, first: WorkingGrid, own: WorkingGrid) -> str:
    """Return the table of what each grid leaves of the organs."""
    head = (
        f"| organ | ceiling at {joined(first.spacing_mm)} mm | ceiling at {joined(own.spacing_mm)} mm | gain, points |"
    )
    rows = [
        f"| {escape(organ)} | {100 * before:.1f} | {100 * second.after[organ]:.1f} "
        f"| {100 * (second.after[organ] - before):.1f} |"
        for organ, before in second.before.items()
    ]
    return "\n".join([head, "|---|---|---|---|", *rows])


def _reasons(second: SecondPlan) -> Iterable[str]:
    """Yield why the grid is this one, and how large the steps of both stages may be."""
    fitted = second.fitted
    yield (
        "The user set the grid."
        if {"spacing_mm", "downsampling"} & set(fitted.decision.changed)
        else f"It is the finest grid on which a crop that fits sees {BOX_COVER:.0%} of the box, where the first stage "
        f"tells which organ is which, or a coarser one that leaves each of them {WORTH:.0%} of its Dice. The first "
        "stage's grid is not made finer for thin organs: it has to find them."
    )
    if fitted.budget.step_voxels is not None:
        first_share, second_share = (round(100 * share) for share in STEP_SHARES)
        yield (
            f"As each stage has half of the time, a step of the first may have {first_share} % of the voxels that a "
            f"step of one stage has on a CPU, and one of the second {second_share} %."
        )


def _cost(second: SecondPlan) -> str:
    """Return the memory and time of the second stage's training."""
    plan, fitted = second.plan, second.fitted
    memory = f"**Memory**: predicted {fitted.decision.step_gib:.2f} GiB a step"
    if fitted.measured is not None:
        seconds = fitted.measured.seconds_per_iteration
        memory += f", measured {fitted.measured.gib:.2f} GiB. **Time**: measured {seconds:.2f} s an iteration, about "
        memory += f"{in_minutes(seconds * plan.iterations)} for {counted(plan.iterations, 'iteration')}"
    return memory
