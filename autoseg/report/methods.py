"""The methods of a run as paragraphs for a paper, in words made from its plan, split and fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.split import Split
from autoseg.dataset.statements import FIELDS
from autoseg.network.build import build
from autoseg.network.unet import parameter_count
from autoseg.plan import AugmentationPlan, Plan
from autoseg.version import VERSION
from autoseg.words import counted, joined

NETWORKS = {
    "unet": "3D U-Net (Çiçek et al. 2016)",
    "residual": "3D U-Net with a residual encoder (Isensee et al. 2024)",
}
NEEDED = ("reference", "acquisition", "inclusion", "reference_standard", "annotators")  # of the data, in a paper
LOSSES = {"dice": "the Dice loss", "dice-ce": "the sum of Dice loss and cross-entropy"}


def methods(
    plan: Plan,
    data: Fingerprint | None,
    splits: Sequence[Split],
    iterations: int,
    is_drawn: bool = True,
    said: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return heading to paragraph; what is not known is left out, what only the author knows stands in brackets.

    Args:
        plan: Of the run.
        data: Fingerprint of its dataset; None: not known.
        splits: One a fold; empty: not made yet.
        iterations: That were trained; 0: none yet.
        is_drawn: Whether the split was drawn at random, not given by the user.
        said: What the dataset says of itself, from `statements.statements`.
    """
    parts = {
        "Data": _data(plan, data, said),
        "Partitions": _partitions(splits, is_drawn),
        "Preprocessing": _preprocessing(plan),
        "Network": _network(plan),
        "Training": _training(plan, iterations or plan.iterations),
        "Inference": _inference(plan),
        "Evaluation": _evaluation(),
    }
    return {heading: text for heading, text in parts.items() if text}


def methods_text(paragraphs: Mapping[str, str]) -> str:
    """Return methods.md."""
    return "\n\n".join(["# Methods", *(f"**{heading}.** {text}" for heading, text in paragraphs.items()), ""])


def _data(plan: Plan, data: Fingerprint | None, said: Mapping[str, str]) -> str:
    if data is None:
        return ""
    low, high = data.smallest_spacing_mm, data.largest_spacing_mm
    ends = [(f"{a:.3g}", f"{b:.3g}") for a, b in zip(low, high, strict=True)]
    spacing = ", ".join(a if a == b else f"{a} to {b}" for a, b in ends)
    return (
        f"The images of {plan.name} ({', '.join(plan.channels)}) have a median of {joined(data.median_shape)} voxels "
        f"and spacings of {spacing} mm (z, y, x). Segmented: {', '.join(label.name for label in plan.labels)}. "
        f"{_said(said)}"
    )


def _said(said: Mapping[str, str]) -> str:
    """Return what the dataset says of how its data came about, and in brackets what it does not."""
    texts = [f"{field.heading}: {said[field.key].rstrip('.')}." for field in FIELDS if field.key in said]
    open_fields = [field.heading for field in FIELDS if field.key in NEEDED and field.key not in said]
    return " ".join([*texts, *([f"[{', '.join(open_fields)}.]"] if open_fields else [])])


def _partitions(splits: Sequence[Split], is_drawn: bool) -> str:
    if not splits:
        return ""
    together = "Cases of one patient stayed in one partition."
    how = "at random, organs that few have first" if is_drawn else "[by a rule of your own: say which]"
    if len(splits) > 1:
        return f"Patients were divided {how}, into {len(splits)} folds; each case was tested in one. {together}"
    sides = ", ".join(f"{len(cases)} for {side}" for side, cases in splits[0].sides().items())
    return (
        f"Cases were divided by patient, {how}: {sides}. {together} Training cases fit the "
        "weights; validation cases choose clean-up rules and calibrate the expected Dice; testing cases decide nothing."
    )


def _preprocessing(plan: Plan) -> str:
    grid = (
        f"spacing {joined(plan.spacing_mm)} mm"
        if plan.spacing_mm
        else f"spacings coarser by {joined(plan.downsampling)}"
    )
    channels = []
    for name, how in zip(plan.channels, plan.intensity, strict=True):
        if how.kind == "ct":
            channels.append(
                f"{name} was clipped to {how.low:.0f} to {how.high:.0f} HU, less {how.mean:.0f} and divided "
                f"by {how.std:.0f}"
            )
        else:
            channels.append(
                f"{name} was clipped to each image's percentiles {how.low:g} and {how.high:g} and brought to mean 0 "
                "and deviation 1"
            )
    return f"Images were resampled linearly to {grid} (z, y, x). {'; '.join(channels)}."


def _network(plan: Plan) -> str:
    widths = ", ".join(str(level.features[-1]) for level in plan.network.stages)
    return (
        f"A {NETWORKS.get(plan.network.kind, plan.network.kind)} with {len(plan.network.stages)} levels of {widths} "
        f"features, {plan.network.norm} normalisation, {plan.network.activation} activations and "
        f"{parameter_count(build(plan)) / 1e6:.1f} million parameters maps {counted(len(plan.channels), 'channel')} to "
        f"the softmax probabilities of background and {counted(len(plan.labels), 'organ')}. Its weights were "
        f"initialised at random (seed {plan.seed}); no other data was used."
    )


def _training(plan: Plan, iterations: int) -> str:
    o, loss = plan.optimiser, LOSSES.get(plan.loss.kind, plan.loss.kind)
    averaged = f", an exponential average of the weights (decay {o.averaging:g}) is the model" if o.averaging else ""
    return (
        f"The network was trained for {counted(iterations, 'iteration')} on batches of "
        f"{counted(plan.batch_size, 'crop')} of {joined(plan.crop_size)} voxels, {100 * plan.organ_share:.0f} % of "
        f"them centred on an organ's voxel, every organ of the case equally likely. The loss was "
        f"{loss}{', weighted by class' if plan.loss.weights else ''}; the optimiser {o.name} with a "
        f"learning rate of {plan.learning_rate:g}, a {o.schedule} schedule, "
        f"{counted(o.warmup_iterations, 'iteration')} of warm-up and a weight decay of {o.weight_decay:g}{averaged}. "
        f"Augmentation: {_augmentation(plan.augmentation)}. The model is that of the last iteration."
    )


def _augmentation(a: AugmentationPlan) -> str:
    changes = {
        f"rotation up to {a.rotation_deg:g}° on each axis": a.rotation_deg,
        f"translation up to {a.translation_voxels:g} voxels": a.translation_voxels,
        f"scaling by up to {100 * a.scaling:g} %": a.scaling,
        f"B-spline deformation of control points {a.bspline_spacing_voxels:g} voxels apart by up to "
        f"{a.bspline_voxels:g} voxels": a.bspline_voxels,
        f"mirroring along {', '.join(a.mirrored)}": bool(a.mirrored),
        f"brightness (deviation {a.brightness:g})": a.brightness,
        f"contrast (up to {100 * a.contrast:g} %)": a.contrast,
        f"gamma (up to {100 * a.gamma:g} %)": a.gamma,
        f"Gaussian noise (deviation up to {a.noise:g})": a.noise,
    }
    return ", ".join(words for words, amount in changes.items() if amount) or "none"


def _inference(plan: Plan) -> str:
    return (
        f"Whole images were predicted in tiles that overlap by {100 * plan.tile_overlap:.0f} % ({plan.tile_weights} "
        "weights), probabilities were interpolated linearly to the image's own grid, and each voxel got the most "
        "probable class. Clean-up rules (largest piece, holes) were applied to the organs whose validation Dice they "
        f"raised. Software: autoseg {VERSION}."
    )


def _evaluation() -> str:
    return (
        "Masks were compared with the reference on the images' own grids: Dice, IoU, sensitivity, precision, 95th "
        "percentile Hausdorff distance (HD95), average symmetric surface distance and normalised surface Dice. An "
        "organ in only one of prediction and reference has a Dice of 0; HD95 is given for the found and with misses "
        "counted as the image's diagonal. Intervals are 95 % percentile bootstrap intervals over patients or cases, "
        "widened for small samples. Subgroups were compared by permutation tests with Holm's correction."
    )
