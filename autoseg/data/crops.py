"""Which crops a batch has: a function of the seed and the batch's number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from autoseg.data.cache import CachedCase
from autoseg.imaging.grid import Triple
from autoseg.plan import Plan


class OfPatient(Protocol):
    """What belongs to a patient."""

    @property
    def patient(self) -> str:
        """Whose it is."""


Scan = TypeVar("Scan", bound=OfPatient)


class CaseChooser(Generic[Scan]):
    """Chooses the cases of each batch: of different patients, every patient equally often.

    Of a patient with several cases one is drawn. With fewer patients than the batch needs, they repeat as evenly as
    possible. The order of the patients is drawn once an epoch, so that a batch costs the same however many there are.
    """

    def __init__(self, cases: Sequence[Scan], batch_size: int, seed: int) -> None:
        """Sort the cases by patient."""
        by_patient: dict[str, list[Scan]] = {}
        for case in cases:
            by_patient.setdefault(case.patient, []).append(case)
        self.patients = list(by_patient.values())
        self.batch_size, self.seed = batch_size, seed
        self._order: tuple[int, npt.NDArray[np.intp]] | None = None  # an epoch, and its patients

    def cases_of(self, index: int) -> list[Scan]:
        """Return the cases of batch `index`."""
        patients, size = self.patients, self.batch_size
        rng = np.random.default_rng((self.seed, index, 1))
        if len(patients) < size:
            repeats = -(-size // len(patients))
            places = [int(n) for _ in range(repeats) for n in rng.permutation(len(patients))][:size]
        else:
            epoch, place = divmod(index, len(patients) // size)
            places = [int(n) for n in self._order_of(epoch)[place * size : (place + 1) * size]]
        return [patients[n][int(rng.integers(len(patients[n])))] for n in places]

    def _order_of(self, epoch: int) -> npt.NDArray[np.intp]:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, epoch, 2)).permutation(len(self.patients))
        return self._order[1]


def choose_deformed(plan: Plan, index: int) -> list[bool]:
    """Return which crops of batch `index` are deformed: a share of them, and none in the training's last part.

    The others look as in prediction, where nothing is interpolated.
    """
    share, end = plan.augmentation.deformed_share, plan.augmentation.undeformed_end
    if end and index >= (1 - end) * plan.iterations:
        return [False] * plan.batch_size
    return [bool(drawn < share) for drawn in np.random.default_rng((plan.seed, index, 3)).random(plan.batch_size)]


def draw_centre(case: CachedCase, plan: Plan, rng: np.random.Generator) -> Triple:
    """Draw the centre of a crop, in voxels of the cached volume.

    With probability `organ_share` it is a voxel of an organ, every organ of the case equally likely, moved so that the
    crop stays inside the volume; else all crops inside the volume are equally likely, or where the truth is not known
    everywhere, all voxels where it is, moved likewise. Where the volume is smaller than the crop it is centred.
    """
    shape = np.array(case.working.shape, dtype=np.float64)
    crop = np.array(plan.crop_size, dtype=np.float64)
    first, last = crop / 2 - 0.5, np.maximum(shape, crop) - crop / 2 - 0.5  # where the crop fits
    centre = rng.uniform(first, last)
    if plan.flat is not None and last[plan.flat] > 0:  # a slice, and nothing between two; each equally likely
        most = last[plan.flat]
        centre[plan.flat] = min(most, np.floor(centre[plan.flat] * (most + 1) / most))
    samples = case.organs()
    first_organ = int(np.searchsorted(samples[:, 0], 1))  # rows of 0 come before
    known, organs = samples[:first_organ], samples[first_organ:]
    if rng.random() < plan.organ_share and len(organs):
        present = np.unique(organs[:, 0])
        of_organ = organs[organs[:, 0] == rng.choice(present)]
        centre = np.clip(of_organ[rng.integers(len(of_organ)), 1:], first, last)
    elif len(known):
        centre = np.clip(known[rng.integers(len(known)), 1:], first, last)
    if plan.flat is not None:
        centre[plan.flat] = np.rint(centre[plan.flat])
    z, y, x = np.where(shape <= crop, (shape - 1) / 2, centre)
    return float(z), float(y), float(x)
