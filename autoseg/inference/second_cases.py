"""The cases of a second stage: what it will see of each, with the errors that the first stage makes on unseen cases.

Only the first stage of the same fold is asked: that of another fold has learnt from this fold's testing cases. It has
learnt from the training cases, so its errors on them are too small. They are made as large as on validation cases.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoseg.data.cache import CachedCase, covering_cases, read_case, write_case
from autoseg.data.preprocess import plan_digest, read_cached_image
from autoseg.dataset.load import Case
from autoseg.digests import code_digest, digest
from autoseg.errors import ModelError
from autoseg.files import write_text
from autoseg.imaging.grid import Box, resized
from autoseg.imaging.resample import FloatArray, resample_label
from autoseg.imaging.volumes import read_label
from autoseg.inference.second_boxes import reach_mm, training_box
from autoseg.inference.second_input import classes_of, displaced, part_of, second_image
from autoseg.inference.second_stage import second_atoms
from autoseg.inference.stage import InferenceOptions, Stage
from autoseg.json_file import JsonError, read_json
from autoseg.labels import IGNORED, Atoms
from autoseg.metrics.overlap import dice
from autoseg.plan import Plan
from autoseg.pool import Track, untracked
from autoseg.words import counted

logger = logging.getLogger(__name__)
CODE = ("inference", "data/preprocess.py", "data/cache.py", "imaging", "labels.py")  # what makes a case
MEASURED = 12  # cases of a side on which the first stage's errors are measured
DISPLACEMENTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # voxels of the first stage's working grid that are tried
MOST_MARGIN_MM = 40.0  # of a box, however much the first stage misses: the rest is widened where organs reach out
NOTE = "errors.json"  # in the folder of the cases: what was measured, and from what
KEEP = InferenceOptions(probabilities=True)


@dataclass(frozen=True, kw_only=True)
class FirstErrors:
    """How the first stage errs on cases that it has not learnt from."""

    margin_mm: float  # around what it sees of the organs, so that the box holds them whole
    displacements: tuple[float, ...]  # of each organ's probabilities in training cases, voxels of its working grid


@dataclass(frozen=True, kw_only=True)
class SecondCases:
    """What a second stage learns from, and watches."""

    training: tuple[CachedCase, ...]
    validation: tuple[CachedCase, ...]
    margin_mm: float


def second_cases(
    first: Stage,
    weights: str,
    plan: Plan,
    training: Sequence[CachedCase],
    validation: Sequence[CachedCase],
    sources: Callable[[Sequence[str]], Mapping[str, Case]],
    folder: Path,
    track: Track = untracked,
    *,
    is_begun: bool = False,
) -> SecondCases:
    """Return the cases of a fold's second stage; make them first unless they are up to date.

    Those that a training has begun with stay as they are under another version of the code.

    Args:
        first: The first stage of this fold.
        weights: A digest of its weights.
        plan: Of the second stage.
        training: Cases of the first stage that it has learnt from.
        validation: Those that it has not.
        sources: Gives the dataset's cases of some ids, where they are needed.
        folder: Of the second stage's cases.
        track: Shows progress.
        is_begun: Whether a training of the second stage has begun with these cases.

    Raises:
        DatasetError: As `sources` does.
        AutosegError: If an image cannot be read.
    """
    both = (*training, *validation)
    seen = [(case.content_digest, case.grid, case.stored) for case in both]
    key = digest(weights, seen, len(training), plan_digest(plan), plan.margin_mm, plan.seed)
    origin = digest([case.source_digest for case in both], code_digest(*CODE))
    known = _known(folder, key, None if is_begun else origin)
    if known is None:
        maker = _Maker(first, plan, sources([case.id for case in both]), folder, digest(key, origin))
        if not validation:
            logger.warning(
                "no case validates, so it is not known how the first stage errs on unseen ones: the second learns from "
                "what it sees of the cases that it has learnt from, which is too good; split with validation cases"
            )
        errors = maker.errors(training, validation, track)
        sides = [(case, True) for case in training] + [(case, False) for case in validation]
        made = [
            case.id
            for case, is_learnt in track(sides, "Making the second stage's cases", len(sides))
            if maker.make(case, errors, is_learnt)
        ]
        known = made, errors.margin_mm
        note = {"key": key, "origin": origin, "cases": made, **vars(errors)}
        write_text(folder / NOTE, json.dumps(note, indent=1))
    cases = {name: read_case(folder, name) for name in known[0]}
    sides_of = [
        tuple(found for case in side if (found := cases.get(case.id)) is not None) for side in (training, validation)
    ]
    left_out = len(training) + len(validation) - sum(map(len, sides_of))
    if left_out:
        names = ", ".join(organ.name for organ in plan.labels)
        logger.warning(
            "in %s the first stage finds nothing of %s, so the second does not learn from it",
            counted(left_out, "case"), names,
        )  # fmt: skip
    return SecondCases(training=sides_of[0], validation=sides_of[1], margin_mm=known[1])


def read_errors(folder: Path) -> FirstErrors | None:
    """Return what was measured when the cases in a folder were made; None where that is not known."""
    try:
        note = read_json(folder / NOTE, dict)
        return FirstErrors(margin_mm=float(note["margin_mm"]), displacements=tuple(map(float, note["displacements"])))
    except (OSError, JsonError, KeyError, TypeError, ValueError):
        return None


def _known(folder: Path, key: str, origin: str | None) -> tuple[list[str], float] | None:
    """Return the cases that are there, all intact, and the margin of their boxes; None where they are to be made.

    Args:
        folder: Of the cases.
        key: Of what they show.
        origin: Of the files and the code that they were made from; None: any.
    """
    try:
        note = read_json(folder / NOTE, dict)
        cases = [read_case(folder, name) for name in note["cases"]]
        if note["key"] != key or (origin is not None and note["origin"] != origin):
            return None
        if not all(case is not None and case.is_intact() for case in cases):
            return None
        return list(note["cases"]), float(note["margin_mm"])
    except (OSError, JsonError, KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True)
class _Maker:
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

    def errors(self, training: Sequence[CachedCase], validation: Sequence[CachedCase], track: Track) -> FirstErrors:
        """Measure how far the organs reach out of what the first stage sees, and how much of them it misses."""
        looked = covering_cases(validation, MEASURED)
        asked = [*looked, *(covering_cases(training, MEASURED) if looked else ())]
        organs = range(len(self.classes))
        reaches_mm: list[float] = []
        unseen: list[list[float | None]] = [[] for _ in organs]  # Dice of cases that the first stage has not learnt
        moved = [{voxels: list[float | None]() for voxels in DISPLACEMENTS} for _ in organs]  # of those that it has
        for number, case in enumerate(track(asked, "Measuring the first stage's errors", len(asked))):
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
