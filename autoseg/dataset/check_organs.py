"""Organs that are outliers against the same organ in the other cases: size, place, intensities, pieces, side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autoseg.dataset.facts import CaseFacts, ChannelFacts, OrganCase, by_organ
from autoseg.dataset.findings import FAR, FEWEST, Finding, far, row
from autoseg.dataset.load import Dataset
from autoseg.dataset.names import named_ct, side_pairs
from autoseg.dataset.organ_facts import OrganFacts
from autoseg.labels import Label
from autoseg.words import counted

NEARLY_ALL = 0.9  # an organ that this share of the other cases have is missed in the rest
OFTEN = 0.25  # share of the cases above which an organ cut by the border, or in pieces, is said once for all
LEAST_LOG_ML = 0.15  # volumes: the least robust deviation, for organs of nearly the same size everywhere
LEAST_EXTENT = 0.03  # positions: as a share of the image's extent
LEAST_MM = 2.0  # positions among other organs
LEAST_HU, LEAST_SPREAD_HU = 10.0, 5.0  # mean intensities of CT, and their standard deviation within an organ
LEAST_RANGE, LEAST_SPREAD = 0.05, 0.01  # the same of anything else: as a share of the image's own range
Numbers = npt.NDArray[np.float64]


def organ_findings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield what is odd about each organ, over all usable cases."""
    by_value = by_organ(facts)
    places = _places(facts, dataset)
    for label in dataset.labels:
        present = by_value.get(label.value, [])
        yield from _absent(label, present, facts, dataset)
        if present:
            yield from _odd_intensities(label, present, dataset)
            yield from _odd_spreads(label, present, dataset)
        whole = [(case, organ) for case, organ in present if case.is_whole]  # else how far the organ goes is not known
        if whole:
            yield from _odd_volumes(label, whole, dataset)
            yield from _odd_places(label, whole, dataset)
            yield from _odd_arrangements(label, whole, places, dataset)
            yield from _at_border(label, whole, dataset)
            yield from _stray_islands(label, whole, dataset)
    yield from _swapped_sides(by_value, dataset)
    yield from _annotated(facts, dataset)
    yield from _values_never(facts, dataset)


def _values_never(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield the values of regions that no label map holds."""
    present = {value for case in facts for value in case.label_values}
    for organ in dataset.labels if dataset.scheme.overlapping else ():
        for value in (value for value in dataset.scheme.values_of(organ) if value not in present):
            found = f"no case has the value {value} of region {organ.name}"
            fix = "leave it out of the region, or correct it"
            yield row(dataset, "", "label", "region-value-never", "warning", found, fix)


def _annotated(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield how much of the label maps is annotated, where some say that a voxel's truth is not known."""
    shares = {case.case: case.annotated for case in facts if not case.is_whole}
    if not shares:
        return
    case, least = min(shares.items(), key=lambda item: item[1])
    mean = float(np.mean([case.annotated for case in facts]))
    found = (
        f"{mean:.1%} of the voxels are annotated on average; {counted(len(shares), 'case')} of {len(facts)} in part, "
        f"{case} with {least:.1%} the least"
    )
    fix = "nothing; what is not annotated is neither learnt from nor scored"
    yield row(dataset, "", "label", "label-annotated", "note", found, fix)


def _absent(
    label: Label, present: Sequence[OrganCase], facts: Sequence[CaseFacts], dataset: Dataset
) -> Iterator[Finding]:
    """Yield an organ that no case has, or the few cases that lack one; empty label maps are reported by themselves."""
    if not present:
        fix = "leave it out of the labels, or correct its value"
        yield row(
            dataset, "", "label", "organ-never", "warning", f"no case has {label.name} (value {label.value})", fix
        )
    names = {case.case for case, _ in present if case.is_whole}
    partly = {case.id for case in dataset.cases if not case.shows(label.value)}
    labelled = [case.case for case in facts if case.organs and case.is_whole and case.case not in partly]
    if len(names) < max(2, NEARLY_ALL * (len(labelled) - 1)):
        return
    for name in (name for name in labelled if name not in names):
        found = f"{label.name} is absent; {len(names)} of {len(labelled)} cases have it"
        fix = "right if it was removed or lies outside the image; otherwise segment it, or list what is labelled"
        yield row(dataset, name, "label", "organ-absent", "warning", found, fix)


def _odd_volumes(label: Label, present: Sequence[OrganCase], dataset: Dataset) -> Iterator[Finding]:
    if len(present) < FEWEST:
        return
    usual = float(np.median([organ.ml for _, organ in present]))
    distances = far([float(np.log(organ.ml)) for _, organ in present], LEAST_LOG_ML)
    for (case, organ), distance in zip(present, distances, strict=True):
        if abs(distance) > FAR:
            found = (
                f"{label.name} has {organ.ml:.3g} ml ({counted(organ.voxels, 'voxel')}), the median is {usual:.3g} ml"
            )
            yield row(dataset, case.case, "label", "organ-volume", "warning", found, "look at the label map")


def _odd_places(label: Label, present: Sequence[OrganCase], dataset: Dataset) -> Iterator[Finding]:
    """Yield organs far from where the others have them in the image; organs that the image cuts are left out."""
    whole = [(case, organ) for case, organ in present if not organ.at_border]
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


@dataclass(frozen=True)
class _Places:
    """Where the organs of all cases lie that the image does not cut."""

    of_case: Mapping[str, int]  # its row
    centroid_mm: Mapping[int, Numbers]  # of an organ by its value: (cases, 3), NaN where it is absent or cut


def _places(facts: Sequence[CaseFacts], dataset: Dataset) -> _Places:
    centroids = {label.value: np.full((len(facts), 3), np.nan) for label in dataset.labels}
    for at, case in enumerate(facts):
        for organ in case.organs:
            if organ.value in centroids and not organ.at_border:
                centroids[organ.value][at] = organ.centroid_mm
    return _Places({case.case: at for at, case in enumerate(facts)}, centroids)


def _odd_arrangements(
    label: Label, present: Sequence[OrganCase], places: _Places, dataset: Dataset
) -> Iterator[Finding]:
    """Yield organs that lie otherwise to the other organs than usual; organs that the image cuts are left out."""
    whole = [case.case for case, organ in present if not organ.at_border]
    if len(whole) < FEWEST:
        return
    rows = np.array([places.of_case[case] for case in whole])
    own = places.centroid_mm[label.value][rows]
    usual: dict[int, Numbers] = {}  # other organ to the median of where this one lies from it
    distances = []
    for value, others in places.centroid_mm.items():
        known = np.isfinite(others[rows, 0])
        if value != label.value and np.count_nonzero(known) >= FEWEST:
            apart = own - others[rows]
            usual[value] = np.median(apart[known], axis=0)
            distances.append(_distances(apart - usual[value], known))
    if not usual:
        return
    for at, (case, distance) in enumerate(zip(whole, np.stack(distances, axis=1), strict=True)):
        finite = np.isfinite(distance)
        if finite.any() and np.median(distance[finite]) > FAR:  # one organ out of place does not accuse the others
            from_others = own[at] - np.array([places.centroid_mm[value][rows[at]] for value in usual])
            offset = from_others - np.array(list(usual.values()))
            by = ", ".join(f"{mm:+.0f}" for mm in np.median(offset[finite], axis=0))
            found = f"{label.name} lies {by} mm (Z, Y, X) from where it usually is to the other organs"
            fix = "look whether two organs have each other's values, or the label map is mirrored"
            yield row(dataset, case, "label", "organ-arrangement", "warning", found, fix)


def _distances(offsets: Numbers, known: npt.NDArray[np.bool_]) -> Numbers:
    """Return the largest offset on an axis in robust deviations, (cases,); NaN where it is not known."""
    spread = np.maximum(1.4826 * np.median(np.abs(offsets[known]), axis=0), LEAST_MM)
    return np.asarray(np.abs(offsets / spread).max(axis=1))


def _odd_intensities(label: Label, present: Sequence[OrganCase], dataset: Dataset) -> Iterator[Finding]:
    if len(present) < FEWEST:
        return
    for number, name in enumerate(dataset.channels):
        ct = named_ct(name)
        brightness = [_brightness(organ, number, case.channels[number], ct) for case, organ in present]
        usual = float(np.median(brightness))
        distances = far(brightness, LEAST_HU if ct else LEAST_RANGE)
        for (case, _), distance, mean in zip(present, distances, brightness, strict=True):
            if abs(distance) > FAR:
                unit = "HU" if ct else "of the image's range"
                found = f"{label.name} has a mean {name} of {mean:.3g} {unit}, the median is {usual:.3g}"
                yield row(
                    dataset, case.case, "label", "organ-intensity", "warning", found, "look whether the label map fits"
                )


def _odd_spreads(label: Label, present: Sequence[OrganCase], dataset: Dataset) -> Iterator[Finding]:
    """Yield organs whose intensities vary far more than usual: most often the label map lies beside the organ."""
    if len(present) < FEWEST:
        return
    for number, name in enumerate(dataset.channels):
        ct = named_ct(name)
        spreads = [organ.std[number] / (1.0 if ct else _range(case.channels[number])) for case, organ in present]
        usual = float(np.median(spreads))
        for (case, _), distance, spread in zip(
            present, far(spreads, LEAST_SPREAD_HU if ct else LEAST_SPREAD), spreads, strict=True
        ):
            if distance > FAR:
                unit = "HU" if ct else "of the image's range"
                found = f"{name} varies within {label.name} by {spread:.3g} {unit}, the median is {usual:.3g}"
                fix = "look whether the label map lies on the organ"
                yield row(dataset, case.case, "label", "organ-spread", "warning", found, fix)


def _brightness(organ: OrganFacts, number: int, channel: ChannelFacts, ct: bool) -> float:
    """Return an organ's mean intensity: in HU, or from 0 to 1 within the image's own range."""
    return organ.mean[number] if ct else channel.relative(organ.mean[number])


def _range(channel: ChannelFacts) -> float:
    return (channel.percentile_99_5 - channel.percentile_00_5) or 1.0


def _at_border(label: Label, present: Sequence[OrganCase], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases whose image cuts an organ; one note for all where many do, as with the spinal cord."""
    cut = {case.case: f"{label.name} reaches the image's border" for case, organ in present if organ.at_border}
    fix = "nothing; its scores and volumes are those of the visible part"
    yield from _each_or_once(cut, f"{label.name} reaches the image's border", len(present), "organ-cut", fix, dataset)


def _stray_islands(label: Label, present: Sequence[OrganCase], dataset: Dataset) -> Iterator[Finding]:
    """Yield organs with islands where the organ usually is one piece."""
    if np.median([organ.islands for _, organ in present]) > 1:
        return
    texts = {}
    for case, organ in present:
        if organ.islands > 1:
            stray = round(organ.voxels * (1 - organ.largest))
            pieces = f"{label.name} is in {organ.islands} pieces"
            texts[case.case] = f"{pieces}, {stray} of {organ.voxels} voxels outside the largest"
    fix = "look at the label map for stray voxels"
    yield from _each_or_once(texts, f"{label.name} is in pieces", len(present), "organ-islands", fix, dataset)


def _each_or_once(
    texts: Mapping[str, str], often: str, cases: int, code: str, fix: str, dataset: Dataset
) -> Iterator[Finding]:
    """Yield a note for each case, or one for all where it holds for so many that it describes the dataset."""
    names = list(texts)
    if len(names) > max(2, OFTEN * cases):
        text = f"{often} in {len(names)} of {cases} cases: {names[0]}, {names[1]}, …"
        yield row(dataset, "", "label", code, "note", text, fix)
        return
    for name, text in texts.items():
        yield row(dataset, name, "label", code, "note", text, fix)


def _swapped_sides(by_value: Mapping[int, Sequence[OrganCase]], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases whose left organ lies to the right of the right one, or the pair where that is usual."""
    names = {label.value: label.name for label in dataset.labels}
    for left, right in side_pairs(dataset.labels):
        right_x = {case.case: organ.centroid_mm[2] for case, organ in by_value.get(right, ())}
        lefts = ((case.case, organ.centroid_mm[2]) for case, organ in by_value.get(left, ()))
        apart = {case: x - right_x[case] for case, x in lefts if case in right_x}
        pair = f"{names[left]} and {names[right]}"
        wrong = [case for case, mm in apart.items() if mm < 0]
        if len(wrong) > max(1, len(apart) / 2):
            found = f"{pair} are the wrong way round in {len(wrong)} of {len(apart)} cases"
            fix = "the names are swapped in the dataset, or the files' directions are wrong: look at one"
            yield row(dataset, "", "label", "sides-swapped", "warning", found, fix)
            wrong = [case for case, mm in apart.items() if mm >= 0]
        for case in wrong:
            found = f"{pair} are the other way round than in the other cases, by {abs(apart[case]):.0f} mm"
            yield row(
                dataset, case, "label", "sides-swapped", "warning", found, "swap the values, or correct the direction"
            )
