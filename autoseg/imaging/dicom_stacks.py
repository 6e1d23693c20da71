"""Stacks of DICOM frames: which lie side by side, which are copies, whether they are one evenly sampled volume."""

from __future__ import annotations

import filecmp
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.errors import VolumeError
from autoseg.imaging.dicom_frames import IDENTITY, PHASES, Frame, LeftOut, same_voxels

SAME_DIRECTION = math.radians(0.1)  # axes that differ less are the same: rounding in the headers
FEW = 3  # images of another orientation or size within a series: a scout that was stored with it
SAME_PLACE_MM = 0.01  # slices nearer than this lie in one place
EVEN_MM = 0.09  # off the even grid: positions with one decimal are up to 0.05 mm off along each of the three axes
EVEN_STEP = 0.2  # of a step, off the even grid, for steps so small that EVEN_MM would hide a slice that is missing
ROUNDED_STEP_MM = 0.05  # steps that differ by less have the mean as the spacing, others that of the even grid
ASIDE_MM = 0.1  # by which the slices of a volume with right angles may lie aside of each other
SAME_PIXEL = 1e-3  # part of the pixel spacing by which the headers of a series may differ
LISTED = 4  # values in a message
ACQUISITIONS = ("AcquisitionNumber", "FrameAcquisitionNumber", "StackID")
KERNEL = PHASES.index("ConvolutionKernel")


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Slices in the order of their positions, in the frame of the first one's orientation."""

    positions_mm: npt.NDArray[np.float64]  # centre of each slice's first voxel, patient x, y, z, (slices, 3)
    orientation: npt.NDArray[np.float64]  # unit vectors along rows and columns, patient x, y, z, (2, 3)

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector across the slices."""
        return np.cross(self.orientation[0], self.orientation[1])

    @property
    def steps_mm(self) -> npt.NDArray[np.float64]:
        """From each slice to the next, across the slices (slices - 1)."""
        return np.asarray(np.diff(self.positions_mm, axis=0) @ self.normal)

    @property
    def spacing_mm(self) -> float | None:
        """Distance of the slices; None for a single one."""
        steps = self.steps_mm
        if not len(steps):
            return None
        if np.ptp(steps) <= ROUNDED_STEP_MM:
            return float(steps.mean())
        return float(np.polyfit(np.arange(len(steps) + 1), self.positions_mm @ self.normal, 1)[0])

    @property
    def doubled(self) -> int:
        """Number of slices that lie where the one before does."""
        return int((self.steps_mm < SAME_PLACE_MM).sum())

    @property
    def even(self) -> bool:
        """Whether each slice lies on an even grid, but for rounding."""
        if self.doubled or len(self.positions_mm) < 3:
            return not self.doubled
        number, along = np.arange(len(self.positions_mm)), self.positions_mm @ self.normal
        step, start = np.polyfit(number, along, 1)
        return bool(np.abs(along - start - step * number).max() <= min(EVEN_MM, EVEN_STEP * step))

    @property
    def shift_mm(self) -> float:
        """By how much each slice lies aside of the one before, along a slope; 0 where that is rounding."""
        lateral = self.positions_mm @ self.orientation.T  # along rows and columns
        drift = float(np.linalg.norm(lateral[-1] - lateral[0]))
        rounding = max(ASIDE_MM, math.tan(SAME_DIRECTION) * float(self.steps_mm.sum()))
        return drift / (len(lateral) - 1) if drift > rounding else 0.0

    @property
    def aside_mm(self) -> float:
        """By how much a slice lies aside of the line from the first to the last."""
        lateral = self.positions_mm @ self.orientation.T
        line = np.linspace(lateral[0], lateral[-1], len(lateral))
        return float(np.linalg.norm(lateral - line, axis=1).max())


def sort_by_position(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], Axes]:
    """Return frames of one orientation in the order of their positions, and their axes."""
    orientation = np.reshape(np.array(frames[0].orientation, dtype=np.float64), (2, 3))
    orientation /= np.linalg.norm(orientation, axis=1, keepdims=True)
    positions = np.array([one.position for one in frames], dtype=np.float64)
    order = np.argsort(positions @ np.cross(*orientation), kind="stable")
    return tuple(frames[n] for n in order), Axes(positions_mm=positions[order], orientation=orientation)


def stacks_of(frames: Sequence[Frame]) -> tuple[list[list[Frame]], list[LeftOut]]:
    """Group frames by series, size and direction; a few that differ from their series are a scout, and left out."""
    by_series: dict[tuple[str, tuple[int, int]], list[list[Frame]]] = {}
    for frame in frames:
        stacks = by_series.setdefault((frame.uid, frame.size), [])
        parallel = next((stack for stack in stacks if _parallel(stack[0], frame)), None)
        if parallel is None:
            stacks.append([frame])
        else:
            parallel.append(frame)
    every = [stack for stacks in by_series.values() for stack in stacks]
    most: Counter[str] = Counter()
    for stack in every:
        most[stack[0].uid] = max(most[stack[0].uid], len(stack))
    large, left_out = [], []
    for stack in every:
        largest = most[stack[0].uid]
        if len(stack) > FEW or len(stack) == largest:
            large.append(stack)
        else:
            reason = f"another orientation or size than the {largest} other images of its series"
            left_out += [LeftOut(file=frame.file, reason=reason, image=True) for frame in stack]
    return large, left_out


def without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[LeftOut]]:
    """Leave out frames whose image is there twice, with the same fields and voxels, though archives number it anew."""
    of_image: dict[tuple[int | None, tuple[float, ...]], Frame] = {}
    same: dict[tuple[Path, Path], bool] = {}
    single: list[Frame] = []
    left_out: list[LeftOut] = []
    for frame in frames:
        first = of_image.setdefault((frame.number, frame.position), frame)
        pair = (first.file, frame.file)
        if first is frame or replace(frame, file=first.file, instance=first.instance) != first:
            single.append(frame)
            continue
        if pair not in same:
            same[pair] = filecmp.cmp(*pair, shallow=False) or same_voxels(*pair)
        if same[pair]:
            left_out.append(LeftOut(file=frame.file, reason="a copy of another image", image=True))
        else:
            single.append(frame)
    return single, left_out


def split(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """Return the volumes in a stack by what tells them apart, `""` where it is one or nothing tells.

    The first of PHASES is taken by which every part is an even volume; frames of other patients are never parted.
    Where no two frames lie in one place, only the acquisition parts them: a head CT with two steps is one volume.
    """
    whole, axes = {"": list(frames)}, sort_by_position(frames)[1]
    if len(frames) < 4 or axes.even or disagreement(frames):
        return whole
    for index, name in enumerate(PHASES):
        if name not in ACQUISITIONS and not axes.doubled:
            continue
        parts: dict[str, list[Frame]] = {}
        for frame in frames:
            parts.setdefault(f"{name}={frame.phase[index]}", []).append(frame)
        if len(parts) > 1 and all(len(part) > 1 and sort_by_position(part)[1].even for part in parts.values()):
            return dict(sorted(parts.items()))
    return whole


def disagreement(frames: Sequence[Frame]) -> str:
    """Return what is not one within a series, with the values and how many images have each; nothing where all is."""
    first = frames[0].pixel_mm
    if any(abs(a / b - 1) > SAME_PIXEL for one in frames for a, b in zip(one.pixel_mm, first, strict=True)):
        return _counted("PixelSpacing", [" × ".join(f"{v:g}" for v in one.pixel_mm) for one in frames])
    for name, numbers in (
        ("RescaleSlope", [one.slope for one in frames]),
        ("RescaleIntercept", [one.intercept for one in frames]),
    ):
        if None in numbers and len(set(numbers)) > 1:  # then some are in HU and others are not
            return _counted(name, ["blank" if number is None else f"{number:g}" for number in numbers])
    for index, name in enumerate(IDENTITY):
        values = [one.identity[index] for one in frames]
        if len({value.rstrip("^ ").casefold() for value in values if value}) > 1:
            return _counted(name, values)
    return ""


def require_whole(source: Path, frames: Sequence[Frame], left_out: str = "") -> None:
    """Refuse a stack that is no single volume on a grid with right angles.

    Args:
        source: What it is called in messages.
        frames: In the order of their positions.
        left_out: Which images belong to no series, in words: slices that are missing may be among them.

    Raises:
        VolumeError: With the numbers that prove it.
    """
    differs = disagreement(frames) or (
        _counted("ConvolutionKernel", [one.phase[KERNEL] for one in frames])
        if len({one.phase[KERNEL] for one in frames if one.phase[KERNEL]}) > 1
        else ""
    )
    if differs:
        raise VolumeError(f"{source}: the images of one series differ: {differs}; put each into its own folder")
    _, axes = sort_by_position(frames)
    if axes.doubled:
        raise VolumeError(_doubled(source, frames, axes))
    steps = axes.steps_mm
    if not axes.even:
        raise VolumeError(
            f"{source}: slice steps run from {steps.min():.2f} to {steps.max():.2f} mm, so slices are missing or "
            f"uneven{f' (left out: {left_out})' if left_out else ''}; resample the series to even slices first"
        )
    if axes.aside_mm > 2 * ASIDE_MM:
        raise VolumeError(
            f"{source}: slices lie up to {axes.aside_mm:.2f} mm aside of the line from the first to the last; resample "
            "the series to a straight stack first"
        )
    if axes.shift_mm:
        raise VolumeError(
            f"{source}: the gantry is tilted, each slice is shifted by {axes.shift_mm:.2f} mm; correct the tilt first"
        )


def _doubled(source: Path, frames: Sequence[Frame], axes: Axes) -> str:
    """Return the message on slices that lie where others do."""
    images: dict[tuple[str, int | None, tuple[float, ...]], Frame] = {}
    for frame in frames:
        other = images.setdefault((frame.instance, frame.number, frame.position), frame)
        if frame.instance and other is not frame:
            return (
                f"{source}: {other.file.name} and {frame.file.name} are the same image (SOPInstanceUID "
                f"{frame.instance}) with different contents; remove the wrong one"
            )
    return (
        f"{source}: {axes.doubled} of {len(frames)} slices lie where another one does; the series holds several "
        "volumes, such as phases: put the wanted one into its own folder"
    )


def _parallel(one: Frame, other: Frame) -> bool:
    return all(
        math.dist(one.orientation[part], other.orientation[part]) < SAME_DIRECTION for part in (slice(3), slice(3, 6))
    )


def _counted(name: str, values: Sequence[str]) -> str:
    """Return a field's values, each with how many images have it."""
    listed = [f"{value or 'blank'} in {number}" for value, number in Counter(values).most_common()]
    return f"{name} is {', '.join(listed[:LISTED])}{', …' if len(listed) > LISTED else ''}"
