"""Images and label maps that occur twice: to the voxel, or saved again with other voxels, scale or header."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from autoseg.dataset.facts import THUMBNAIL, CaseFacts, ChannelFacts
from autoseg.dataset.findings import FEWEST, Finding, Severity, row
from autoseg.dataset.load import Dataset

# 1 - correlation of thumbnails. Measured on 195 MR and 103 CT: other patients from 0.07 and 0.015, the same image
# resampled by 0.7 to 1.3, with 5 % of noise, smoothed or rescaled up to 0.004. Images of a cohort may be more alike.
ALIKE = 0.004
ALIKE_SHARE = 1 / 8  # of the median distance between a case and its nearest
SAMPLED = 1000  # cases of which that median is taken
DIRECTIONS = 12  # in which thumbnails differ most, by which those near each other are looked up
MOST_COMPARED = 20_000  # cases that tell these directions
BLOCK = 512  # thumbnails that are in one array at a time
ROUNDING = 1e-4  # of float32
MOST_ROWS = 10  # cases that share an image, or a label map, up to which each has its row
NAMED = 3  # of more of them

ThumbnailOf = Callable[[CaseFacts, int], npt.ArrayLike]  # of a channel, by its number
Rows = npt.NDArray[np.float32]  # (cases, THUMBNAIL³)

KEEP_ONE = "keep one: the same patient in training and testing makes scores too good"
OF_ONE = "nothing, if it was drawn twice: cases of one patient stay on one side of the split"


def twin_findings(
    facts: Sequence[CaseFacts], dataset: Dataset, thumbnail_of: ThumbnailOf | None = None
) -> Iterator[Finding]:
    """Yield cases that share their image, nearly share it, or share their label map though their images differ.

    Args:
        facts: Of the usable cases.
        dataset: That they are of.
        thumbnail_of: Gives the thumbnail of a channel; None: the facts have it.
    """
    groups = _same_image(facts)
    shared: dict[str, frozenset[int]] = {}  # case to the groups that it is in
    for number, names in enumerate(groups):
        for name in names:
            shared[name] = shared.get(name, frozenset()) | {number}
    yield from _copies(groups, dataset)
    for name, (other, distance) in _nearly_same(facts, thumbnail_of or _own).items():
        if not _share(name, other, shared):
            found = f"nearly the same image as {other} (correlation {1 - distance:.4f}): resampled or saved again"
            yield row(dataset, name, "image", "image-alike", *_told(dataset, (name, other), found))
    yield from _same_labels(facts, shared, dataset)


def _copies(groups: Sequence[Sequence[str]], dataset: Dataset) -> Iterator[Finding]:
    """Yield a row for each case that shares its image; where very many do, one for all of them."""
    twins: dict[str, list[str]] = {}
    for names in groups:
        for name in names if len(names) <= MOST_ROWS else ():
            listed = twins.setdefault(name, [])
            listed += [other for other in names if other != name and other not in listed]
    for name, others in twins.items():
        found = f"the same voxels as {', '.join(others)}"
        yield row(dataset, name, "image", "image-twice", *_told(dataset, (name, *others), found))
    for names in groups:
        if len(names) > MOST_ROWS:
            found = f"the same voxels in {len(names)} cases: {_some(names)}"
            yield row(dataset, "", "image", "image-twice", *_told(dataset, names, found))


def _told(dataset: Dataset, names: Sequence[str], found: str) -> tuple[Severity, str, str]:
    """Return severity, what was found, and the way out, of cases that share an image: of one patient they may."""
    patients = {dataset.by_id[name].patient for name in names if name in dataset.by_id}
    if len(patients) == 1:
        return "note", f"{found}, which is the same patient's", OF_ONE
    return "warning", found, KEEP_ONE


def _same_labels(
    facts: Sequence[CaseFacts], shared: Mapping[str, frozenset[int]], dataset: Dataset
) -> Iterator[Finding]:
    """Yield cases that share their label map, but not their image; where very many do, one row for all of them."""
    labels = defaultdict(list)
    for case in facts:
        if case.organs:
            labels[case.label_digest, b"".join(organ.place for organ in case.organs)].append(case.case)
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


def _own(facts: CaseFacts, channel: int) -> npt.ArrayLike:
    return facts.channels[channel].thumbnail


def _nearly_same(facts: Sequence[CaseFacts], thumbnail_of: ThumbnailOf) -> dict[str, tuple[str, float]]:
    """Return name and distance of the nearest case, for each case whose nearest is far nearer than usual."""
    nearest: dict[str, tuple[str, float]] = {}
    for number in range(len(facts[0].channels) if len(facts) >= FEWEST else 0):
        varied = [case for case in facts if not case.channels[number].constant]
        if len(varied) < FEWEST:
            continue
        first = {voxel_key(case.channels[number]): place for place, case in reversed(list(enumerate(varied)))}
        counts = Counter(voxel_key(case.channels[number]) for case in varied)
        single = [place for key, place in first.items() if counts[key] == 1]  # the nearest of a copy is its copy
        thumbnails = _Thumbnails(varied, number, thumbnail_of)
        with threadpool_limits(limits=1):  # so small products are slower on many threads
            limit = min(ALIKE, ALIKE_SHARE * _usual_distance(thumbnails))
            pairs = _nearer(thumbnails, sorted(first.values()), sorted(single), limit)
        copies = [place for place, case in enumerate(varied) if counts[voxel_key(case.channels[number])] > 1]
        pairs |= {place: (place, 0.0) for place in copies if limit > 0}
        for place, (other, distance) in sorted(pairs.items()):
            nearest.setdefault(varied[place].case, (varied[other].case, distance))
    return nearest


class _Thumbnails:
    """The thumbnails of a channel of cases, of which a block is one array at a time."""

    def __init__(self, cases: Sequence[CaseFacts], channel: int, thumbnail_of: ThumbnailOf) -> None:
        self._cases, self._channel, self._of = cases, channel, thumbnail_of

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._cases)

    def take(self, places: Iterable[int]) -> Rows:
        """Return some of them, one a row."""
        return np.array([self._of(self._cases[place], self._channel) for place in places], dtype=np.float32)

    def blocks(self) -> Iterator[tuple[int, Rows]]:
        """Yield all of them, with the place of the first row of each block."""
        for first in range(0, len(self), BLOCK):
            yield first, self.take(range(first, min(first + BLOCK, len(self))))


def _usual_distance(thumbnails: _Thumbnails) -> float:
    """Return the median distance of a thumbnail to its nearest; of very many, that of a sample of them."""
    count = len(thumbnails)
    sample = np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).astype(int))
    likeness = np.full(len(sample), -1.0, dtype=np.float32)
    turned = np.concatenate([_turned(one) for one in thumbnails.take(sample)], axis=1)
    for first, rows in thumbnails.blocks():
        of_block = (rows @ turned).reshape(len(rows), len(sample), -1).max(axis=2)
        inside = np.flatnonzero((sample >= first) & (sample < first + len(rows)))
        of_block[sample[inside] - first, inside] = -1.0  # each with itself
        likeness = np.maximum(likeness, of_block.max(axis=0))
    return float(np.median(np.maximum(0.0, 1.0 - likeness.astype(np.float64))))


def _nearer(
    thumbnails: _Thumbnails, others: Sequence[int], of: Sequence[int], limit: float
) -> dict[int, tuple[int, float]]:
    """Return the nearest other, and its distance, for each of some thumbnails whose nearest is nearer than a limit.

    No pair is missed: what a thumbnail has in common with its eight mirror images is a projection, the same for all of
    them, so two of these never lie further apart than the two thumbnails, mirrored or not.

    Args:
        thumbnails: Of all cases.
        others: Places of those that may be the nearest, sorted.
        of: Places of those to find the nearest of.
        limit: Of the distance.
    """
    if limit <= 0:
        return {}
    common = np.concatenate([_octants(rows) for _, rows in thumbnails.blocks()])
    _, directions = np.linalg.eigh(np.cov(common[:: -(-len(common) // MOST_COMPARED)], rowvar=False))
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


def _octants(rows: Rows) -> Rows:
    """Return what thumbnails have in common with their mirror images: an eighth of the numbers, of the same lengths."""
    cubes = rows.reshape(-1, *(THUMBNAIL,) * 3)
    for axis in (1, 2, 3):
        first, last = np.split(cubes, 2, axis)
        cubes = (first + np.flip(last, axis)) / np.float32(math.sqrt(2))
    return cubes.reshape(len(cubes), -1)


def _nearest(thumbnails: _Thumbnails, number: int, among: npt.NDArray[np.intp]) -> tuple[int, float]:
    """Return the nearest other of a thumbnail, mirrored or not, and its distance.

    Args:
        thumbnails: Of all cases.
        number: Its place.
        among: Places of those that may be the nearest, itself perhaps among them.
    """
    likeness = (thumbnails.take(among) @ _turned(thumbnails.take([number])[0])).max(axis=1)
    likeness[among == number] = -1.0
    best = int(likeness.argmax())
    return int(among[best]), max(0.0, 1.0 - float(likeness[best]))


def _turned(row: npt.NDArray[np.float32]) -> Rows:
    """Return a thumbnail and its mirror images, one a column."""
    cube = row.reshape((THUMBNAIL,) * 3)
    return np.stack([cube[::z, ::y, ::x].ravel() for z in (1, -1) for y in (1, -1) for x in (1, -1)], axis=1)
