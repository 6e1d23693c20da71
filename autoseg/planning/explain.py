"""The plan in plain language: plan.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autoseg.network.unet import UNet3D, parameter_count
from autoseg.plan import Plan
from autoseg.planning.findings import Finding
from autoseg.planning.fingerprint import Fingerprint
from autoseg.planning.planner import Budget, Decision
from autoseg.planning.rules import COVER

SMALL_ORGAN_VOXELS = 30  # of the working grid; below this an organ is named in the plan


def explain(
    found: Fingerprint,
    decision: Decision,
    budget: Budget,
    findings: Sequence[Finding],
    seconds_per_iteration: float | None,
) -> str:
    """Return plan.md: what was found, what was chosen and why, what it costs.

    Args:
        found: The dataset in numbers.
        decision: The plan, and the grids that were considered.
        budget: Device and memory.
        findings: Of the data check.
        seconds_per_iteration: Measured on the device; None where it was not measured.
    """
    plan = decision.plan
    parts = [
        f"# Plan for {_text(plan.name)}",
        "For research; not a medical device.",
        *_data(found, findings),
        *(_preset(plan) if decision.chosen is None else _choices(decision, found)),
        *_changes(decision),
        *_small_organs(plan, found),
        *_network(plan, budget),
        *_training(plan),
        *_cost(plan, decision, budget, seconds_per_iteration),
    ]
    return "\n\n".join(parts) + "\n"


def _data(found: Fingerprint, findings: Sequence[Finding]) -> Iterable[str]:
    yield "## What was found"
    yield (
        f"{found.cases} usable cases. Median size {_by(found.median_shape)} voxels (z, y, x), median spacing "
        f"{_by(found.median_spacing_mm)} mm (from {_by(found.smallest_spacing_mm)} to "
        f"{_by(found.largest_spacing_mm)} mm)."
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
    rows = [
        f"| {_text(o.name)} | {o.value} | {o.cases} | {o.median_ml:.1f} | {_by(o.median_extent_mm, 0)} |"
        for o in found.organs
    ]
    head = "| organ | value | cases | median ml | median extent mm (z, y, x) |\n|---|---|---|---|---|\n"
    yield head + "\n".join(rows)
    worst = [f for f in findings if f.severity != "note"]
    if worst:
        yield f"The data check has {len(worst)} rows worth a look: see check.json or `autoseg check`."


def _preset(plan: Plan) -> Iterable[str]:
    yield f"## Preset {plan.preset or 'from a file'}"
    grid = "every image divided by" if plan.spacing_mm is None else f"spacing {_by(plan.spacing_mm)} mm, factor"
    yield (
        f"All settings are the preset's; nothing was derived from the data but names and intensities. "
        f"Grid: {grid} {_by(plan.downsampling)}; crop {_by(plan.crop_size)}, batch {plan.batch_size}."
    )


def _choices(decision: Decision, found: Fingerprint) -> Iterable[str]:
    plan, chosen = decision.plan, decision.chosen
    if chosen is None:
        return
    yield "## What was chosen, and why"
    yield (
        f"**Working grid**: spacing {_by(chosen.spacing_mm)} mm, that is a downsampling of {_by(plan.downsampling)} "
        f"(z, y, x); the median volume then has {_by(chosen.shape)} voxels."
    )
    finer = [g for g in decision.grids if g.factor < chosen.factor]
    if finer:
        yield (
            f"Rejected, finer: {'; '.join(_by(g.spacing_mm) + ' mm' for g in finer)}. The largest crop that fits the "
            f"budget would see less than {COVER:.0%} of the median volume's length on some axis."
        )
    else:
        yield "It is the data's own resolution: the largest crop that fits the budget sees enough of the body."
    share = [min(1.0, c / n) for c, n in zip(plan.crop_size, chosen.shape, strict=True)]
    yield (
        f"**Crop** {_by(plan.crop_size)} voxels: it sees {', '.join(f'{s:.0%}' for s in share)} of the median volume "
        f"along z, y, x; every extent is divisible by {_by(plan.network.divisor)}, as the network's poolings need."
    )
    yield (
        f"**Batch** {plan.batch_size}: crops of different cases, at most a tenth of the {found.cases} cases "
        "(but at least 2)."
    )


def _changes(decision: Decision) -> Iterable[str]:
    if decision.changed:
        yield f"**Set by the user**, so the reasons above do not cover it: {', '.join(map(_text, decision.changed))}."


def _small_organs(plan: Plan, found: Fingerprint) -> Iterable[str]:
    shrink = plan.downsampling[0] * plan.downsampling[1] * plan.downsampling[2]
    small = [
        (o.name, o.median_voxels / shrink) for o in found.organs if 0 < o.median_voxels / shrink < SMALL_ORGAN_VOXELS
    ]
    if small:
        named = ", ".join(f"{_text(name)}: {voxels:.0f} voxels" for name, voxels in small)
        yield f"**Small organs** on the working grid (median): {named}. Expect low and scattered Dice there."


def _network(plan: Plan, budget: Budget) -> Iterable[str]:
    widths = ", ".join("-".join(str(f) for f in stage.features) for stage in plan.network.stages)
    network = UNet3D(len(plan.channels), plan.classes, plan.network)
    yield "## Network"
    yield (
        f"3D U-Net with {len(plan.network.stages)} levels of widths {widths}: "
        f"{parameter_count(network) / 1e6:.2f} million parameters (weights, biases, and scale and shift of the norms). "
        f"{plan.network.norm} norm, {plan.network.activation}. "
        + ("The paper's 32 base features are halved on a CPU." if budget.device == "cpu" and not plan.preset else "")
    ).strip()


def _training(plan: Plan) -> Iterable[str]:
    loss = "Dice" if plan.loss.kind == "dice" else "Dice over the organs + cross-entropy weighted by class"
    yield "## Training"
    yield (
        f"{plan.iterations} iterations of {plan.optimiser.name}, learning rate {plan.learning_rate:g} "
        f"({plan.optimiser.schedule}), loss {loss}. {plan.organ_share:.0%} of the crops are centred on an organ, every "
        "organ of a case equally likely. No crop is mirrored, so left and right stay apart."
    )


def _cost(plan: Plan, decision: Decision, budget: Budget, seconds: float | None) -> Iterable[str]:
    yield "## Cost"
    yield (
        f"Device {budget.device}: {budget.memory_gib:.1f} GiB, of which a training step may take "
        f"{budget.step_gib:.1f} GiB; predicted {decision.step_gib:.1f} GiB (counted from the network, not measured)."
    )
    if seconds is None:
        yield "Time was not measured; `autoseg plan --measure` does."
    else:
        hours = seconds * plan.iterations / 3600
        yield f"Measured {seconds:.2f} s an iteration here: about {hours:.1f} hours for {plan.iterations} iterations."


def _by(values: Sequence[float], digits: int = 2) -> str:
    return " × ".join(
        f"{v:.{digits}f}".rstrip("0").rstrip(".") if digits and isinstance(v, float) else f"{v:.0f}" for v in values
    )


def _text(name: str) -> str:
    return name.replace("|", "\\|").replace("<", "&lt;")
