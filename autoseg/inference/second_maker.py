"""Make the cases of a second stage: measure how the first stage errs, and show the second what it will see."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoseg.data.cache import CachedCase, covering_cases, read_case, write_case
from autoseg.data.preprocess import plan_digest, read_cached_image
from autoseg.dataset.load import Case
from autoseg.errors import ModelError
from autoseg.imaging.grid import Box, resized
from autoseg.imaging.resample import FloatArray, resample_label
from autoseg.imaging.volumes import read_label
from autoseg.inference.second_boxes import reach_mm, training_box
from autoseg.inference.second_input import classes_of, displaced, part_of, second_image
from autoseg.inference.second_stage import second_atoms
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.labels import IGNORED, Atoms
from autoseg.metrics.overlap import dice
from autoseg.plan import Plan
from autoseg.pool import Track

MEASURED = 12  # cases of a side on which the first stage's errors are measured
DISPLACEMENTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # voxels of the first stage's working grid that are tried
MOST_MARGIN_MM = 40.0  # of a box, however much the first stage misses: the rest is widened where organs reach out
KEEP = InferenceOptions(probabilities=True)


@dataclass(frozen=True, kw_only=True)
class FirstErrors:
    """How the first stage errs on cases that it has not learnt from."""

    margin_mm: float  # around what it sees of the organs, so that the box holds them whole
    displacements: tuple[float, ...]  # of each organ's probabilities in training cases, voxels of its working grid


@dataclass(frozen=True)
class Maker:
    """Makes the cases of one second stage."""

    first: Stage
    plan: Plan
    sources: Mapping[str, Case]
    folder: Path
    key: str

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes of the first stage that the second looks at."""
        return classes_of(self.first.plan.scheme, self.plan.scheme)

    def seen(self, case: CachedCase) -> tuple[FloatArray, Atoms]:
        """Return the first stage's probabilities (organs, Z, Y, X) and its mask, both on its working grid."""
        upsampler = self.first.infer(case.image(), case.working.shape, KEEP)
        probabilities = upsampler.probabilities()
        if probabilities is None:
            raise ModelError(f"{case.id}: the first stage predicts nothing; train it again")
        return probabilities[list(self.classes)].astype(np.float32), upsampler.coarse

    def errors(
        self,
        training: Sequence[CachedCase],
        validation: Sequence[CachedCase],
        track: Track,
        stop: Callable[[], bool],
    ) -> FirstErrors | None:
        """Measure how far the organs reach out of what the first stage sees, and how much it misses; None: stopped."""
        looked = covering_cases(validation, MEASURED)
        asked = [*looked, *(covering_cases(training, MEASURED) if looked else ())]
        organs = range(len(self.classes))
        reaches_mm: list[float] = []
        unseen: list[list[float | None]] = [[] for _ in organs]  # Dice of cases that the first stage has not learnt
        moved = [{voxels: list[float | None]() for voxels in DISPLACEMENTS} for _ in organs]  # of those that it has
        for number, case in enumerate(track(asked, "Measuring the first stage's errors", len(asked))):
            if stop():
                return None
            probabilities, mask = self.seen(case)  # of one case at a time: they are large
            if number < len(looked):
                reaches_mm.append(reach_mm(mask, case.label(), self.classes, case.working))
                for organ in organs:
                    unseen[organ].append(self._dice(case, probabilities[organ], organ))
                continue
            for organ in organs:
                for voxels, found in moved[organ].items():
                    found.append(self._dice(case, self._moved(case, probabilities, organ, voxels), organ))
        margin_mm = min(MOST_MARGIN_MM, max([self.plan.margin_mm or 0.0, *reaches_mm]))
        return FirstErrors(
            margin_mm=round(margin_mm, 1),
            displacements=tuple(_imitating(unseen[organ], moved[organ]) for organ in organs),
        )

    def has(self, case: CachedCase) -> bool:
        """Return whether a case is made, of the same and by the same."""
        made = read_case(self.folder, case.id)
        return made is not None and made.source_digest == self.key and made.is_intact()

    def make(self, case: CachedCase, errors: FirstErrors, is_learnt: bool) -> bool:
        """Write a case of the second stage; return whether the first stage sees anything of its organs."""
        probabilities, mask = self.seen(case)
        if is_learnt:
            moved = [self._moved(case, probabilities, n, voxels) for n, voxels in enumerate(errors.displacements)]
            probabilities = np.stack(moved)
        box = training_box(mask, self.classes, case.grid, errors.margin_mm)
        if box is not None:
            self._write(case, probabilities, box)
        return box is not None

    def _write(self, case: CachedCase, probabilities: FloatArray, box: Box) -> None:
        source, plan, scheme = self.sources[case.id], self.plan, self.first.plan.scheme
        volume = read_cached_image(case, source)
        part = part_of(volume, box)
        image = second_image(part, box, volume.grid.shape, probabilities, plan)
        label = read_label(source.label_files, volume.grid, scheme).array[box]
        atoms = second_atoms(scheme.encode(label, case.id), self.classes)
        z, y, x = image.shape[1:]
        hidden = tuple(place for place, index in enumerate(self.classes, start=1) if index in case.hidden)
        record = replace(
            case, folder=self.folder, source_digest=self.key, plan_digest=plan_digest(plan), grid=part.grid,
            stored=part.grid, working=resized(part.grid, (z, y, x)), hidden=hidden, arrays="",
        )  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        write_case(record, image, resample_label(atoms, (z, y, x)), seed=zlib.crc32(case.id.encode()))

    def _moved(self, case: CachedCase, probabilities: FloatArray, organ: int, voxels: float) -> FloatArray:
        return displaced(probabilities[organ], voxels, (self.plan.seed, zlib.crc32(case.id.encode()), organ))

    def _dice(self, case: CachedCase, probability: FloatArray, organ: int) -> float | None:
        """Return the Dice of where an organ is more likely than not; None where it is not labelled or in neither."""
        index = self.classes[organ]
        if index in case.hidden:
            return None
        label = case.label()
        truth = np.where(label == IGNORED, IGNORED, label == index).astype(np.uint8)
        return dice((probability > 0.5).astype(np.uint8), truth, {1: (1,)}, IGNORED)[1]


def _imitating(unseen: Sequence[float | None], moved: Mapping[float, Sequence[float | None]]) -> float:
    """Return the displacement that brings an organ's mean Dice nearest to that on unseen cases; 0 where none is known.

    Args:
        unseen: Dice of cases that the first stage has not learnt from.
        moved: Displacement (voxels) to the Dice of those that it has, displaced so.
    """
    aim, means = _mean(unseen), {voxels: _mean(found) for voxels, found in moved.items()}
    if math.isnan(aim) or any(map(math.isnan, means.values())):
        return 0.0
    return min(means, key=lambda voxels: abs(means[voxels] - aim))


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else math.nan
