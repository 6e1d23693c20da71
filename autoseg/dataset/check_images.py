"""Images that are outliers as a whole: orientation, spacing, size, intensities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from autoseg.dataset.facts import CaseFacts, ChannelFacts
from autoseg.dataset.findings import FAR, FEWEST, Finding, Severity, far, row
from autoseg.dataset.load import Dataset
from autoseg.dataset.names import named_ct, names_other_modality
from autoseg.imaging.grid import Grid
from autoseg.words import counted

AIR, BONE, LOWEST = -200.0, 100.0, -3100.0  # HU; scanners pad outside their circle with values down to -3024
PADDED_BELOW = -1500.0  # HU; nothing in or around a patient is lower
NEARLY_ALL_HU = 0.8  # share of images that look like HU, above which the others are odd
LEAST_HU = 25.0  # least robust deviation of an image's lowest and highest intensities
WINDOWED_BELOW = 1000.0  # HU; a scan's highest intensities, of bone and metal, lie above
SPACING_FACTOR = 3.0  # from the median
SIZE_FACTORS = (1.8, 5.0)  # from the median: at least so far, however alike the others; so far, however different


def image_findings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield what is odd about whole images, over all usable cases."""
    yield from _orientations(facts, dataset)
    yield from _odd_spacings(facts, dataset)
    yield from _odd_sizes(facts, dataset)
    yield from _slices_and_volumes(facts, dataset)
    yield from _nearly_constant(facts, dataset)
    for number, name in enumerate(dataset.channels):
        channel = [case.channels[number] for case in facts]
        if is_ct(name, channel) or np.mean([looks_like_hu(image) for image in channel]) >= NEARLY_ALL_HU:
            yield from _odd_hounsfield(number, facts, dataset)


def is_ct(name: str, channel: Sequence[ChannelFacts]) -> bool:
    """Return whether a channel holds Hounsfield units: its name says CT, or every image looks like it.

    Args:
        name: Of the channel; where it says another modality, too, as in "PET (on CT grid)", the images decide.
        channel: Its facts in every case.
    """
    if named_ct(name) and not (names_other_modality(name) and not any(looks_like_hu(facts) for facts in channel)):
        return True
    return len(channel) > 0 and all(looks_like_hu(facts) for facts in channel)


def looks_like_hu(channel: ChannelFacts) -> bool:
    """Return whether intensities can be Hounsfield units with some air: no MR or rescaled image is so negative."""
    return channel.low >= LOWEST and channel.percentile_00_5 <= AIR and channel.high >= BONE


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
            spacing, median = (" × ".join(f"{mm:.3g}" for mm in s) for s in (case.grid.spacing_mm, usual))
            found = f"voxels of {spacing} mm (Z, Y, X), the median is {median} mm"
            yield row(dataset, case.case, "image", "spacing", "warning", found, "look whether the header is right")


def _odd_sizes(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield images that are far larger or smaller than the others on an axis, in mm or in voxels."""
    if len(facts) < FEWEST:
        return
    kinds = {
        "mm": np.array([case.grid.extent_mm for case in facts]),
        "voxels": np.array([case.grid.shape for case in facts], dtype=np.float64),
    }
    reported: set[str] = set()
    for unit, sizes in kinds.items():
        usual = np.median(sizes, axis=0)
        offset = np.log(sizes / usual)
        spread = FAR * 1.4826 * np.median(np.abs(offset), axis=0)
        limit = spread.clip(*(math.log(factor) for factor in SIZE_FACTORS))
        for case, odd, size in zip(facts, (np.abs(offset) > limit).any(axis=1), sizes, strict=True):
            if odd and case.case not in reported:
                reported.add(case.case)
                extent, median = (" × ".join(f"{n:.4g}" for n in s) for s in (size, usual))
                found = f"the image has {extent} {unit} (Z, Y, X), the median is {median}"
                fix = "look whether it was cropped, or shows another part of the body"
                yield row(dataset, case.case, "image", "image-size", "warning", found, fix)


def _slices_and_volumes(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield the fewer where some images are single slices and others volumes."""
    single = [case for case in facts if min(case.grid.shape) == 1]
    volumes = [case for case in facts if min(case.grid.shape) > 1]
    if not single or not volumes:
        return
    few, many = (single, "volumes") if len(single) < len(volumes) else (volumes, "single slices")
    for case in few:
        slices = counted(min(case.grid.shape), "slice")
        found = f"has {slices}, while {len(facts) - len(few)} of {len(facts)} images are {many}"
        fix = "keep slices and volumes in datasets of their own: a network is planned for one kind"
        yield row(dataset, case.case, "image", "slices", "warning", found, fix)


def _nearly_constant(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield channels that are constant but for 1 % of the voxels; wholly constant ones are reported when read."""
    for number, name in enumerate(dataset.channels):
        for case in facts:
            channel = case.channels[number]
            if channel.percentile_00_5 == channel.percentile_99_5 and not channel.constant:
                found = f"99 % of the voxels of {name} or more are {channel.median:g}"
                fix = "export the image again or remove the case"
                severity: Severity = "warning"
                if any(organ.mean[number] > channel.percentile_99_5 for organ in case.organs):
                    severity, fix = "note", "nothing, if only what is sought shines, as in PET"
                yield row(dataset, case.case, "image", "image-constant", severity, found, fix, channel=number)


def _odd_hounsfield(number: int, facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield images that are not in Hounsfield units in a channel that should be, or only just, or on another level."""
    name = dataset.channels[number]
    ends = [[c.percentile_00_5, c.percentile_99_5] for c in (case.channels[number] for case in facts)]
    usual = np.median(ends, axis=0)
    distances = np.stack([far(end, LEAST_HU) for end in np.array(ends).T], axis=1)
    for case, distance, end in zip(facts, distances, ends, strict=True):
        problem = _hounsfield_problem(case.channels[number])
        if problem is None and len(facts) >= FEWEST and np.abs(distance).max() > FAR:
            found = f"99 % lie from {end[0]:.0f} to {end[1]:.0f} HU, the median is {usual[0]:.0f} to {usual[1]:.0f} HU"
            problem = "image-intensity", "warning", found, "look whether slope and intercept were applied once"
        if problem is not None:
            code, severity, found, fix = problem
            yield row(dataset, case.case, "image", code, severity, f"{name}: {found}", fix, channel=number)


def _hounsfield_problem(channel: ChannelFacts) -> tuple[str, Severity, str, str] | None:
    """Return code, severity, text and way out for a CT channel that is not in Hounsfield units; None if it is."""
    spread = f"intensities from {channel.low:g} to {channel.high:g}"
    if channel.high - channel.low <= -AIR + BONE:
        fix = "convert the image again, without rescaling or windowing"
        return "not-hu", "warning", f"{spread} are no Hounsfield units, they were rescaled", fix
    if channel.low >= 0:
        fix = "convert again from DICOM, or add the rescale intercept (often -1024)"
        return "not-hu", "warning", f"{spread}, nothing below 0: the rescale intercept was not applied", fix
    if channel.low < LOWEST:
        return "not-hu", "warning", f"{spread}: no scanner writes less than {LOWEST:g}", "convert the image again"
    if channel.percentile_99_5 == channel.high < WINDOWED_BELOW:
        fix = "convert the image again without a window; organs outside it cannot be told apart"
        return "hu-windowed", "warning", f"{spread}, the highest are all {channel.high:g}: cut off by a window", fix
    if channel.low < PADDED_BELOW:
        fix = "nothing: intensities are clipped; -1024 would be usual"
        return "hu-padded", "note", f"{spread}: padded outside the scanner's circle", fix
    if channel.percentile_00_5 > AIR:
        return "no-air", "note", f"{spread}, no air near -1000", "right for a crop inside the body; else look at it"
    return None
