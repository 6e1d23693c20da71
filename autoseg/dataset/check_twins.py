"""Images and label maps that occur twice: to the voxel, or saved again with other voxels, scale or header."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from autoseg.dataset.facts import THUMBNAIL, CaseFacts, ChannelFacts
from autoseg.dataset.findings import FEWEST, Finding, row
from autoseg.dataset.load import Dataset

# 1 - correlation of thumbnails. Measured on 195 MR and 103 CT: other patients from 0.07 and 0.015, the same image
# resampled by 0.7 to 1.3, with 5 % of noise, smoothed or rescaled up to 0.004. Images of a cohort may be more alike.
ALIKE = 0.004
ALIKE_SHARE = 1 / 8  # of the median distance between a case and its nearest
SAMPLED = 1000  # cases of which that median is taken
DIRECTIONS = 12  # in which thumbnails differ most, by which those near each other are looked up
ROUNDING = 1e-4  # of float32
MOST_ROWS = 10  # cases that share an image, or a label map, up to which each has its row
NAMED = 3  # of more of them

Thumbnails = npt.NDArray[np.float32]  # (cases, THUMBNAIL³)

KEEP_ONE = "keep one: the same patient in training and testing makes scores too good"


def twin_findings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases that share their image, nearly share it, or share their label map though their images differ."""
    groups = _same_image(facts)
    shared: dict[str, frozenset[int]] = {}  # case to the groups that it is in
    for number, names in enumerate(groups):
        for name in names:
            shared[name] = shared.get(name, frozenset()) | {number}
    yield from _copies(groups, dataset)
    for name, (other, distance) in _nearly_same(facts).items():
        if not _share(name, other, shared):
            found = f"nearly the same image as {other} (correlation {1 - distance:.4f}): resampled or saved again"
            yield row(dataset, name, "image", "image-alike", "warning", found, KEEP_ONE)
    yield from _same_labels(facts, shared, dataset)


def _copies(groups: Sequence[Sequence[str]], dataset: Dataset) -> Iterator[Finding]:
    """Yield a row for each case that shares its image; where very many do, one for all of them."""
    twins: dict[str, list[str]] = {}
    for names in groups:
        for name in names if len(names) <= MOST_ROWS else ():
            listed = twins.setdefault(name, [])
            listed += [other for other in names if other != name and other not in listed]
    for name, others in twins.items():
        yield row(dataset, name, "image", "image-twice", "warning", f"the same voxels as {', '.join(others)}", KEEP_ONE)
    for names in groups:
        if len(names) > MOST_ROWS:
            found = f"the same voxels in {len(names)} cases: {_some(names)}"
            yield row(dataset, "", "image", "image-twice", "warning", found, KEEP_ONE)


def _same_labels(
    facts: Sequence[CaseFacts], shared: Mapping[str, frozenset[int]], dataset: Dataset
) -> Iterator[Finding]:
    """Yield cases that share their label map, but not their image; where very many do, one row for all of them."""
    labels = defaultdict(list)
    for case in facts:
        if case.organs:
            labels[case.label_digest, tuple((o.voxels, o.box) for o in case.organs)].append(case.case)
    fix = "find out which image it belongs to"
    for names in labels.values():
        if len(names) > MOST_ROWS:
            if not frozenset.intersection(*(shared.get(name, frozenset()) for name in names)):
                found = f"the same label map in {len(names)} cases: {_some(names)}"
                yield row(dataset, "", "label", "label-twice", "warning", found, fix)
            continue
        for name in names:
            others = [other for other in names if other != name and not _share(name, other, shared)]
            if others:
                found = f"the same label map as {', '.join(others)}"
                yield row(dataset, name, "label", "label-twice", "warning", found, fix)


def _share(one: str, other: str, shared: Mapping[str, frozenset[int]]) -> bool:
    """Return whether two cases share an image."""
    return not shared.get(one, frozenset()).isdisjoint(shared.get(other, ()))


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:NAMED])}, …"


def voxel_key(channel: ChannelFacts) -> tuple[object, ...]:
    """Return a key that two channels share only if their voxels are the same."""
    return channel.digest, channel.low, channel.high, channel.mean, channel.std


def _same_image(facts: Sequence[CaseFacts]) -> list[list[str]]:
    """Return the cases that share a channel with others, those of one channel together."""
    holders: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for case in facts:
        for key in {voxel_key(channel) for channel in case.channels if not channel.constant}:
            holders[key].append(case.case)
    return [names for names in holders.values() if len(names) > 1]


def _nearly_same(facts: Sequence[CaseFacts]) -> dict[str, tuple[str, float]]:
    """Return name and distance of the nearest case, for each case whose nearest is far nearer than usual."""
    nearest: dict[str, tuple[str, float]] = {}
    for number in range(len(facts[0].channels) if len(facts) >= FEWEST else 0):
        varied = [case for case in facts if not case.channels[number].constant]
        if len(varied) < FEWEST:
            continue
        first = {voxel_key(case.channels[number]): place for place, case in reversed(list(enumerate(varied)))}
        counts = Counter(voxel_key(case.channels[number]) for case in varied)
        single = [place for key, place in first.items() if counts[key] == 1]  # the nearest of a copy is its copy
        thumbnails = np.array([case.channels[number].thumbnail for case in varied], dtype=np.float32)
        with threadpool_limits(limits=1):  # so small products are slower on many threads
            limit = min(ALIKE, ALIKE_SHARE * _usual_distance(thumbnails))
            pairs = _nearer(thumbnails, sorted(first.values()), sorted(single), limit)
        copies = [place for place, case in enumerate(varied) if counts[voxel_key(case.channels[number])] > 1]
        pairs |= {place: (place, 0.0) for place in copies if limit > 0}
        for place, (other, distance) in sorted(pairs.items()):
            nearest.setdefault(varied[place].case, (varied[other].case, distance))
    return nearest


def _usual_distance(thumbnails: Thumbnails) -> float:
    """Return the median distance of a thumbnail (one a row) to its nearest; of very many, that of a sample of them."""
    count = len(thumbnails)
    sample = np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).astype(int))
    return float(np.median([_nearest(thumbnails, int(number))[1] for number in sample]))


def _nearer(
    thumbnails: Thumbnails, others: Sequence[int], of: Sequence[int], limit: float
) -> dict[int, tuple[int, float]]:
    """Return the nearest other, and its distance, for each of some thumbnails whose nearest is nearer than a limit.

    No pair is missed: what a thumbnail has in common with its eight mirror images is a projection, the same for all of
    them, so two of these never lie further apart than the two thumbnails, mirrored or not.

    Args:
        thumbnails: One a row.
        others: Rows that may be the nearest, sorted.
        of: Rows to find the nearest of.
        limit: Of the distance.
    """
    if limit <= 0:
        return {}
    cubes = thumbnails.reshape(-1, *(THUMBNAIL,) * 3)
    for axis in (1, 2, 3):
        first, last = np.split(cubes, 2, axis)
        cubes = (first + np.flip(last, axis)) / np.float32(math.sqrt(2))
    common = cubes.reshape(len(cubes), -1)
    _, directions = np.linalg.eigh(np.cov(common, rowvar=False))
    places = common @ directions[:, -DIRECTIONS:]  # the coordinates that differ most: those of a projection, too
    tree, targets = cKDTree(places[others]), np.array(others)
    nearer = {}
    for number in of:
        radius = math.sqrt(2 * limit) + ROUNDING  # of unit vectors: squared, twice the distance
        near = targets[sorted(tree.query_ball_point(places[number], radius))]
        if len(near) > 1:
            other, distance = _nearest(thumbnails, number, near)
            if distance < limit:
                nearer[number] = other, distance
    return nearer


def _nearest(thumbnails: Thumbnails, number: int, among: npt.NDArray[np.intp] | None = None) -> tuple[int, float]:
    """Return the nearest other of a thumbnail (one a row), mirrored or not, and its distance.

    Args:
        thumbnails: One a row.
        number: Of the row.
        among: Rows that may be the nearest, itself perhaps among them; None: all.
    """
    cube = thumbnails[number].reshape((THUMBNAIL,) * 3)
    turned = [cube[::z, ::y, ::x].ravel() for z in (1, -1) for y in (1, -1) for x in (1, -1)]
    rows = np.arange(len(thumbnails)) if among is None else among
    candidates = thumbnails if among is None else thumbnails[among]
    likeness = (candidates @ np.stack(turned, axis=1)).max(axis=1)
    likeness[rows == number] = -1.0
    best = int(likeness.argmax())
    return int(rows[best]), max(0.0, 1.0 - float(likeness[best]))
