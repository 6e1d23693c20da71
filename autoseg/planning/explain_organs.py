"""The organs' section of plan.md: their sizes, and what the working grid costs each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from autoseg.dataset.fingerprint import Fingerprint, OrganFingerprint
from autoseg.dataset.names import side_pairs
from autoseg.planning.planner import Ceilings, Decision
from autoseg.planning.rules import CEILING, WorkingGrid
from autoseg.words import counted, escape, joined

SMALL_ORGAN_VOXELS = 30  # of the working grid; below this an organ is named in the plan


def organs_section(decision: Decision, fingerprint: Fingerprint, ceilings: Ceilings, *, on_gpu: bool) -> Iterable[str]:
    """Yield the paragraphs on the organs: the size of each, its voxels on the working grid, and what that costs.

    Args:
        decision: The plan, and the grids that were considered.
        fingerprint: The dataset in numbers.
        ceilings: By spacing of a grid, the Dice that the grid leaves each organ; only of the grids that were measured.
        on_gpu: Whether a larger GPU is a way to a finer grid.
    """
    plan = decision.plan
    shrink = math.prod(plan.downsampling)
    grids = _measured_grids(decision, ceilings)
    yield "## Organs"
    columns = "".join(f" ceiling at {joined(grid.spacing_mm)} mm |" for grid in grids)
    head = f"| organ | value | cases | median ml | extent mm (z, y, x) | voxels on the working grid |{columns}\n"
    head += "|---" * (6 + len(grids)) + "|\n"
    rows = [
        _organ_row(organ, organ.median_voxels / shrink, [ceilings[grid.spacing_mm][number] for grid in grids])
        for number, organ in enumerate(fingerprint.organs)
    ]
    yield head + "\n".join(rows)
    small = [
        (o.name, o.median_voxels / shrink)
        for o in fingerprint.organs
        if 0 < o.median_voxels / shrink < SMALL_ORGAN_VOXELS
    ]
    if small:
        sizes = ", ".join(f"{escape(name)}: {counted(round(voxels), 'voxel')}" for name, voxels in small)
        yield f"**Small organs** on the working grid (median): {sizes}. Expect low and scattered Dice there."
    yield from _ceiling_paragraphs(decision, grids, fingerprint, ceilings, on_gpu=on_gpu)
    names = plan.scheme.names
    pairs = [f"{escape(names[left])} and {escape(names[right])}" for left, right in side_pairs(plan.labels)]
    if pairs:
        yield f"**Left and right**: {'; '.join(pairs)} differ only in their side, so no crop is mirrored along x."


def _organ_row(organ: OrganFingerprint, voxels: float, dices: Sequence[float | None]) -> str:
    extent = joined(organ.median_extent_mm, 0)
    name, sizes = escape(organ.name), [f"{organ.median_ml:.1f}", extent, f"{voxels:.0f}"]
    cells = [name, str(organ.value), str(organ.cases), *sizes]
    cells += ["–" if dice is None else f"{100 * dice:.1f}" for dice in dices]
    return f"| {' | '.join(cells)} |"


def _measured_grids(decision: Decision, ceilings: Ceilings) -> list[WorkingGrid]:
    """Return the grids whose ceilings were measured, coarsest first."""
    own = decision.chosen or decision.grids[0]
    grids = {grid.spacing_mm: grid for grid in (*decision.grids, own) if grid.spacing_mm in ceilings}
    return sorted(grids.values(), key=lambda grid: math.prod(grid.shape))


def _ceiling_paragraphs(
    decision: Decision, grids: Sequence[WorkingGrid], fingerprint: Fingerprint, ceilings: Ceilings, *, on_gpu: bool
) -> Iterable[str]:
    """Yield what a ceiling is, and a warning on the organs that lose much to the grid and get no second look."""
    chosen = decision.chosen or decision.grids[0]
    if chosen.spacing_mm not in ceilings:
        return
    yield (
        "**Resolution ceiling**: the Dice (%) that the truth itself keeps after going to a grid and back; on average "
        "a network on that grid can hardly score higher."
    )
    dices = ceilings[chosen.spacing_mm]
    again = [] if decision.plan.finer is None else [label.name for label in decision.plan.finer.labels]
    lost = [(o.name, d) for o, d in zip(fingerprint.organs, dices, strict=True) if d is not None and d < CEILING]
    low = [(name, dice) for name, dice in lost if name not in again]
    if not low:
        return
    organs = ", ".join(f"{escape(name)} {100 * dice:.1f}" for name, dice in low)
    text = f"**Warning**: the grid alone costs more than a tenth of {organs}."
    finer = [grid for grid in grids if grid.is_finer_than(chosen)]
    if finer:
        factor = math.prod(finer[0].shape) / math.prod(chosen.shape)
        text += f" At {joined(finer[0].spacing_mm)} mm a volume has {factor:.1f} times the voxels, memory and time;"
        larger = "--gpu-memory on a larger GPU, or " if on_gpu else ""
        text += f" the table says what it gives. Take it with {larger}--set spacing_mm=[z,y,x]."
    yield text
