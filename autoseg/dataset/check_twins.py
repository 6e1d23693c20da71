"""Images and label maps that occur twice: to the voxel, or saved again with other voxels, scale or header."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from autoseg.dataset.facts import THUMBNAIL, CaseFacts, ChannelFacts
from autoseg.dataset.findings import FEWEST, Finding, row
from autoseg.dataset.load import Dataset

# 1 - correlation of thumbnails. Measured on 195 MR and 103 CT: other patients from 0.07 and 0.015, the same image
# resampled by 0.7 to 1.3, with 5 % of noise, smoothed or rescaled up to 0.004. Images of a cohort may be more alike.
ALIKE = 0.004
ALIKE_SHARE = 1 / 8  # of the median distance between a case and its nearest

KEEP_ONE = "keep one: the same patient in training and testing makes scores too good"


def twin_findings(facts: Sequence[CaseFacts], dataset: Dataset) -> Iterator[Finding]:
    """Yield cases that share their image, nearly share it, or share their label map though their images differ."""
    same = _same_image(facts)
    for name, others in same.items():
        yield row(dataset, name, "image", "image-twice", "warning", f"the same voxels as {', '.join(others)}", KEEP_ONE)
    for name, (other, distance) in _nearly_same(facts).items():
        if other not in same.get(name, []):
            found = f"nearly the same image as {other} (correlation {1 - distance:.4f}): resampled or saved again"
            yield row(dataset, name, "image", "image-alike", "warning", found, KEEP_ONE)
    labels = defaultdict(list)
    for case in facts:
        if case.organs:
            labels[case.label_digest, tuple((o.voxels, o.box) for o in case.organs)].append(case.case)
    for names in labels.values():
        for name in names:
            others = [other for other in names if other != name and other not in same.get(name, [])]
            if others:
                found, fix = f"the same label map as {', '.join(others)}", "find out which image it belongs to"
                yield row(dataset, name, "label", "label-twice", "warning", found, fix)


def voxel_key(channel: ChannelFacts) -> tuple[object, ...]:
    """Return a key that two channels share only if their voxels are the same."""
    return channel.digest, channel.low, channel.high, channel.mean, channel.std


def _same_image(facts: Sequence[CaseFacts]) -> dict[str, list[str]]:
    """Return, for each case that shares a channel with other cases, their names."""
    holders: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for case in facts:
        for key in {voxel_key(channel) for channel in case.channels if not channel.constant}:
            holders[key].append(case.case)
    twins: dict[str, list[str]] = {}
    for names in holders.values():
        for name in names if len(names) > 1 else ():
            listed = twins.setdefault(name, [])
            listed += [other for other in names if other != name and other not in listed]
    return twins


def _nearly_same(facts: Sequence[CaseFacts]) -> dict[str, tuple[str, float]]:
    """Return name and distance of the nearest case, for each case whose nearest is far nearer than usual."""
    nearest: dict[str, tuple[str, float]] = {}
    for number in range(len(facts[0].channels) if len(facts) >= FEWEST else 0):
        varied = [case for case in facts if not case.channels[number].constant]
        if len(varied) < FEWEST:
            continue
        with threadpool_limits(limits=1):  # so small products are slower on many threads
            at, distances = _nearest(np.array([case.channels[number].thumbnail for case in varied], dtype=np.float32))
        limit = min(ALIKE, ALIKE_SHARE * float(np.median(distances)))
        for case, other, distance in zip(varied, at, distances, strict=True):
            if distance < limit:
                nearest.setdefault(case.case, (varied[int(other)].case, float(distance)))
    return nearest


def _nearest(
    thumbnails: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return for each thumbnail (one a row) the nearest other, mirrored or not, and its distance; one row at a time."""
    at = np.zeros(len(thumbnails), dtype=np.intp)
    distances = np.zeros(len(thumbnails))
    for number, thumbnail in enumerate(thumbnails):
        cube = thumbnail.reshape((THUMBNAIL,) * 3)
        turned = [cube[::z, ::y, ::x].ravel() for z in (1, -1) for y in (1, -1) for x in (1, -1)]
        likeness = (thumbnails @ np.stack(turned, axis=1)).max(axis=1)
        likeness[number] = -1.0
        at[number] = likeness.argmax()
        distances[number] = max(0.0, 1.0 - float(likeness.max()))
    return at, distances
