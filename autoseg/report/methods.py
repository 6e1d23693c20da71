"""The methods of a run as paragraphs for a paper, in words made from its plan, split and fingerprint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from autoseg.dataset.fingerprint import Fingerprint
from autoseg.dataset.split import Split
from autoseg.dataset.statements import FIELDS
from autoseg.evaluation.intervals import FEWEST, RESAMPLES
from autoseg.network.build import build
from autoseg.network.losses import LOSSES
from autoseg.network.unet import parameter_count
from autoseg.plan import AugmentationPlan, Plan
from autoseg.training.schedule import warmup_iterations
from autoseg.version import VERSION
from autoseg.words import counted, joined, span

NETWORKS = {
    "unet": "3D U-Net (Çiçek et al. 2016)",
    "residual": "3D U-Net with a residual encoder (Isensee et al. 2024)",
}
MOST_NAMED = 20  # organs in a sentence
NEEDED = ("reference", "acquisition", "inclusion", "reference_standard", "annotators")  # of the data, in a paper
OPTIMISERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "muon": "Muon (Jordan et al. 2024) for all kernels but the first and last convolution's, AdamW for all else,",
}
ACTIVATIONS = {"relu": "ReLU", "leaky-relu": "leaky ReLU"}
WEIGHTS = {"gaussian": "Gaussian", "flat": "equal"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run beside its plan, split and fingerprint."""

    iterations: int = 0  # that were trained; 0: none yet
    second_iterations: int = 0  # of a second stage
    is_displaced: bool = False  # whether that learnt from displaced probabilities of the first
    is_drawn: bool = True  # whether the split was drawn at random, not given by the user
    has_patients: bool = True  # whether the dataset names patients
    said: Mapping[str, str] = field(default_factory=dict)  # of itself, from `statements.statements`
    clean_up: Sequence[str] | None = None  # the rules that masks went through, in words; None: not known
    tables: Collection[str] = ()  # names of those in the report
    tolerance: str = ""  # of NSD, as in "2 mm"


def methods(plan: Plan, data: Fingerprint | None, splits: Sequence[Split], facts: Facts) -> dict[str, str]:
    """Return heading to paragraph; what is not known is left out, what only the author knows stands in brackets.

    Args:
        plan: Of the run.
        data: Fingerprint of its dataset; None: not known.
        splits: One a fold; empty: not made yet.
        facts: What else is known.
    """
    parts = {
        "Data": _data(plan, data, facts.said),
        "Partitions": _partitions(splits, facts),
        "Preprocessing": _preprocessing(plan),
        "Network": _network(plan),
        "Second stage": "" if plan.finer is None else _second_stage(plan.finer, splits, facts),
        "Training": _training(plan, facts.iterations or plan.iterations, max(1, len(splits))),
        "Inference": _inference(plan, facts.clean_up, validates=any(split.validation for split in splits)),
        "Evaluation": _evaluation(facts),
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
        f"and spacings of {spacing} mm (z, y, x). Segmented: {_organs(plan)}. "
        f"{_said(said)}"
    )


def _organs(plan: Plan) -> str:
    names = [label.name for label in plan.labels]
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} organs [list them; plan.json has the names]"


def _said(said: Mapping[str, str]) -> str:
    """Return what the dataset says of how its data came about, and in brackets what it does not."""
    texts = [f"{field.heading}: {said[field.key].rstrip('.')}." for field in FIELDS if field.key in said]
    open_fields = [field.heading for field in FIELDS if field.key in NEEDED and field.key not in said]
    return " ".join([*texts, *([f"[{', '.join(open_fields)}.]"] if open_fields else [])])


def _partitions(splits: Sequence[Split], facts: Facts) -> str:
    if not splits:
        return ""
    together = (
        "All cases of a patient stayed in one partition."
        if facts.has_patients
        else f"The dataset names no patients, so each case was taken for one{_confirmed(facts.said)}."
    )
    how = (
        "at random, stratified so that rare organs occur in each partition where possible"
        if facts.is_drawn
        else "[by a rule of your own: say which]"
    )
    unit = "Patients" if facts.has_patients else "Cases"
    if len(splits) > 1:
        sizes = [f"{span([len(split.sides()[side]) for split in splits])} for {side}" for side in splits[0].sides()]
        return (
            f"{unit} were divided {how}, into {len(splits)} folds; each case was tested in one, by a network that was "
            f"made without that fold (of a network's cases, {', '.join(sizes)}). {together}"
        )
    sides = ", ".join(f"{len(cases)} for {side}" for side, cases in splits[0].sides().items())
    validation = ", validation (tuning) cases to choose postprocessing and to calibrate the expected Dice"
    return (
        f"{unit} were divided {how}: {sides} cases. {together} Training cases were used to fit the weights"
        f"{validation if splits[0].validation else ''}; testing cases were used for no choice."
    )


def _confirmed(said: Mapping[str, str]) -> str:
    """Return what the dataset says of its patients, in brackets, or what the author has to confirm."""
    return f" ({said['patients'].rstrip('.')})" if "patients" in said else " [confirm that no patient has several]"


def _second_stage(plan: Plan, splits: Sequence[Split], facts: Facts) -> str:
    organs = ", ".join(label.name for label in plan.labels)
    grid = f"{joined(plan.spacing_mm)} mm" if plan.spacing_mm else f"spacings coarser by {joined(plan.downsampling)}"
    has_validation = any(split.validation for split in splits)
    margin = ", whose margin was chosen to hold them whole in the validation cases" if has_validation else ""
    displaced = (
        "In training cases, which the first network had learnt from, that was displaced at random by as much as "
        "brought its Dice nearest to that of validation cases. "
    )
    return (
        f"A second network ({NETWORKS[plan.network.kind]}) looked again at {organs}, on a grid of {grid} (z, y, x), in "
        f"a box around what the first one saw of them{margin}; in several boxes where these held less than half of its "
        "voxels. Where the first one saw each of them was a further input channel. "
        f"{displaced if facts.is_displaced else ''}Crops had {joined(plan.crop_size)} voxels; it was trained for "
        f"{counted(facts.second_iterations or plan.iterations, 'iteration')}. Its organs replaced those of "
        "the first network."
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
            numbers = f"{how.low:.0f} to {how.high:.0f} HU and standardised (mean {how.mean:.0f} HU, ".replace("-", "−")
            channels.append(f"{name} was clipped to {numbers}standard deviation {how.std:.0f} HU)")
        else:
            channels.append(
                f"{name} was clipped to each image's percentiles {how.low:g} and {how.high:g} and standardised "
                "(z-score)"
            )
    alone = "" if plan.flat is None else f" Slices along {plan.flat_axis} were segmented one by one."
    return f"Images were resampled linearly to {grid} (z, y, x).{alone} {'; '.join(channels)}."


def _network(plan: Plan) -> str:
    widths = ", ".join(str(level.features[-1]) for level in plan.network.stages)
    activation = ACTIVATIONS.get(plan.network.activation, plan.network.activation)
    network = NETWORKS.get(plan.network.kind, plan.network.kind).replace("3D", "3D" if plan.flat is None else "2D")
    return (
        f"A {network} with {len(plan.network.stages)} levels of {widths} "
        f"features, {plan.network.norm} normalisation, {activation} activations and "
        f"{parameter_count(build(plan)) / 1e6:.1f} million parameters maps {counted(len(plan.channels), 'channel')} to "
        f"{_outputs(plan)}. Its weights were "
        f"initialised at random (seed {plan.seed}); no other data was used."
    )


def _training(plan: Plan, iterations: int, folds: int) -> str:
    o, loss = plan.optimiser, LOSSES[plan.loss.kind].of(plan.scheme).description
    averaged = f" and an exponential moving average of the weights (decay {o.averaging:g})" if o.averaging else ""
    warmup = warmup_iterations(o.warmup_iterations, iterations)
    return (
        f"{'The network' if folds == 1 else 'The network of each fold'} was trained for "
        f"{counted(iterations, 'iteration')} on batches of "
        f"{counted(plan.batch_size, 'crop')} of {joined(plan.crop_size)} voxels, {100 * plan.organ_share:.0f} % of "
        f"them centred on an organ's voxel, every organ of the case equally likely. The loss was "
        f"{loss}{', weighted by class' if plan.loss.weights else ''}; the optimiser "
        f"{OPTIMISERS.get(o.name, o.name)} with a learning rate of {plan.learning_rate:g}, a {o.schedule} schedule, "
        f"{counted(warmup, 'iteration')} of warm-up, a weight decay of {o.weight_decay:g}{averaged}. "
        f"Augmentation: {_augmentation(plan.augmentation, plan.flat)}. The weights after the last iteration were used."
    )


def _augmentation(a: AugmentationPlan, flat: int | None) -> str:
    spatial = {
        f"rotation up to {a.rotation_deg:g}° {'on each axis' if flat is None else 'within the slice'}": a.rotation_deg,
        f"translation up to {a.translation_voxels:g} voxels": a.translation_voxels,
        f"scaling by up to {100 * a.scaling:g} %": a.scaling,
        f"B-spline deformation of control points {a.bspline_spacing_voxels:g} voxels apart by up to "
        f"{a.bspline_voxels:g} voxels": a.bspline_voxels,
    }
    intensity = {
        f"brightness (deviation {a.brightness:g})": a.brightness,
        f"contrast (up to {100 * a.contrast:g} %)": a.contrast,
        f"gamma (up to {100 * a.gamma:g} %)": a.gamma,
        f"Gaussian noise (deviation up to {a.noise:g})": a.noise,
    }
    shape = ", ".join(words for words, amount in spatial.items() if amount and a.is_spatial)
    limits = [f"of {100 * a.deformed_share:g} % of the crops"] if a.deformed_share < 1 else []
    limits += [f"not in the last {100 * a.undeformed_end:g} % of the iterations"] if a.undeformed_end else []
    shape += f" ({', '.join(limits)})" if shape and limits else ""
    mirroring = f"mirroring along {', '.join(a.mirrored)}" if a.mirrored else ""
    changes = (shape, mirroring, ", ".join(words for words, amount in intensity.items() if amount))
    return "; ".join(filter(None, changes)) or "none"


def _inference(plan: Plan, clean_up: Sequence[str] | None, *, validates: bool) -> str:
    rules = "Postprocessing, chosen on validation cases: "
    rules += f"{'; '.join(clean_up) if clean_up else 'none, as no rule raised their Dice'}."
    if not validates and not clean_up:
        rules = "No postprocessing was chosen, as no case validates."
    chosen = "each voxel got the most probable class"
    if plan.scheme.overlapping:
        chosen = "each voxel got every region that was more probable than not"
    return (
        f"Whole images were predicted by a sliding window with an overlap of {100 * plan.tile_overlap:.0f} % and "
        f"{WEIGHTS[plan.tile_weights]} weights; probabilities were interpolated linearly to the "
        f"image's own grid, and {chosen}. {rules if clean_up is not None else ''} "
        f"Software: autoseg {VERSION}."
    ).replace("  ", " ")


def _evaluation(facts: Facts) -> str:
    unit = "patients, each with all its cases" if facts.has_patients else "cases"
    texts = [
        "Masks were compared with the reference standard on the images' own grids: Dice, IoU, sensitivity, precision, "
        "95th percentile Hausdorff distance (HD95) and average symmetric surface distance where both have the organ"
        + (f", normalised surface Dice at {facts.tolerance} [say why this tolerance]." if facts.tolerance else "."),
        "An organ in only one of mask and reference has a Dice of 0.",
        "In a further table HD95 of such an organ is the image's diagonal." if "distances" in facts.tables else "",
        f"Confidence intervals (95 %) are percentiles of {RESAMPLES} bootstrap resamples of {unit}, widened by the "
        f"ratio of t to normal quantiles (Hesterberg 2015); none is given for fewer than {FEWEST}.",
        "Dice and volume were correlated by rank (Spearman), p after Holm." if "sizes" in facts.tables else "",
        f"Subgroups were compared by permutation tests of the largest gap ({RESAMPLES} permutations), p after Holm."
        if "gaps" in facts.tables
        else "",
    ]
    return " ".join(filter(None, texts))


def _outputs(plan: Plan) -> str:
    if plan.scheme.overlapping:
        regions = f"{counted(len(plan.labels), 'region')}, which may overlap"
        if plan.region_parts:
            return f"the probabilities of {regions}: sums of a softmax over the parts into which they divide an image"
        return f"the sigmoid probabilities of {regions}"
    return f"the softmax probabilities of background and {counted(len(plan.labels), 'organ')}"
