"""The organs' part of plan.md: how large they are, and what the grid costs them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from autoseg.dataset.fingerprint import OrganFingerprint
from autoseg.dataset.names import side_pairs
from autoseg.planning.context import Context
from autoseg.planning.context import by as _by
from autoseg.planning.context import text as _text
from autoseg.planning.planner import Decision
from autoseg.planning.rules import CEILING, WorkingGrid
from autoseg.words import counted

SMALL_ORGAN_VOXELS = 30  # of the working grid; below this an organ is named in the plan


def organs(decision: Decision, context: Context) -> Iterable[str]:
    """Tell of each organ how large it is, how little of it the working grid has, and what that costs."""
    plan, fingerprint = decision.plan, context.fingerprint
    shrink = math.prod(plan.downsampling)
    grids = _grids_with_ceilings(decision, context)
    yield "## Organs"
    extra = "".join(f" ceiling at {_by(grid.spacing_mm)} mm |" for grid in grids)
    head = f"| organ | value | cases | median ml | extent mm (z, y, x) | voxels on the working grid |{extra}\n"
    head += "|---" * (6 + len(grids)) + "|\n"
    rows = [
        _organ_row(number, organ, organ.median_voxels / shrink, grids, context)
        for number, organ in enumerate(fingerprint.organs)
    ]
    yield head + "\n".join(rows)
    small = [
        (o.name, o.median_voxels / shrink)
        for o in fingerprint.organs
        if 0 < o.median_voxels / shrink < SMALL_ORGAN_VOXELS
    ]
    if small:
        named = ", ".join(f"{_text(name)}: {counted(round(voxels), 'voxel')}" for name, voxels in small)
        yield f"**Small organs** on the working grid (median): {named}. Expect low and scattered Dice there."
    yield from _ceiling_words(decision, grids, context)
    names = plan.scheme.names
    pairs = [f"{_text(names[left])} and {_text(names[right])}" for left, right in side_pairs(plan.labels)]
    if pairs:
        yield f"**Left and right**: {'; '.join(pairs)} differ only in their side, so no crop is mirrored along x."


def _organ_row(
    number: int, organ: OrganFingerprint, voxels: float, grids: Sequence[WorkingGrid], context: Context
) -> str:
    extent = _by(organ.median_extent_mm, 0)
    cells = [_text(organ.name), str(organ.value), str(organ.cases), f"{organ.median_ml:.1f}", extent, f"{voxels:.0f}"]
    for grid in grids:
        dice = (context.ceilings or {})[grid.spacing_mm][number]
        cells.append("–" if dice is None else f"{100 * dice:.1f}")
    return f"| {' | '.join(cells)} |"


def _grids_with_ceilings(decision: Decision, context: Context) -> list[WorkingGrid]:
    """Return the grids whose ceilings are known, coarsest first."""
    own = decision.chosen or decision.grids[0]
    grids = {grid.spacing_mm: grid for grid in (*decision.grids, own) if grid.spacing_mm in (context.ceilings or {})}
    return sorted(grids.values(), key=lambda grid: math.prod(grid.shape))


def _ceiling_words(decision: Decision, grids: Sequence[WorkingGrid], context: Context) -> Iterable[str]:
    chosen = decision.chosen or decision.grids[0]
    if chosen.spacing_mm not in (context.ceilings or {}):
        return
    yield (
        "**Resolution ceiling**: the Dice (%) that the truth itself keeps after going to a grid and back; on average "
        "a network on that grid can hardly score higher."
    )
    here = (context.ceilings or {})[chosen.spacing_mm]
    low = [(o.name, d) for o, d in zip(context.fingerprint.organs, here, strict=True) if d is not None and d < CEILING]
    if not low:
        return
    named = ", ".join(f"{_text(name)} {100 * dice:.1f}" for name, dice in low)
    text = f"**Warning**: the grid alone costs more than a tenth of {named}."
    finer = [grid for grid in grids if grid.is_finer_than(chosen)]
    if finer:
        more = math.prod(finer[0].shape) / math.prod(chosen.shape)
        text += f" At {_by(finer[0].spacing_mm)} mm a volume has {more:.1f} times the voxels, memory and time;"
        larger = "" if context.budget.device == "cpu" else "--gpu-memory on a larger GPU, or "
        text += f" the table says what it gives. Take it with {larger}--set spacing_mm=[z,y,x]."
    yield text
