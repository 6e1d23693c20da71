"""What a working grid alone costs: the Dice that an organ's truth keeps after going to the grid and back.

Training never sees more than the truth on the working grid, and a prediction comes back from there by interpolation.
So the truth itself is sent that way, through the same vote and the same interpolation of classes as in preprocessing
and prediction, and is compared with what it was: a network that is perfect on the working grid scores about this much
on the image's own. It shows before any training which organs a factor is too coarse for: a liver keeps nearly all of
itself at ×4, an artery does not. Source: our own.

What lies where the truth is not known takes no part in either way, and is not compared.

A class matters only where its organ is, so all is worked out in the organs' boxes, and at no time are there all
classes of a whole volume.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from autoseg.dataset.load import Case
from autoseg.errors import AutosegError
from autoseg.imaging.boxes import box_around
from autoseg.imaging.grid import Box, Triple, Voxels, to_lps, working_shape
from autoseg.imaging.resample import Axes, FloatArray, all_weights, resample_label, touched_rows, vote_classes
from autoseg.imaging.volumes import read_grid, read_label
from autoseg.labels import IGNORED, IN_REGION, Atoms, LabelMap, LabelScheme, Mask
from autoseg.metrics.overlap import overlap
from autoseg.pool import Crew, Track, each, untracked

logger = logging.getLogger(__name__)
LEAST_OF_EACH = 6  # cases that show an organ, where some are labelled in part
MOST_PARTLY = 96  # label maps that are read then
MOST_CASES = 24  # label maps that are read; of 103 head-and-neck cases they gave the mean to within 0.02


@dataclass(frozen=True, kw_only=True)
class _Region:
    """Where a class lies on the working grid, and which voxels of the label map it reaches from there."""

    index: int  # of the class; 0 is background
    source: Box  # on the working grid
    target: Box  # on the label map's grid


def ceilings(label: LabelMap, scheme: LabelScheme, shapes: Sequence[Voxels]) -> list[dict[int, float]]:
    """Return, for each working grid, the Dice of every organ's truth against itself after there and back.

    There, by vote, as `resample_label`; back, by interpolation of the classes, as a prediction's.

    Args:
        label: Label values (Z, Y, X), axes along LPS.
        scheme: Of the labels; other values count as background.
        shapes: Voxels (Z, Y, X) of the working grids, as from `working_shape`.

    Returns:
        For each shape, value to Dice, 0 to 1; an organ that the label map does not have is left out.

    >>> from autoseg.labels import Label
    >>> scheme = LabelScheme(labels=(Label(value=5, name="vein"), Label(value=7, name="liver")))
    >>> ceilings(np.array([[[0, 0, 7, 7, 7, 7, 0, 5]]]), scheme, [(1, 1, 8), (1, 1, 4)])
    [{5: 1.0, 7: 1.0}, {5: 0.0, 7: 1.0}]
    """
    if scheme.overlapping:
        return [_region_ceilings(scheme.encode_known(label), scheme, shape) for shape in shapes]
    values, ignored = tuple(scheme.names), scheme.ignored
    objects = ndimage.find_objects(label, max_label=max(values, default=0))
    boxes: dict[int, Box] = {value: objects[value - 1] for value in values if objects[value - 1] is not None}
    unknown = ignored if ignored is not None and (label == ignored).any() else None
    return [_ceilings(label, boxes, shape, unknown) for shape in shapes]


def dataset_ceilings(
    cases: Sequence[Case],
    scheme: LabelScheme,
    spacings_mm: Sequence[Triple | None],
    downsampling: Triple = (1.0, 1.0, 1.0),
    crew: int | Crew = 1,
    track: Track = untracked,
    flat: int | None = None,
) -> tuple[tuple[float | None, ...], ...]:
    """Return, for each organ and each spacing, the mean of `ceilings` over the cases that have the organ.

    At most MOST_CASES cases are read, spread evenly over the given order, each label map once; where some are labelled
    in part, as many more as show each organ LEAST_OF_EACH times, up to MOST_PARTLY. A case that cannot be read is left
    out, with a warning.

    Args:
        cases: In the order in which they are to be sampled.
        scheme: Of the labels.
        spacings_mm: Of the working grids (Z, Y, X); each case's shape follows from its own extent. None: each image
            is divided by `downsampling`.
        downsampling: Factors (Z, Y, X), used where a spacing is None.
        crew: Who reads: a number of processes, or a cluster's.
        track: Shows progress.
        flat: Axis along which slices stay as they are.

    Returns:
        A row an organ, a column a spacing; None where no case that was read has the organ.
    """
    values = tuple(scheme.names)
    chosen = _chosen(cases, values)
    work = {case.id: (case, scheme, tuple(spacings_mm), downsampling, flat) for case in chosen}
    by_case: dict[str, list[dict[int, float]]] = {}
    for name, result in track(each(_case_ceilings, work, crew), "Measuring the grids", len(work)):
        if isinstance(result, AutosegError):
            logger.warning("%s: its ceilings are not measured, those of the others count: %s", name, result)
        else:
            by_case[name] = result
    in_order = [by_case[case.id] for case in chosen if case.id in by_case]  # so that sums do not depend on who is first
    columns = range(len(spacings_mm))
    return tuple(tuple(_mean([case[column] for case in in_order], value) for column in columns) for value in values)


def _mean(cases: Sequence[Mapping[int, float]], value: int) -> float | None:
    dices = [case[value] for case in cases if value in case]
    return fmean(dices) if dices else None


def _chosen(cases: Sequence[Case], values: Sequence[int]) -> list[Case]:
    """Return MOST_CASES of the cases; where some are labelled in part, more, so that each organ is seen enough."""
    chosen = _spread(cases, MOST_CASES)
    seen = Counter(value for case in chosen for value in case.labelled or values)
    taken = {case.id for case in chosen}
    for case in cases:
        if len(taken) >= MOST_PARTLY or all(seen[value] >= LEAST_OF_EACH for value in values):
            break
        shown = case.labelled or values
        if case.id not in taken and any(seen[value] < LEAST_OF_EACH for value in shown):
            taken.add(case.id)
            seen.update(shown)
    return [case for case in cases if case.id in taken]


def _spread(cases: Sequence[Case], most: int) -> list[Case]:
    """Return at most `most` cases, spread evenly from the first to the last."""
    count = min(len(cases), most)
    return [cases[round(i * (len(cases) - 1) / max(1, count - 1))] for i in range(count)]


def _case_ceilings(
    work: tuple[Case, LabelScheme, tuple[Triple | None, ...], Triple, int | None],
) -> list[dict[int, float]]:
    case, scheme, spacings_mm, downsampling, flat = work
    label = read_label(case.label_files, to_lps(read_grid(case.images[0]))[1], scheme)
    shapes = [working_shape(label.grid, spacing, downsampling, flat) for spacing in spacings_mm]
    return ceilings(label.array, scheme, shapes)


def _region_ceilings(atoms: Atoms, scheme: LabelScheme, shape: Voxels) -> dict[int, float]:
    """Return the Dice of regions after there and back, plane by plane: a plane of every region is held at a time."""
    working, (along_z, along_y, along_x) = (
        resample_label(atoms, shape),
        all_weights(shape, atoms.shape, averaging=False),
    )
    back = np.zeros_like(atoms)
    classes = [scheme.class_mask(working, index) for index in scheme.organs]
    known = working != IGNORED
    for z, row in enumerate(along_z):
        used = np.flatnonzero(row)

        def plane(mask: Mask, row: FloatArray = row, used: npt.NDArray[np.intp] = used) -> FloatArray:
            return np.asarray(along_y @ np.tensordot(row[used], mask[used].astype(np.float32), axes=1) @ along_x.T)

        least = IN_REGION * plane(known)
        for label, mask in zip(scheme.labels, classes, strict=True):
            back[z][plane(mask) > least] = scheme.values.index(label.value)
    counts = overlap(back, atoms, scheme.atoms_of, IGNORED)
    organs = scheme.organs.items()
    return {organ.value: counts[index].dice or 0.0 for index, organ in organs if counts[index].truth}


def _ceilings(label: LabelMap, boxes: Mapping[int, Box], shape: Voxels, ignored: int | None) -> dict[int, float]:
    if label.shape == shape:
        return dict.fromkeys(boxes, 1.0)
    working = vote_classes(label, boxes, shape, ignored)
    back = all_weights(shape, label.shape, averaging=False)
    both, returned = _returned(working, label, tuple(boxes), _regions(working, back), ignored)
    true = [int(np.count_nonzero(label[box] == value)) for value, box in boxes.items()]
    return {value: 2.0 * both[i] / (returned[i] + true[i]) for i, value in enumerate(boxes)}


def _regions(working: Atoms, back: Axes) -> tuple[_Region, ...]:
    """Return the classes that the working grid holds; background first, as far as the others reach."""
    boxes = enumerate(ndimage.find_objects(working, max_label=IGNORED - 1), start=1)
    organs = [_Region(index=i, source=box, target=_touched_box(back, box)) for i, box in boxes if box is not None]
    around = box_around(organ.target for organ in organs)
    if around is None:
        return ()
    z, y, x = (touched_rows(matrix.T, span) for matrix, span in zip(back, around, strict=True))
    return (_Region(index=0, source=(z, y, x), target=around), *organs)


def _returned(
    working: Atoms, label: LabelMap, values: Sequence[int], regions: Sequence[_Region], ignored: int | None
) -> tuple[list[int], list[int]]:
    """Count for each organ the voxels that come back to it rightly, and all that come back to it.

    As a prediction's mask of the classes' one-hot maps, plane by plane of the label map.
    """
    back = all_weights(working.shape, label.shape, averaging=False)
    both, returned = [0] * len(values), [0] * len(values)
    best = np.zeros(label.shape[1:], dtype=np.float32)
    winner = np.zeros(label.shape[1:], dtype=np.uint8)
    for z, truth in enumerate(label):
        here = [region for region in regions if region.target[0].start <= z < region.target[0].stop]
        if len(here) < 2:  # background alone
            continue
        _win(working, here, back, z, best, winner)
        for region in here[1:]:
            place, i = region.target[1:], region.index - 1
            won = winner[place] == region.index
            won = won if ignored is None else won & (truth[place] != ignored)
            returned[i] += int(np.count_nonzero(won))
            both[i] += int(np.count_nonzero(won & (truth[place] == values[i])))
    return both, returned


def _win(working: Atoms, here: Sequence[_Region], back: Axes, z: int, best: FloatArray, winner: Atoms) -> None:
    """Write into `winner` (Y, X) the winning class of plane `z`, and its value into `best`; background comes first."""
    for region in here:
        place = region.target[1:]
        plane = _plane(working, region, back, z)
        if region.index == 0:
            best[place], winner[place] = plane, 0
            continue
        winner[place][plane > best[place]] = region.index
        np.maximum(best[place], plane, out=best[place])


def _plane(working: Atoms, region: _Region, back: Axes, z: int) -> FloatArray:
    """Return how much of plane `z` of the label map's grid a class has by interpolation, in its target (Y, X)."""
    depth, height, width = region.source
    row = back[0][z, depth]
    used = np.flatnonzero(row)
    one_hot = (working[region.source][used] == region.index).astype(np.float32)
    plane = np.tensordot(row[used], one_hot, axes=1)
    _, y, x = region.target
    return np.asarray(back[1][y, height] @ plane @ back[2][x, width].T)


def _touched_box(axes: Axes, box: Box) -> Box:
    z, y, x = (touched_rows(matrix, part) for matrix, part in zip(axes, box, strict=True))
    return z, y, x
