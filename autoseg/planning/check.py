"""What is odd about a case when it is held against the others of its dataset.

Outliers are told by median and median absolute deviation, which a few bad cases cannot move. What a case shows by
itself is found where it is read (examine.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from autoseg.grid import Grid
from autoseg.planning.check_organs import organ_findings
from autoseg.planning.dataset import Dataset
from autoseg.planning.examine import CaseFacts, ChannelFacts, Examination
from autoseg.planning.findings import Finding, Severity, in_order, row, write_check
from autoseg.planning.naming import named_ct

__all__ = ["all_findings", "axis_codes", "check_cohort", "is_ct", "looks_like_hu", "write_check"]

AIR, BONE, LOWEST = -200.0, 100.0, -3100.0  # HU; scanners pad outside their circle with values down to -3024
PADDED_BELOW = -1500.0  # HU; nothing in or around a patient is lower
NEARLY_ALL_HU = 0.8  # share of images that look like HU, above which the others are odd
SPACING_FACTOR = 3.0  # from the median


def all_findings(examinations: Sequence[Examination], dataset: Dataset) -> list[Finding]:
    """Return everything that is wrong with a dataset, worst first: each case by itself and against the others."""
    alone = [finding for examination in examinations for finding in examination.findings]
    facts = [examination.facts for examination in examinations if examination.facts is not None]
    return in_order(alone + check_cohort(facts, dataset))


def check_cohort(facts: Sequence[CaseFacts], dataset: Dataset) -> list[Finding]:
    """Hold the usable cases against each other."""
    if not facts:
        return []
    rules = (organ_findings, _twins, _orientations, _odd_spacings, _not_hounsfield)
    return [finding for rule in rules for finding in rule(facts, dataset)]


def is_ct(name: str, channel: Sequence[ChannelFacts]) -> bool:
    """Return whether a channel holds Hounsfield units: its name says CT, or every image looks like it.

    Args:
        name: Of the channel.
        channel: Its facts in every case.
    """
    return named_ct(name) or (len(channel) > 0 and all(looks_like_hu(facts) for facts in channel))


def looks_like_hu(channel: ChannelFacts) -> bool:
    """Return whether intensities can be Hounsfield units with some air: no MR or rescaled image is so negative."""
    return channel.low >= LOWEST and channel.percentile_00_5 <= AIR and channel.high >= BONE


def _twins(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases with the same image, or another image's label map."""
    images, labels = defaultdict(list), defaultdict(list)
    for case in facts:
        images[case.image_hash].append(case.case)
        if case.organs:
            labels[case.label_hash].append(case.case)
    for same in (names for names in images.values() if len(names) > 1):
        fix = "keep one: the same patient in training and testing makes scores too good"
        for name in same:
            others = ", ".join(other for other in same if other != name)
            yield row(dataset, name, "image", "image-twice", "warning", f"the same voxels as {others}", fix)
    one_image = {tuple(names) for names in images.values()}
    for same in (names for names in labels.values() if len(names) > 1 and tuple(names) not in one_image):
        for name in same:
            others = ", ".join(other for other in same if other != name)
            fix = "find out which image it belongs to"
            yield row(dataset, name, "label", "label-twice", "warning", f"the same label map as {others}", fix)


def axis_codes(grid: Grid) -> str:
    """Return where the stored axes X, Y, Z point, nearest anatomical direction each.

    >>> axis_codes(Grid(shape=(1, 1, 1), spacing_mm=(1.0, 1.0, 1.0)))
    'LPS'
    """
    columns = np.reshape(grid.direction, (3, 3)).T
    nearest = [int(np.abs(column).argmax()) for column in columns]
    return "".join(("RAI", "LPS")[bool(c[axis] > 0)][axis] for c, axis in zip(columns, nearest, strict=True))


def _orientations(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    codes = {case.case: axis_codes(case.stored) for case in facts}
    usual, count = Counter(codes.values()).most_common(1)[0]
    for name, code in codes.items():
        if code != usual:
            found = f"stored as {code}, {count} of {len(facts)} cases as {usual}"
            fix = "nothing, all are turned to LPS when read; look whether the header is right"
            yield row(dataset, name, "image", "orientation", "note", found, fix)


def _odd_spacings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    usual = np.median([case.grid.spacing_mm for case in facts], axis=0)
    for case in facts:
        factor = np.array(case.grid.spacing_mm) / usual
        if factor.max() > SPACING_FACTOR or factor.min() < 1 / SPACING_FACTOR:
            here, there = (" × ".join(f"{mm:.3g}" for mm in s) for s in (case.grid.spacing_mm, usual))
            found = f"voxels of {here} mm (Z, Y, X), the median is {there} mm"
            yield row(dataset, case.case, "image", "spacing", "warning", found, "look whether the header is right")


def _not_hounsfield(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield images that are not in Hounsfield units in a channel that should be, or only just."""
    for number, name in enumerate(dataset.channels):
        like = [looks_like_hu(case.channels[number]) for case in facts]
        if not named_ct(name) and np.mean(like) < NEARLY_ALL_HU:
            continue
        for case in facts:
            told = _told_hounsfield(case.channels[number])
            if told:
                code, severity, found, fix = told
                yield row(dataset, case.case, "image", code, severity, f"{name}: {found}", fix)


def _told_hounsfield(channel: ChannelFacts) -> tuple[str, Severity, str, str] | None:
    """Return code, severity, what was found and the way out for a channel of a CT; None where all is well."""
    spread = f"intensities from {channel.low:g} to {channel.high:g}"
    if channel.high - channel.low <= -AIR + BONE:
        fix = "convert the image again, without rescaling or windowing"
        return "not-hu", "warning", f"{spread} are no Hounsfield units, they were rescaled", fix
    if channel.low >= 0:
        fix = "convert again from DICOM, or add the rescale intercept (often -1024)"
        return "not-hu", "warning", f"{spread}, nothing below 0: the rescale intercept was not applied", fix
    if channel.low < LOWEST:
        return "not-hu", "warning", f"{spread}: no scanner writes less than {LOWEST:g}", "convert the image again"
    if channel.low < PADDED_BELOW:
        fix = "nothing: intensities are clipped; -1024 would be usual"
        return "hu-padded", "note", f"{spread}: padded outside the scanner's circle", fix
    if channel.percentile_00_5 > AIR:
        return "no-air", "note", f"{spread}, no air near -1000", "right for a crop inside the body; else look at it"
    return None
