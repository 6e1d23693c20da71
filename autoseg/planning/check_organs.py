"""Organs that are odd against the same organ in the other cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from autoseg.plan import Label
from autoseg.planning.dataset import Dataset
from autoseg.planning.examine import CaseFacts, ChannelFacts, OrganFacts
from autoseg.planning.findings import Finding, row
from autoseg.planning.naming import named_ct, side_pairs

FEWEST = 8  # cases below which nothing is an outlier
FAR = 6.0  # robust standard deviations from the median that make an outlier
NEARLY_ALL = 0.9  # an organ that this share of the other cases have is missed in the rest
CUT_OFTEN = 0.5  # share of the cases above which an organ at the border is said once for all
LEAST_LOG_ML = 0.15  # volumes: the least robust deviation, for organs of nearly the same size everywhere
LEAST_EXTENT = 0.03  # positions: as a share of the image's extent
LEAST_HU = 10.0  # intensities of CT
LEAST_RANGE = 0.05  # intensities of anything else: as a share of the image's own range

Found = tuple[CaseFacts, OrganFacts]


def organ_findings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield what is odd about each organ, over all usable cases."""
    for label in dataset.labels:
        having = [(case, organ) for case in facts for organ in case.organs if organ.value == label.value]
        yield from _absent(label, having, facts, dataset)
        if having:
            yield from _odd_volumes(label, having, dataset)
            yield from _odd_places(label, having, dataset)
            yield from _odd_intensities(label, having, dataset)
            yield from _at_border(label, having, dataset)
            yield from _stray_islands(label, having, dataset)
    yield from _swapped_sides(facts, dataset)


def _absent(label: Label, having: Sequence[Found], facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield an organ that no case has, or the few cases that lack one; empty label maps are reported by themselves."""
    if not having:
        fix = "leave it out of the labels, or correct its value"
        yield row(
            dataset, "", "label", "organ-never", "warning", f"no case has {label.name} (value {label.value})", fix
        )
    names = {case.case for case, _ in having}
    labelled = [case.case for case in facts if case.organs]
    if len(having) < max(2, NEARLY_ALL * (len(labelled) - 1)):
        return
    for name in (name for name in labelled if name not in names):
        found = f"{label.name} is absent; {len(having)} of {len(labelled)} cases have it"
        fix = "right if it was removed or lies outside the image; otherwise segment it"
        yield row(dataset, name, "label", "organ-absent", "warning", found, fix)


def far(values: npt.ArrayLike, least: float) -> npt.NDArray[np.float64]:
    """Return how far each value lies from the median, in robust standard deviations of at least `least`.

    >>> far([1.0, 2.0, 3.0, 4.0, 100.0], 0.0).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 65.4]
    """
    array = np.asarray(values, dtype=np.float64)
    offset = array - np.median(array)
    return np.asarray(offset / max(1.4826 * float(np.median(np.abs(offset))), least))


def _odd_volumes(label: Label, having: Sequence[Found], dataset: Dataset) -> Iterator[Finding]:
    if len(having) < FEWEST:
        return
    usual = float(np.median([organ.ml for _, organ in having]))
    distances = far([float(np.log(organ.ml)) for _, organ in having], LEAST_LOG_ML)
    for (case, organ), distance in zip(having, distances, strict=True):
        if abs(distance) > FAR:
            found = f"{label.name} has {organ.ml:.3g} ml ({organ.voxels} voxels), the median is {usual:.3g} ml"
            yield row(dataset, case.case, "label", "organ-volume", "warning", found, "look at the label map")


def _odd_places(label: Label, having: Sequence[Found], dataset: Dataset) -> Iterator[Finding]:
    """Yield organs far from where the others have them in the image; organs that the image cuts are left out."""
    whole = [(case, organ) for case, organ in having if not organ.at_border]
    if len(whole) < FEWEST:
        return
    extents = np.median([case.grid.extent_mm for case, _ in whole], axis=0)
    places = np.array([organ.centroid_mm for _, organ in whole])
    distances = np.stack([far(places[:, a], LEAST_EXTENT * extents[a]) for a in range(3)], axis=1)
    for (case, _), distance, place in zip(whole, distances, places - np.median(places, axis=0), strict=True):
        if np.abs(distance).max() > FAR:
            offset = ", ".join(f"{mm:+.0f}" for mm in place)
            found = f"{label.name} lies {offset} mm (Z, Y, X) from where it usually is in the image"
            yield row(
                dataset, case.case, "label", "organ-place", "warning", found, "look whether image and label map fit"
            )


def _odd_intensities(label: Label, having: Sequence[Found], dataset: Dataset) -> Iterator[Finding]:
    if len(having) < FEWEST:
        return
    for number, name in enumerate(dataset.channels):
        ct = named_ct(name)
        brightness = [_brightness(organ, number, case.channels[number], ct) for case, organ in having]
        usual = float(np.median(brightness))
        distances = far(brightness, LEAST_HU if ct else LEAST_RANGE)
        for (case, _), distance, here in zip(having, distances, brightness, strict=True):
            if abs(distance) > FAR:
                unit = "HU" if ct else "of the image's range"
                found = f"{label.name} has a mean {name} of {here:.3g} {unit}, the median is {usual:.3g}"
                yield row(
                    dataset, case.case, "label", "organ-intensity", "warning", found, "look whether the label map fits"
                )


def _brightness(organ: OrganFacts, number: int, channel: ChannelFacts, ct: bool) -> float:
    """Return an organ's mean intensity: in HU, or from 0 to 1 within the image's own range."""
    if ct:
        return organ.mean[number]
    spread = channel.percentile_99_5 - channel.percentile_00_5
    return (organ.mean[number] - channel.percentile_00_5) / spread if spread > 0 else 0.5


def _at_border(label: Label, having: Sequence[Found], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases whose image cuts an organ; where most do, as with the spinal cord, that is said once."""
    cut = [case.case for case, organ in having if organ.at_border]
    fix = "nothing; its scores and volumes are those of the visible part"
    if len(cut) > max(2, CUT_OFTEN * len(having)):
        found = f"{label.name} reaches the image's border in {len(cut)} of {len(having)} cases: {cut[0]}, {cut[1]}, …"
        yield row(dataset, "", "label", "organ-cut", "note", found, fix)
        return
    for name in cut:
        yield row(dataset, name, "label", "organ-cut", "note", f"{label.name} reaches the image's border", fix)


def _stray_islands(label: Label, having: Sequence[Found], dataset: Dataset) -> Iterator[Finding]:
    """Yield organs with islands where the organ usually is one piece."""
    if np.median([organ.islands for _, organ in having]) > 1:
        return
    for case, organ in having:
        if organ.islands > 1:
            stray = round(organ.voxels * (1 - organ.largest))
            found = f"{label.name} is in {organ.islands} pieces, {stray} of {organ.voxels} voxels outside the largest"
            yield row(
                dataset, case.case, "label", "organ-islands", "note", found, "look at the label map for stray voxels"
            )


def _swapped_sides(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases whose left organ lies to the right of the right one, or the pair where that is usual."""
    names = {label.value: label.name for label in dataset.labels}
    for left, right in side_pairs(dataset.labels):
        places = {case.case: {organ.value: organ.centroid_mm[2] for organ in case.organs} for case in facts}
        apart = {case: x[left] - x[right] for case, x in places.items() if left in x and right in x}
        pair = f"{names[left]} and {names[right]}"
        wrong = [case for case, mm in apart.items() if mm < 0]
        if len(wrong) > max(1, len(apart) / 2):
            found = f"{pair} are the wrong way round in {len(wrong)} of {len(apart)} cases"
            fix = "the names are swapped in the dataset, or the files' directions are wrong: look at one"
            yield row(dataset, "", "label", "sides-swapped", "warning", found, fix)
            wrong = [case for case in apart if case not in wrong]
        for case in wrong:
            found = f"{pair} are the other way round than in the other cases, by {abs(apart[case]):.0f} mm"
            yield row(
                dataset, case, "label", "sides-swapped", "warning", found, "swap the values, or correct the direction"
            )
