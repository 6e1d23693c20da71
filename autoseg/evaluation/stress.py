"""Stress: how much Dice is lost when testing images are noisy, blurred, shifted, thick, cut or flipped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from autoseg.dataset.load import Case
from autoseg.errors import RunError
from autoseg.imaging.lattice import require_together
from autoseg.imaging.volumes import Volume, read_image, read_label
from autoseg.inference.model import Model
from autoseg.inference.predict import raise_as_job_error
from autoseg.metrics.overlap import dice
from autoseg.sheet import write_frame
from autoseg.words import shortened

COLUMNS = ("fold", "case", "organ", "label", "change", "dice")
UNCHANGED = "unchanged"
NOISE_HU, SHIFT_HU, NOISE_SHARE, CUT = 30.0, 50.0, 0.1, 0.15
GAMMA, SHADE = 1.5, 0.3
Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A case as it is shown to the model, and what its mask is compared with."""

    image: Volume
    truth: Labels  # (Z, Y, X)
    repeat: int = 1  # how often each slice of the mask stands for the comparison


Change = Callable[[Volume, Labels, bool], Changed]  # image, truth, whether it is CT


def _intensities(change: Callable[[npt.NDArray[np.float32], bool], npt.NDArray[np.float32]]) -> Change:
    """Return a change of the intensities alone."""

    def apply(image: Volume, truth: Labels, is_ct: bool) -> Changed:
        return Changed(image=replace(image, array=change(image.array.astype(np.float32), is_ct)), truth=truth)

    return apply


def _noisy(array: npt.NDArray[np.float32], is_ct: bool) -> npt.NDArray[np.float32]:
    spread = NOISE_HU if is_ct else NOISE_SHARE * float(np.ptp(np.percentile(array, (0.5, 99.5))))
    return array + np.random.default_rng(0).normal(0, spread, array.shape).astype(np.float32)


def _blurred(array: npt.NDArray[np.float32], _: bool) -> npt.NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(array, (0, 1, 1, 1)))


def _shifted(sign: int) -> Change:
    return _intensities(lambda array, _: array + sign * SHIFT_HU)


def _curved(power: float) -> Change:
    """Return a change of contrast: intensities between the ends of their range, taken to a power."""

    def apply(array: npt.NDArray[np.float32], _: bool) -> npt.NDArray[np.float32]:
        low, high = np.percentile(array, (0.5, 99.5))
        share = np.clip((array - low) / max(high - low, 1e-12), 0, 1)
        return np.asarray(low + (high - low) * share**power, dtype=np.float32)

    return _intensities(apply)


def _shaded(array: npt.NDArray[np.float32], _: bool) -> npt.NDArray[np.float32]:
    """Let intensities fall along y, as those of a coil on one side do."""
    factors = np.linspace(1 + SHADE, 1 - SHADE, array.shape[2], dtype=np.float32)
    return array * factors[:, None]


def _thick(image: Volume, truth: Labels, _: bool) -> Changed:
    """Average slices two by two."""
    pairs = len(truth) // 2
    array = image.array[:, : 2 * pairs].astype(np.float32)
    array = array.reshape(len(array), pairs, 2, *array.shape[2:]).mean(axis=2)
    z, y, x = image.grid.spacing_mm
    grid = replace(image.grid, shape=(pairs, *image.grid.shape[1:]), spacing_mm=(2 * z, y, x))
    return Changed(image=replace(image, array=array, grid=grid), truth=truth[: 2 * pairs], repeat=2)


def _cut(image: Volume, truth: Labels, _: bool) -> Changed:
    """Leave out a share of the slices at each end."""
    out = round(CUT * len(truth))
    inner = slice(out, len(truth) - out)
    array = np.ascontiguousarray(image.array[:, inner])
    grid = replace(image.grid, shape=(array.shape[1], *image.grid.shape[1:]))
    return Changed(image=replace(image, array=array, grid=grid), truth=truth[inner])


def _flipped(axis: int) -> Change:
    """Return the flip of an axis of (Z, Y, X), as of a header that is wrong; the truth keeps its names."""

    def apply(image: Volume, truth: Labels, _: bool) -> Changed:
        array = np.ascontiguousarray(np.flip(image.array, axis + 1))
        return Changed(image=replace(image, array=array), truth=np.flip(truth, axis))

    return apply


CHANGES: Mapping[str, Change] = {
    UNCHANGED: lambda image, truth, _: Changed(image=image, truth=truth),
    "noise": _intensities(_noisy),
    "blur": _intensities(_blurred),
    "brighter": _shifted(1),
    "darker": _shifted(-1),
    "contrast up": _curved(GAMMA),
    "contrast down": _curved(1 / GAMMA),
    "coil shading": _intensities(_shaded),
    "slices doubled": _thick,
    "ends cut": _cut,
    "left-right flipped": _flipped(2),
    "head-feet flipped": _flipped(0),
}


OF_CT = ("brighter", "darker")
OF_OTHERS = ("contrast up", "contrast down", "coil shading")
ACROSS = {  # flat axis to the changes that slices which are seen one by one do not see, or that are of other slices
    "z": ("slices doubled", "ends cut", "head-feet flipped"),
    "y": ("slices doubled",),
    "x": ("slices doubled", "left-right flipped"),
}


def changes(is_ct: bool, flat_axis: str | None = None) -> dict[str, Change]:
    """Return the changes that an image meets, by name, unchanged first.

    A shift of HU is seen on CT. Other images are normalised one by one, which undoes every shift and every factor:
    there the contrast is bent, and a coil's shading laid over it. Slices that are seen one by one have no other slices.
    """
    left_out = (*(OF_OTHERS if is_ct else OF_CT), *ACROSS.get(flat_axis or "", ()))
    return {name: change for name, change in CHANGES.items() if name not in left_out}


@raise_as_job_error(done="stressed")
def stress(model: Model, case: Case, fold: int) -> list[dict[str, Any]]:
    """Return the Dice of every organ of a case under every change, rows of `COLUMNS`.

    Raises:
        AutosegError: If the case cannot be read or predicted.
    """
    image = read_image(case.images)
    label = read_label(case.label_files, image.grid, model.plan.scheme)
    require_together(case.label, label.grid, image.grid)
    truth = label.array
    is_ct = model.plan.intensity[0].kind == "ct"
    scheme = model.plan.scheme
    organs = {organ.value: organ.name for organ in scheme.shown(scheme.hidden(case.shows)).values()}
    within = {organ.value: scheme.values_of(organ) for organ in scheme.labels if organ.value in organs}
    rows = []
    flat_axis = "z" if len(truth) == 1 else model.plan.flat_axis
    for name, change in changes(is_ct, flat_axis).items():
        changed = change(image, truth, is_ct)
        mask = model.segment(model.prepare(changed.image)).mask.array
        found = dice(np.repeat(mask, changed.repeat, axis=0), changed.truth, within, scheme.ignored)
        rows += [dict(zip(COLUMNS, (fold, case.id, organs[v], v, name, d), strict=True)) for v, d in found.items()]
    return rows


def write_stress(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write stress.csv atomically."""
    write_frame(pd.DataFrame(rows, columns=list(COLUMNS)), file, digits=6)


def read_stress(file: Path) -> pd.DataFrame:
    """Read stress.csv; no row where it is missing.

    Raises:
        RunError: If it is damaged.
    """
    if not file.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        texts = dict.fromkeys(("case", "organ", "change"), str)
        frame = pd.read_csv(file, dtype=texts, keep_default_na=False, na_values={"dice": [""]})
        return frame[list(COLUMNS)].astype({"dice": float})
    except (OSError, ValueError, KeyError) as error:
        cause = shortened(error, 200)
        raise RunError(f"{file}: is damaged ({cause}); run `autoseg evaluate RUN --stress` again") from error


def stress_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the change of each organ's mean Dice in points, a column a change; over cases that have the organ in both.

    Columns Organ, N, Dice (%) unchanged, then one for each change.
    """
    table = []
    for organ, of_organ in rows.groupby("organ", sort=False):
        wide = of_organ.pivot_table(index=["fold", "case"], columns="change", values="dice", dropna=False)
        before = wide[UNCHANGED]
        changes = [name for name in CHANGES if name in wide and name != UNCHANGED]
        losses = {name: 100 * (wide[name] - before).mean() for name in changes}
        table.append({"Organ": organ, "N": int(before.notna().sum()), "Dice (%)": 100 * before.mean(), **losses})
    return pd.DataFrame(table)


def chosen(cases: Collection[str], most: int) -> list[str]:
    """Return at most so many cases, evenly spread over their order.

    >>> chosen(["a", "b", "c", "d", "e"], 2)
    ['a', 'e']
    """
    ordered = sorted(cases)
    places = np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]
