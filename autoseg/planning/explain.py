"""plan.md: the plan explained in plain language, with the reasons, what was rejected, and the cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoseg.dataset.findings import Finding
from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.names import unheeded_normalisation
from autoseg.machine import GIB
from autoseg.network.build import NETWORKS, build
from autoseg.network.losses import LOSSES
from autoseg.network.unet import parameter_count
from autoseg.plan import Plan
from autoseg.planning.budget import Budget, StepCost
from autoseg.planning.explain_organs import organs_section
from autoseg.planning.explain_second import second_section
from autoseg.planning.explain_split import Sides, split_section
from autoseg.planning.planner import Ceilings, Decision, Rejected
from autoseg.planning.recipe import ENOUGH_ITERATIONS, MANY_ITERATIONS, optimiser_in_words
from autoseg.planning.rules import AROUND, COVER, CPU_STEP_VOXELS, LARGEST_BATCH, LEAST_COVER, WorkingGrid
from autoseg.planning.second_plan import SecondPlan
from autoseg.planning.stages import STEP_SHARES
from autoseg.words import counted, escape, in_gib, in_minutes, joined

REJECTED_ROWS = 3  # grids that were too fine, of which the table tells


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the explanation needs beside the decision."""

    fingerprint: Fingerprint
    budget: Budget
    findings: Sequence[Finding]
    ceilings: Ceilings | None
    cases: int  # that will be cached, testing cases included
    cache_bytes: int  # on the disk
    sides: Sides
    measured: StepCost | None = None
    corrected: bool = False  # whether the measured memory made the plan smaller
    training_s: float | None = None  # that the steps fit; None: their number does not follow from the time
    second: SecondPlan | None = None  # of a second stage


def explain(decision: Decision, context: Context) -> str:
    """Return the text of plan.md: the data, each choice with its reason, what was rejected, and the cost."""
    plan = decision.plan
    parts = [
        f"# Plan for {escape(plan.name)}",
        "For research; not a medical device.",
        *_data(context),
        *(_preset(plan) if decision.chosen is None else _choices(decision, decision.chosen, context)),
        *_changes(decision),
        *organs_section(decision, context.fingerprint, context.ceilings or {}, on_gpu=context.budget.device != "cpu"),
        *(f"**Advice**: {escape(sentence)}." for sentence in decision.advice),
        *_network(decision, context.budget),
        *split_section(context.sides),
        *_training(decision, context),
        *_cost(decision, context),
        *_second(decision, context),
    ]
    return "\n\n".join(parts) + "\n"


def _second(decision: Decision, context: Context) -> Iterable[str]:
    first, second = decision.chosen or decision.grids[0], context.second
    learning = sum(len(fold.training) + len(fold.validation) for fold in context.sides.splits)
    return () if second is None else second_section(second, first, decision.two_for, learning)


def _data(context: Context) -> Iterable[str]:
    fingerprint = context.fingerprint
    least, most = joined(fingerprint.smallest_spacing_mm), joined(fingerprint.largest_spacing_mm)
    yield "## What was found"
    yield (
        f"{context.cases} usable cases; the {fingerprint.cases} that may be learnt from decide. Median size "
        f"{joined(fingerprint.median_shape)} voxels (z, y, x), median spacing "
        f"{joined(fingerprint.median_spacing_mm)} mm"
        + (", in all cases." if least == most else f" (from {least} to {most} mm).")
    )
    for channel in fingerprint.channels:
        if channel.ct:
            yield (
                f"Channel {escape(channel.name)} is CT: clipped to {channel.low:.0f} … {channel.high:.0f} HU, "
                f"which holds 99 % of the organs' voxels, then shifted by {channel.mean:.0f} and divided by "
                f"{channel.std:.0f} HU."
            )
        else:
            yield (
                f"Channel {escape(channel.name)} has no common scale: each image is clipped to its own percentiles "
                f"0.5 and {channel.highest_percentile:g} and brought to mean 0, deviation 1."
            )
            if (asked := unheeded_normalisation(channel.name)) is not None:
                yield f"By the name {escape(channel.name)} nnU-Net would {asked}; it is not heeded here."
    if fingerprint.partly:
        yield (
            f"In {counted(fingerprint.partly, 'case')} only some organs are labelled. Where one is not, the loss takes "
            "background for background or that organ, and nothing is scored."
        )
    counts = Counter(f.severity for f in context.findings)
    if counts:
        rows = ", ".join(counted(counts[s], s) for s in ("fatal", "warning", "note") if counts[s])
        yield f"The data check says: {rows}. See check.json or `autoseg check`."


def _preset(plan: Plan) -> Iterable[str]:
    yield f"## Preset {plan.preset or 'from a file'}"
    grid = "every image divided by" if plan.spacing_mm is None else f"spacing {joined(plan.spacing_mm)} mm, factor"
    yield (
        f"All settings are the preset's; nothing was derived from the data but names and intensities. "
        f"Grid: {grid} {joined(plan.downsampling)}; crop {joined(plan.crop_size)}, batch {plan.batch_size}."
        + (" So is its second stage." if plan.finer else "")
    )


def _choices(decision: Decision, chosen: WorkingGrid, context: Context) -> Iterable[str]:
    plan = decision.plan
    yield "## What was chosen, and why"
    grid = (
        f"**Working grid**: spacing {joined(chosen.spacing_mm)} mm, that is a downsampling of "
        f"{joined(plan.downsampling)} (z, y, x); the median volume then has {joined(chosen.shape)} voxels."
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
                f"For the sake of {', '.join(map(escape, decision.finer_for))}, of which a coarser grid alone would "
                f"cost more than a tenth, the crop may see {LEAST_COVER:.0%} instead of {COVER:.0%}."
            )
        yield from _rejected(decision.rejected, context.budget)
    yield from _slices(plan, context.fingerprint)
    yield from _crop_and_batch(decision, chosen, context)


def _slices(plan: Plan, fingerprint: Fingerprint) -> Iterable[str]:
    if plan.flat is not None:
        slices = fingerprint.median_shape[plan.flat]
        why = "there is one" if slices == 1 else f"the median image has only {slices}, and they are thick"
        yield (
            f"**Slices** along {plan.flat_axis} are seen one by one, as {why}: the network is 2D (kernels and poolings "
            "are 1 along that axis), a crop lies within a slice, and nothing is resampled, moved or turned out of it."
        )


def _crop_and_batch(decision: Decision, chosen: WorkingGrid, context: Context) -> Iterable[str]:
    plan = decision.plan

    def by_user(key: str, reason: str) -> str:
        return "set by the user" if key in decision.changed else reason

    most = context.budget.step_voxels
    largest = "the largest that fits" + (
        f" with at most a third of the {most:,} voxels that a step may have" if most else ""
    )
    share = [min(1.0, c / n) for c, n in zip(plan.crop_size, chosen.shape, strict=True)]
    yield (
        f"**Crop** {joined(plan.crop_size)} voxels: {by_user('crop_size', largest)}. It sees "
        f"{', '.join(f'{s:.0%}' for s in share)} of the median volume along z, y, x; every extent is divisible by "
        f"{joined(plan.network.divisor)}, as the network's poolings need."
    )
    least = max(2, context.budget.processes)
    grows = (
        f"more than {least} only once the crop is the whole volume"
        if most is None
        else f"as many as {most:,} voxels hold"
    )
    if context.budget.cpu_batch < LARGEST_BATCH and context.training_s:
        grows = (
            f"no more than {context.budget.cpu_batch}, since with more crops fewer than {MANY_ITERATIONS} iterations "
            f"would fit {in_minutes(context.training_s)} (many small steps learn more than few large ones)"
        )
    reason = f"There are {grows}, and no more than a tenth of the {context.fingerprint.cases} cases; {least} at least."
    yield f"**Batch** {plan.batch_size}: crops of different cases. {by_user('batch_size', reason)}" + _shared(
        context.budget
    )
    usual = CPU_STEP_VOXELS if context.second is None else int(STEP_SHARES[0] * CPU_STEP_VOXELS)
    if most is not None and most < usual and context.training_s:
        yield (
            f"A step has {most:,} voxels at most, in place of {usual:,}: this machine needs so long for them "
            f"that fewer than {ENOUGH_ITERATIONS} iterations would have fitted {in_minutes(context.training_s)}. More "
            "time (`--time-budget`) or a faster machine gives a finer plan."
        )


def _shared(budget: Budget) -> str:
    if budget.processes == 1:
        return ""
    each = "the memory below is that of one of them" if budget.device == "cuda" else "the memory below is that of all"
    return f" {budget.processes} processes (`--gpus`) share them, at least one each; {each}."


def _rejected(rejected: Sequence[Rejected], budget: Budget) -> Iterable[str]:
    if not rejected:
        yield "It is the resolution of the median image: only finer images lose detail."
        return
    rows = []
    for one in rejected[-REJECTED_ROWS:]:
        if one.gib is None:
            why = f"{math.prod(one.crop):,} voxels a crop are too much for a CPU: three of them would be a step"
        elif one.gib <= budget.step_gib:
            why = "its largest tensors would have more numbers than a GPU's libraries count, 2³¹"
        else:
            why = f"a step would take {one.gib:.1f} GiB, {budget.step_gib:.1f} are for it"
        rows.append(f"| {joined(one.grid.spacing_mm)} | {joined(one.crop)} | {why} |")
    head = "| rejected, finer: mm | smallest crop that sees enough | why not |\n|---|---|---|\n"
    yield head + "\n".join(rows)


def _changes(decision: Decision) -> Iterable[str]:
    if decision.changed:
        yield f"**Set by the user**, so the reasons above do not cover it: {', '.join(map(escape, decision.changed))}."


def _network(decision: Decision, budget: Budget) -> Iterable[str]:
    plan = decision.plan
    halved = (
        budget.device == "cpu" and decision.chosen is not None and not any("network" in k for k in decision.changed)
    )
    widths = ", ".join("-".join(str(f) for f in stage.features) for stage in plan.network.stages)
    parameters = parameter_count(build(plan))
    name = NETWORKS[plan.network.kind].name.replace("3D", "3D" if plan.flat is None else "2D")
    coarse = plan.flat is None and any(1 in stage.kernel for stage in plan.network.stages)
    yield "## Network"
    yield (
        f"{name} with {len(plan.network.stages)} levels of widths {widths}: "
        f"{parameters / 1e6:.2f} million parameters (weights, biases, and scale and shift of the norms). "
        f"{plan.network.norm} norm, {plan.network.activation}. "
        + ("Kernels and poolings leave the coarse axis alone until voxels are even. " if coarse else "")
        + ("The 32 features that Roth et al. 2018 begin with are halved on a CPU." if halved else "")
    ).strip()


def _training(decision: Decision, context: Context) -> Iterable[str]:
    plan = decision.plan
    loss = LOSSES[plan.loss.kind].of(plan.scheme).name + (" weighted by class" if plan.loss.weights else "")
    derived = set() if decision.chosen is None else {*vars(plan)} - {key.partition(".")[0] for key in decision.changed}
    steps = f"{plan.iterations} iterations of {optimiser_in_words(plan, derived)}"
    yield "## Training"
    yield f"{steps}, loss {loss}. {_places(plan)} {_mirroring(plan)}{_undeformed(plan)}"
    if context.measured and context.training_s:
        yield (
            f"The iterations are those whose steps fit {in_minutes(context.training_s)} at the measured "
            f"{context.measured.seconds_per_iteration:.2f} s each; a busy machine measures more and gets fewer. A time "
            "budget keeps a tenth for examinations and checkpoints. `--iterations` or `--time-budget` set them."
        )
        if context.measured.disturbed:
            yield (
                f"**Warning**: other programs took {context.measured.others_share:.0%} of the processors while it was "
                "measured, so iterations, and perhaps the steps, are fewer and smaller than they could be."
            )


def _places(plan: Plan) -> str:
    if not plan.organ_share:
        return "Crops lie anywhere in the volume."
    return f"{plan.organ_share:.0%} of the crops are centred on an organ, every organ of a case equally likely."


def _mirroring(plan: Plan) -> str:
    if not plan.augmentation.mirrored:
        return "No crop is mirrored, so left and right stay apart."
    return f"Half of the crops are mirrored along {', '.join(plan.augmentation.mirrored)}."


def _undeformed(plan: Plan) -> str:
    share, end = plan.augmentation.deformed_share, plan.augmentation.undeformed_end
    if not plan.augmentation.is_spatial:
        return ""
    few = f" Of the crops {share:.0%} are deformed, the others keep their shape and place." if share < 1 else ""
    return few + (f" The crops of the last {end:.0%} of the iterations are not deformed." if end else "")


def _cost(decision: Decision, context: Context) -> Iterable[str]:
    plan, budget, measured = decision.plan, context.budget, context.measured
    yield "## Cost"
    owner = "the GPU" if budget.device == "cuda" else "this machine's free memory"
    limit = f"{budget.step_gib:.1f} of the {budget.memory_gib:.1f} GiB of {owner} are for training"
    if measured is None:
        yield (
            f"**Memory**: predicted {decision.step_gib:.1f} GiB, counted from the network and not measured; {limit}. "
            "**Time** was not measured: `autoseg plan --measure` does, on the machine that trains."
        )
    else:
        corrected = (
            " The first plan took too much when it was run, so this one is smaller." if context.corrected else ""
        )
        time = in_minutes(measured.seconds_per_iteration * plan.iterations)
        folds = len(context.sides.splits)
        each = f" in each of {folds} folds" if folds > 1 else ""
        yield (
            f"**Memory**: predicted {decision.step_gib:.2f} GiB, measured {measured.gib:.2f} GiB; {limit}.{corrected} "
            f"**Time**: measured {measured.seconds_per_iteration:.2f} s an iteration, {measured.waiting_share:.1%} of "
            f"it waiting for data; about {time} for {plan.iterations} iterations{each}, validation apart."
        )
    yield f"**Disk**: about {in_gib(context.cache_bytes / GIB)} for the cache of {counted(context.cases, 'case')}."
