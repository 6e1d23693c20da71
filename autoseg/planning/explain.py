"""The plan in plain language: plan.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoseg.grid import Grid, Voxels, working_shape
from autoseg.network.unet import UNet3D, parameter_count
from autoseg.plan import Plan
from autoseg.planning.budget import GIB, Budget, Measured
from autoseg.planning.findings import Finding
from autoseg.planning.fingerprint import Fingerprint, OrganFingerprint
from autoseg.planning.naming import side_pairs
from autoseg.planning.planner import Ceilings, Decision, Rejected
from autoseg.planning.rules import AROUND, CEILING, COVER, LEAST_COVER, WorkingGrid

SMALL_ORGAN_VOXELS = 30  # of the working grid; below this an organ is named in the plan
REJECTED_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the explanation needs beside the decision."""

    found: Fingerprint
    budget: Budget
    findings: Sequence[Finding]
    ceilings: Ceilings | None
    cases: int  # that will be cached, testing cases included
    cache_bytes: int  # on the disk
    measured: Measured | None = None
    corrected: bool = False  # whether the measured memory made the plan smaller


def explain(decision: Decision, told: Told) -> str:
    """Return plan.md: what was found, what was chosen and why, what was rejected, what it costs."""
    plan = decision.plan
    parts = [
        f"# Plan for {_text(plan.name)}",
        "For research; not a medical device.",
        *_data(told),
        *(_preset(plan) if decision.chosen is None else _choices(decision, decision.chosen, told)),
        *_changes(decision),
        *_organs(decision, told),
        *_network(decision, told.budget),
        *_training(plan),
        *_cost(decision, told),
    ]
    return "\n\n".join(parts) + "\n"


def _data(told: Told) -> Iterable[str]:
    found = told.found
    yield "## What was found"
    yield (
        f"{told.cases} usable cases; the {found.cases} that may be learnt from decide. Median size "
        f"{_by(found.median_shape)} voxels (z, y, x), median spacing {_by(found.median_spacing_mm)} mm (from "
        f"{_by(found.smallest_spacing_mm)} to {_by(found.largest_spacing_mm)} mm)."
    )
    for channel in found.channels:
        if channel.ct:
            yield (
                f"Channel {_text(channel.name)} is CT: clipped to {channel.low:.0f} … {channel.high:.0f} HU, "
                f"which holds 99 % of the organs' voxels, then shifted by {channel.mean:.0f} and divided by "
                f"{channel.std:.0f} HU."
            )
        else:
            yield (
                f"Channel {_text(channel.name)} has no common scale: each image is clipped to its own percentiles "
                "0.5 and 99.5 and brought to mean 0, deviation 1."
            )
    counts = Counter(f.severity for f in told.findings)
    if counts:
        said = ", ".join(
            f"{counts[s]} {s}{'s' if counts[s] != 1 else ''}" for s in ("fatal", "warning", "note") if counts[s]
        )
        yield f"The data check says: {said}. See check.json or `autoseg check`."


def _preset(plan: Plan) -> Iterable[str]:
    yield f"## Preset {plan.preset or 'from a file'}"
    grid = "every image divided by" if plan.spacing_mm is None else f"spacing {_by(plan.spacing_mm)} mm, factor"
    yield (
        f"All settings are the preset's; nothing was derived from the data but names and intensities. "
        f"Grid: {grid} {_by(plan.downsampling)}; crop {_by(plan.crop_size)}, batch {plan.batch_size}."
    )


def _choices(decision: Decision, chosen: WorkingGrid, told: Told) -> Iterable[str]:
    plan = decision.plan
    yield "## What was chosen, and why"
    grid = (
        f"**Working grid**: spacing {_by(chosen.spacing_mm)} mm, that is a downsampling of {_by(plan.downsampling)} "
        f"(z, y, x); the median volume then has {_by(chosen.shape)} voxels."
    )
    if {"spacing_mm", "downsampling"} & set(decision.changed):
        yield f"{grid} The user set it."
    else:
        yield (
            f"{grid} The finest grid is taken on which a crop that fits sees enough of the body: {COVER:.0%} of the "
            f"median volume's length on each axis, or {AROUND:g} times the largest organ and all organs together where "
            "that is less."
        )
        if decision.finer_for:
            yield (
                f"For the sake of {', '.join(map(_text, decision.finer_for))}, of which a coarser grid alone would "
                f"cost more than a tenth, the crop may see {LEAST_COVER:.0%} instead of {COVER:.0%}."
            )
        yield from _rejected(decision.rejected, told.budget)
    share = [min(1.0, c / n) for c, n in zip(plan.crop_size, chosen.shape, strict=True)]
    yield (
        f"**Crop** {_by(plan.crop_size)} voxels: the largest that fits. It sees {', '.join(f'{s:.0%}' for s in share)} "
        f"of the median volume along z, y, x; every extent is divisible by {_by(plan.network.divisor)}, as the "
        "network's poolings need."
    )
    yield (
        f"**Batch** {plan.batch_size}: crops of different cases. It grows beyond 2 "
        + (
            "until a step has the voxels that a CPU does in about a second"
            if told.budget.device == "cpu"
            else "only once the crop is the whole volume"
        )
        + f", to at most a tenth of the {told.found.cases} cases."
    )


def _rejected(rejected: Sequence[Rejected], budget: Budget) -> Iterable[str]:
    if not rejected:
        yield "It is the resolution of the median image: only finer images lose detail."
        return
    rows = []
    for one in rejected[-REJECTED_SHOWN:]:
        if one.gib is None:
            why = f"{math.prod(one.crop):,} voxels a crop are more than a CPU does in a third of a second"
        else:
            why = f"a step would take {one.gib:.1f} GiB, {budget.step_gib:.1f} are for it"
        rows.append(f"| {_by(one.grid.spacing_mm)} | {_by(one.crop)} | {why} |")
    head = "| rejected, finer: mm | smallest crop that sees enough | why not |\n|---|---|---|\n"
    yield head + "\n".join(rows)


def _changes(decision: Decision) -> Iterable[str]:
    if decision.changed:
        yield f"**Set by the user**, so the reasons above do not cover it: {', '.join(map(_text, decision.changed))}."


def _organs(decision: Decision, told: Told) -> Iterable[str]:
    """Tell of each organ how large it is, how little of it the working grid has, and what that costs."""
    plan, found = decision.plan, told.found
    shrink = math.prod(plan.downsampling)
    grids = _grids_with_ceilings(decision, told)
    yield "## Organs"
    extra = "".join(f" ceiling at {_by(grid.spacing_mm)} mm |" for grid in grids)
    head = f"| organ | value | cases | median ml | extent mm (z, y, x) | voxels on the working grid |{extra}\n"
    head += "|---" * (6 + len(grids)) + "|\n"
    rows = [
        _organ_row(number, organ, organ.median_voxels / shrink, grids, told)
        for number, organ in enumerate(found.organs)
    ]
    yield head + "\n".join(rows)
    small = [
        (o.name, o.median_voxels / shrink) for o in found.organs if 0 < o.median_voxels / shrink < SMALL_ORGAN_VOXELS
    ]
    if small:
        named = ", ".join(f"{_text(name)}: {voxels:.0f} voxels" for name, voxels in small)
        yield f"**Small organs** on the working grid (median): {named}. Expect low and scattered Dice there."
    yield from _ceiling_words(decision, grids, told)
    names = {label.value: label.name for label in plan.labels}
    pairs = [f"{_text(names[left])} and {_text(names[right])}" for left, right in side_pairs(plan.labels)]
    if pairs:
        yield f"**Left and right**: {'; '.join(pairs)} differ only in their side, so no crop is ever mirrored."


def _organ_row(number: int, organ: OrganFingerprint, voxels: float, grids: Sequence[WorkingGrid], told: Told) -> str:
    extent = _by(organ.median_extent_mm, 0)
    cells = [_text(organ.name), str(organ.value), str(organ.cases), f"{organ.median_ml:.1f}", extent, f"{voxels:.0f}"]
    for grid in grids:
        dice = (told.ceilings or {})[grid.factor][number]
        cells.append("–" if dice is None else f"{100 * dice:.1f}")
    return f"| {' | '.join(cells)} |"


def _grids_with_ceilings(decision: Decision, told: Told) -> list[WorkingGrid]:
    """Return the grids whose ceilings are known, coarsest first."""
    own = decision.chosen or decision.grids[0]
    grids = {grid.factor: grid for grid in (*decision.grids, own)}
    return [grids[factor] for factor in sorted(told.ceilings or {}, reverse=True) if factor in grids]


def _ceiling_words(decision: Decision, grids: Sequence[WorkingGrid], told: Told) -> Iterable[str]:
    chosen = decision.chosen or decision.grids[0]
    if chosen.factor not in (told.ceilings or {}):
        return
    yield (
        "**Resolution ceiling**: the Dice (%) that the truth itself keeps after going to a grid and back; no network "
        "on that grid scores higher for long."
    )
    here = (told.ceilings or {})[chosen.factor]
    low = [(o.name, d) for o, d in zip(told.found.organs, here, strict=True) if d is not None and d < CEILING]
    if not low:
        return
    named = ", ".join(f"{_text(name)} {100 * dice:.1f}" for name, dice in low)
    text = f"**Warning**: the grid alone costs more than a tenth of {named}."
    finer = [grid for grid in grids if grid.factor < chosen.factor]
    if finer:
        more = math.prod(finer[0].shape) / math.prod(chosen.shape)
        text += f" At {_by(finer[0].spacing_mm)} mm a volume has {more:.1f} times the voxels, memory and time;"
        text += " the table says what it gives. Take it with --gpu-memory on a larger GPU, or --set spacing_mm=[z,y,x]."
    yield text


def _network(decision: Decision, budget: Budget) -> Iterable[str]:
    plan = decision.plan
    halved = (
        budget.device == "cpu" and decision.chosen is not None and not any("network" in k for k in decision.changed)
    )
    widths = ", ".join("-".join(str(f) for f in stage.features) for stage in plan.network.stages)
    network = UNet3D(len(plan.channels), plan.classes, plan.network)
    flat = [n for n, stage in enumerate(plan.network.stages) if 1 in stage.kernel]
    yield "## Network"
    yield (
        f"3D U-Net with {len(plan.network.stages)} levels of widths {widths}: "
        f"{parameter_count(network) / 1e6:.2f} million parameters (weights, biases, and scale and shift of the norms). "
        f"{plan.network.norm} norm, {plan.network.activation}. "
        + ("Kernels and poolings leave the coarse axis alone until voxels are even. " if flat else "")
        + ("The paper's 32 base features are halved on a CPU." if halved else "")
    ).strip()


def _training(plan: Plan) -> Iterable[str]:
    loss = "Dice" if plan.loss.kind == "dice" else "Dice + cross-entropy"
    loss += " weighted by class" if plan.loss.weights else ""
    yield "## Training"
    yield (
        f"{plan.iterations} iterations of {plan.optimiser.name}, learning rate {plan.learning_rate:g} "
        f"({plan.optimiser.schedule}), loss {loss}. {plan.organ_share:.0%} of the crops are centred on an organ, every "
        "organ of a case equally likely. No crop is mirrored, so left and right stay apart."
    )


def _cost(decision: Decision, told: Told) -> Iterable[str]:
    plan, budget, measured = decision.plan, told.budget, told.measured
    yield "## Cost"
    owner = "the GPU" if budget.device == "cuda" else "this machine's free memory"
    limit = f"{budget.step_gib:.1f} of the {budget.memory_gib:.1f} GiB of {owner} are for training"
    if measured is None:
        yield (
            f"**Memory**: predicted {decision.step_gib:.1f} GiB, counted from the network and not measured; {limit}. "
            "**Time** was not measured: `autoseg plan --measure` does, on the machine that trains."
        )
    else:
        corrected = " The first plan took too much when it was run, so this one is smaller." if told.corrected else ""
        hours = measured.seconds_per_iteration * plan.iterations / 3600
        yield (
            f"**Memory**: predicted {decision.step_gib:.2f} GiB, measured {measured.gib:.2f} GiB; {limit}.{corrected} "
            f"**Time**: measured {measured.seconds_per_iteration:.2f} s an iteration, {measured.waiting_share:.1%} of "
            f"it waiting for data; about {hours:.1f} hours for {plan.iterations} iterations, validation apart."
        )
    yield f"**Disk**: about {_gib(told.cache_bytes / GIB)} for the cache of {told.cases} cases."


def working_median(plan: Plan, found: Fingerprint) -> Voxels:
    """Return the size of the median volume on the plan's working grid."""
    median = Grid(shape=found.median_shape, spacing_mm=found.median_spacing_mm)
    return working_shape(median, plan.spacing_mm, plan.downsampling)


def grid_of(plan: Plan, found: Fingerprint) -> WorkingGrid:
    """Return the working grid of a plan for the median volume."""
    z, y, x = plan.spacing_mm or (f * mm for f, mm in zip(plan.downsampling, found.median_spacing_mm, strict=True))
    factor = min((z, y, x)) / min(found.median_spacing_mm)
    return WorkingGrid(factor=factor, spacing_mm=(z, y, x), shape=working_median(plan, found))


def _gib(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 1 else f"{1024 * gib:.0f} MiB"


def _by(values: Sequence[float], digits: int = 2) -> str:
    return " × ".join(
        f"{v:.{digits}f}".rstrip("0").rstrip(".") if digits and isinstance(v, float) else f"{v:.0f}" for v in values
    )


def _text(name: str) -> str:
    return name.replace("|", "\\|").replace("<", "&lt;")
