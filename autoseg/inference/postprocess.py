"""Anatomical clean-up of masks: pieces that lie apart and holes, organ by organ, only where it helped in validation.

An organ's rules are chosen on validation cases: each is taken only if the organ's mean Dice over them grows by it
(Roth et al. 2018 name disconnected and isolated regions as future work). They are stored in the model with their gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import fmean
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import ndimage

from autoseg.imaging.boxes import box_around
from autoseg.imaging.grid import Triple, voxel_ml
from autoseg.inference.components import Components, find_components, linked_components
from autoseg.labels import IGNORED, Atoms, LabelScheme
from autoseg.metrics.overlap import overlap
from autoseg.plan import PlanPart

LEAST_GAIN = 5e-4  # of the mean Dice, that makes a rule worth having
LEAST_SHARES = (0.02, 0.1)  # of the organ's smallest volume in the validation cases: sizes of pieces to try
REACHES_MM = (5.0, 15.0)  # to try: a slice or two that partial volume blanked, and a stretch of a thin vessel


class PostprocessRule(PlanPart):
    """The clean-up of one organ's mask."""

    label: Annotated[int, Field(ge=1, le=255)]  # of the organ, counted from 1 in the plan's order
    largest: bool = False  # only the largest piece is kept
    reach_mm: Annotated[float, Field(ge=0)] = 0.0  # only pieces linked to the largest by gaps up to it are kept
    smallest_ml: Annotated[float, Field(ge=0)] = 0.0  # smaller pieces are removed
    holes: bool = False  # background that the organ encloses is filled
    gain: float = 0.0  # of the organ's mean Dice over the validation cases

    @property
    def apart(self) -> bool:
        """Whether pieces are removed."""
        return bool(self.largest or self.reach_mm or self.smallest_ml)

    @property
    def does_nothing(self) -> bool:
        """Whether the mask stays as it is."""
        return not (self.apart or self.holes)


def apply_rules(
    mask: Atoms,
    rules: Sequence[PostprocessRule],
    spacing_mm: Triple,
    scheme: LabelScheme | None = None,
    flat: int | None = None,
) -> None:
    """Clean a mask in place; what an organ loses becomes background, and it takes holes from background alone.

    What a region loses becomes the region around it, as do the regions within it there; it takes holes from the regions
    around it, too.

    Args:
        mask: Atoms (Z, Y, X).
        rules: At most one an organ.
        spacing_mm: Between voxel centres (Z, Y, X).
        scheme: Of the atoms; None: organs are disjoint.
        flat: Number of the axis along which slices are seen one by one, each of which has its own holes.
    """
    if scheme is not None and scheme.overlapping:
        for rule in rules:
            _clean_region(mask, rule, spacing_mm, scheme, flat)
        return
    boxes = ndimage.find_objects(mask)
    for rule in rules:
        box = boxes[rule.label - 1] if rule.label <= len(boxes) else None
        if box is not None and not rule.does_nothing:
            part = mask[box]
            _clean(part, rule, spacing_mm, find_components(part, rule.label) if rule.apart else None, flat)


def _clean_region(
    mask: Atoms, rule: PostprocessRule, spacing_mm: Triple, scheme: LabelScheme, flat: int | None
) -> None:
    before = scheme.class_mask(mask, rule.label - 1).astype(np.uint8)
    after = before.copy()
    apply_rules(after, [rule.model_copy(update={"label": 1})], spacing_mm, flat=flat)
    lost, gained = after < before, after > before
    mask[lost] = without_region(scheme, rule.label - 1)[mask[lost]]
    mask[gained] = with_region(scheme, rule.label - 1)[mask[gained]]


def without_region(scheme: LabelScheme, place: int) -> Atoms:
    """Return what each atom becomes where it leaves a region, and with it every region within that one.

    The last other region that holds it, and whose own value lies outside the region that is left; else background.
    """
    leaves = set(scheme.values_of(scheme.labels[place]))
    around = [label for label in scheme.labels if label.value not in leaves]
    table = np.arange(IGNORED + 1, dtype=np.uint8)
    for value in leaves:
        others = [label.value for label in around if value in scheme.values_of(label)]
        table[scheme.values.index(value)] = scheme.values.index(others[-1]) if others else 0
    return table


def with_region(scheme: LabelScheme, place: int) -> Atoms:
    """Return what each atom becomes where it joins a region: the region's own value, if all of its regions hold it."""
    own = scheme.labels[place].value
    table = np.arange(IGNORED + 1, dtype=np.uint8)
    for atom, value in enumerate(scheme.values):
        regions = (scheme.values_of(label) for label in scheme.labels)
        if all(own in region for region in regions if value in region):
            table[atom] = scheme.values.index(own)
    return table


def choose_region_rules(
    masks: Sequence[Atoms],
    truths: Sequence[Atoms],
    scheme: LabelScheme,
    spacings_mm: Sequence[Triple],
    flat: int | None = None,
) -> tuple[PostprocessRule, ...]:
    """Return the rules that raise the mean Dice of validation cases, each region looked at by itself.

    Args:
        masks: Predicted atoms (Z, Y, X), as the network left them.
        truths: True atoms; IGNORED where they are not known.
        scheme: Of the regions.
        spacings_mm: Between voxel centres (Z, Y, X), of each case.
        flat: As of `apply_rules`.
    """
    chosen: list[PostprocessRule] = []
    for place, index in enumerate(scheme.organs, start=1):
        one, true = ([_alone(atoms, scheme, index) for atoms in maps] for maps in (masks, truths))
        rules = choose_rules(one, true, (1,), spacings_mm, flat)
        chosen += [rule.model_copy(update={"label": place}) for rule in rules]
    return tuple(chosen)


def _alone(atoms: Atoms, scheme: LabelScheme, index: int) -> Atoms:
    """Return a region as a map of 0 and 1, and IGNORED."""
    return np.where(atoms == IGNORED, IGNORED, scheme.class_mask(atoms, index)).astype(np.uint8)


def choose_rules(
    masks: Sequence[Atoms],
    truths: Sequence[Atoms],
    organs: Sequence[int],
    spacings_mm: Sequence[Triple],
    flat: int | None = None,
) -> tuple[PostprocessRule, ...]:
    """Return the rules that raise the mean Dice of validation cases; none where nothing does.

    Args:
        masks: Predicted class indices (Z, Y, X), as the network left them.
        truths: True class indices; IGNORED where they are not known.
        organs: Their classes.
        spacings_mm: Between voxel centres (Z, Y, X), of each case.
        flat: As of `apply_rules`.
    """
    chosen = []
    for label in organs:
        pairs = list(_in_boxes(masks, truths, label, spacings_mm))
        before = _mean_dice(pairs, PostprocessRule(label=label), flat)
        if before is None:
            continue
        dices = [(rule, _mean_dice(pairs, rule, flat) or 0.0) for rule in _candidates(label, pairs)]
        best, after = max(dices, key=lambda scored: scored[1], default=(PostprocessRule(label=label), before))
        if after - before >= LEAST_GAIN:
            chosen.append(best.model_copy(update={"gain": round(after - before, 5)}))
    return tuple(chosen)


@dataclass(frozen=True)
class _Pair:
    """One organ of one case, cut to the box that holds prediction and truth."""

    label: int
    predicted: Atoms
    true: Atoms
    spacing_mm: Triple

    @cached_property
    def pieces(self) -> Components:
        """Of the prediction."""
        return find_components(self.predicted, self.label)


def _in_boxes(
    masks: Sequence[Atoms], truths: Sequence[Atoms], label: int, spacings_mm: Sequence[Triple]
) -> Iterator[_Pair]:
    """Yield the cases that have an organ in prediction or truth."""
    for mask, truth, spacing_mm in zip(masks, truths, spacings_mm, strict=True):
        box = box_around(ndimage.find_objects(part, max_label=label)[label - 1] for part in (mask, truth))
        if box is not None:
            yield _Pair(label, mask[box], truth[box], spacing_mm)


def _candidates(label: int, pairs: Sequence[_Pair]) -> Iterator[PostprocessRule]:
    whole = [pair for pair in pairs if not (pair.true == IGNORED).any()]  # of others a part of the volume is known
    volumes = [np.count_nonzero(pair.true == label) * voxel_ml(pair.spacing_mm) for pair in whole]
    true = [volume for volume in volumes if volume]
    sizes = [round(share * min(true), 4) for share in LEAST_SHARES] if true else []
    settings: list[dict[str, Any]] = [{"largest": True}, {}, *({"smallest_ml": size} for size in sizes)]
    settings += [{"reach_mm": reach} for reach in REACHES_MM]
    for holes, setting in product((False, True), settings):
        rule = PostprocessRule(label=label, holes=holes, **setting)
        if not rule.does_nothing:
            yield rule


def _mean_dice(pairs: Sequence[_Pair], rule: PostprocessRule, flat: int | None) -> float | None:
    dices = []
    for pair in pairs:
        after = pair.predicted
        if not rule.does_nothing:
            after = after.copy()
            _clean(after, rule, pair.spacing_mm, pair.pieces, flat)
        dices.append(overlap(after, pair.true, (rule.label,), IGNORED)[rule.label].dice)
    defined = [dice for dice in dices if dice is not None]
    return fmean(defined) if defined else None


def _clean(part: Atoms, rule: PostprocessRule, spacing_mm: Triple, pieces: Components | None, flat: int | None) -> None:
    """Clean one organ in a box that holds it, in place; `pieces` are its own, needed where some may be removed."""
    if rule.apart and pieces is not None and pieces.count:
        keep = pieces.sizes * voxel_ml(spacing_mm) >= rule.smallest_ml
        if rule.largest:
            keep &= np.arange(pieces.count) == pieces.sizes.argmax()
        if rule.reach_mm:
            keep = linked_components(part, rule.label, pieces, keep, spacing_mm, rule.reach_mm)
        for place in pieces.voxels(~keep):
            part[place] = 0
    if rule.holes:
        slices = [part] if flat is None else np.split(part, part.shape[flat], axis=flat)  # views
        for one in slices:
            outside = find_components(one, rule.label, outside=True)
            for place in outside.voxels(~outside.at_border(flat)):
                one[place] = np.where(one[place] == 0, rule.label, one[place])


def rules_in_words(rules: Sequence[PostprocessRule], names: Mapping[int, str]) -> list[str]:
    """Describe each rule in a line, with its gain."""
    lines = []
    for rule in rules:
        what = ["the largest piece is kept"] if rule.largest else []
        what += [f"pieces linked to the largest by gaps up to {rule.reach_mm:g} mm are kept"] if rule.reach_mm else []
        what += [f"pieces below {rule.smallest_ml:g} ml are removed"] if rule.smallest_ml else []
        what += ["holes are filled"] if rule.holes else []
        lines.append(f"{names[rule.label]}: {', '.join(what)} (validation Dice +{100 * rule.gain:.2f} %)")
    return lines
