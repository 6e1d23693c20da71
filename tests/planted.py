"""Cohorts for the data check, and faults to plant in them, one a case; each must be found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from autoseg.dataset.load import Case, Dataset, load_dataset
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array

Array = npt.NDArray[Any]
Change = Callable[[Array], Array]
Fault = Callable[[Case], object]
Faults = dict[str, tuple[Fault, str, str]]  # what is planted, the code and the severity it must be found with

LABELS = {"background": 0, "liver": 1, "kidney_left": 2, "kidney_right": 3}
SHAPE = (24, 16, 20)
GRID = Grid(shape=SHAPE, spacing_mm=(3.0, 2.0, 2.0))


def healthy(seed: int) -> tuple[Array, Array]:
    """Return image (HU) and label map of a body in air with three boxes for organs, a little different each time."""
    draw = np.random.default_rng(seed)
    z, y, x = draw.integers(0, 2, size=3)
    label = np.zeros(SHAPE, np.uint8)
    label[3 + z : 8 + z, 4 + y : 9, 3 : 8 + x] = 1
    label[4 + z : 8, 10 + y : 13, 12 : 15 + x] = 2
    label[4 : 8 + z, 10 : 12 + y, 4 : 7 + x] = 3
    first = np.flatnonzero(label == 1)[:8]
    label.flat[[at for bit, at in enumerate(first) if seed >> bit & 1]] = 0  # so that no two are the same
    image = np.full(SHAPE, -1000.0, np.float32)
    above, before, behind, right, left = draw.integers(1, 4, size=5)
    image[above:-1, before:-behind, right:-left] = 40.0
    image[label > 0] += 60.0
    image[:, -3, :] = 700.0
    return image + draw.normal(0, 10, SHAPE).astype(np.float32), label


def make_dataset(root: Path, count: int, channels: tuple[str, ...] = ("CT",)) -> Dataset:
    for seed in range(count):
        image, label = healthy(seed)
        for number in range(len(channels)):
            write_array(root / f"imagesTr/c{seed:03d}_{number:04d}.nii.gz", image + number, GRID)
        write_array(root / f"labelsTr/c{seed:03d}.nii.gz", label, GRID)
    meta = {"channel_names": dict(enumerate(channels)), "labels": LABELS, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(meta))
    return load_dataset(root)


def rewrite(file: Path, change: Change) -> None:
    """Change the voxels of a file; the header stays."""
    image = sitk.ReadImage(str(file))
    changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
    if changed.GetDimension() == 3:
        changed.SetSpacing(image.GetSpacing())
        changed.SetOrigin(image.GetOrigin())
        changed.SetDirection(image.GetDirection())
    sitk.WriteImage(changed, str(file))


def move(file: Path, voxels: float = 0.0, spacing: float = 1.0, flip: bool = False) -> None:
    """Change the header of a file; the voxels stay."""
    image = sitk.ReadImage(str(file))
    image.SetOrigin([o + voxels * s for o, s in zip(image.GetOrigin(), image.GetSpacing(), strict=True)])
    image.SetSpacing([s * spacing for s in image.GetSpacing()])
    if flip:
        image.SetDirection([-d if i in (0, 3, 6) else d for i, d in enumerate(image.GetDirection())])
    sitk.WriteImage(image, str(file))


def in_image(change: Change) -> Fault:
    return lambda case: rewrite(case.images[0], change)


def in_label(change: Change) -> Fault:
    return lambda case: rewrite(case.label, change)


def with_voxel(value: float, kind: type[np.generic]) -> Change:
    """Return a change that sets the first voxel; it lies in no organ."""

    def change(array: Array) -> Array:
        changed = array.astype(kind)
        changed[0, 0, 0] = value
        return changed

    return change


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scatter_first(label: Array) -> Array:
    """Shrink the first organ to one of its voxels."""
    only = np.flatnonzero(label == 1)[:1]
    changed = np.where(label == 1, 0, label)
    changed.flat[only] = 1
    return changed


def swap(label: Array, a: int, b: int) -> Array:
    return np.where(label == a, b, np.where(label == b, a, label)).astype(label.dtype)


def reorient(case: Case) -> None:
    """Store image and label map with axes turned: the same patient, other letters."""
    for file in (case.images[0], case.label):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(file)), "SAR"), str(file))


def stretch(case: Case) -> None:
    for file in (case.images[0], case.label):
        move(file, spacing=10.0)


def neighbour(file: Path) -> Path:
    """Return the file before it in its folder: of a case that has no fault of its own."""
    names = sorted(file.parent.iterdir())
    return names[names.index(file) - 1]


def copy_neighbour(*files: Path) -> None:
    for file in files:
        shutil.copyfile(neighbour(file), file)


def save_again(case: Case) -> None:
    """Take the neighbour's voxels with another type, compression, spacing and origin."""
    for file, kind in ((case.images[0], sitk.sitkFloat64), (case.label, sitk.sitkInt32)):
        image = sitk.Cast(sitk.ReadImage(str(neighbour(file))), kind)
        image.SetSpacing([s * 1.02 for s in image.GetSpacing()])
        image.SetOrigin((7.0, 8.0, 9.0))
        sitk.WriteImage(image, str(file), useCompression=True, compressionLevel=9)


def resample_neighbour(case: Case) -> None:
    for file, how in ((case.images[0], sitk.sitkLinear), (case.label, sitk.sitkNearestNeighbor)):
        image = sitk.ReadImage(str(neighbour(file)))
        size = [round(n / 1.25) for n in image.GetSize()]
        spacing = [s * n / m for s, n, m in zip(image.GetSpacing(), image.GetSize(), size, strict=True)]
        place = (image.GetOrigin(), spacing, image.GetDirection())
        sitk.WriteImage(sitk.Resample(image, size, sitk.Transform(), how, *place), str(file))


def disguise_neighbour(case: Case) -> None:
    """Take the neighbour's image on another scale and with noise."""
    copy_neighbour(case.images[0], case.label)
    noise = np.random.default_rng(0)
    rewrite(case.images[0], lambda a: a * 1.01 + 1 + noise.normal(0, 0.01 * a.std(), a.shape))


def mirror_neighbour(case: Case) -> None:
    copy_neighbour(case.images[0], case.label)
    for file in (case.images[0], case.label):
        move(file, flip=True)


def crop(case: Case) -> None:
    """Leave a third of image and label map."""
    for file in (case.images[0], case.label):
        image = sitk.ReadImage(str(file))
        x, y, z = (n // 3 for n in image.GetSize())
        sitk.WriteImage(image[x : 2 * x, y : 2 * y, z : 2 * z + 1], str(file))


def exchange(case: Case) -> None:
    image, label = case.images[0].read_bytes(), case.label.read_bytes()
    case.images[0].write_bytes(label)
    case.label.write_bytes(image)


def image_as_label(case: Case) -> None:
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[0])))
    rewrite(case.label, lambda _: np.rint(image).astype(np.int32))


def other_contrast(dataset: Dataset) -> None:
    """Write each case's second channel: bright where the first one is dark, as T2 is to T1."""
    for case in dataset.cases:
        image = sitk.Cast(sitk.ReadImage(str(case.images[0])), sitk.sitkFloat32)
        array = sitk.GetArrayViewFromImage(image)
        low, high = np.percentile(array, (1, 99))
        sitk.WriteImage(sitk.Exp(-2.0 * (image - float(low)) / float(high - low)) * 800.0, str(case.images[1]))


def exchange_channels(case: Case) -> None:
    first, second = (file.read_bytes() for file in case.images)
    case.images[0].write_bytes(second)
    case.images[1].write_bytes(first)


def tilt(file: Path, by: float) -> None:
    """Add rounding noise to the direction of a file."""
    image = sitk.ReadImage(str(file))
    image.SetDirection([d + by * (1 if i % 2 else -1) for i, d in enumerate(image.GetDirection())])
    sitk.WriteImage(image, str(file))


def turn_label(case: Case) -> None:
    """Store the label map along other axes than its image, at the same place."""
    sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(case.label)), "SAR"), str(case.label))


def one_slice(case: Case) -> None:
    """Leave one slice of image and label map, as if it were 2D."""
    in_image(lambda a: a[5])(case)
    in_label(lambda a: a[5])(case)


ANY: Faults = {
    "image removed": (lambda c: c.images[0].unlink(), "image-missing", "fatal"),
    "label map removed": (lambda c: c.label.unlink(), "label-missing", "fatal"),
    "image cut short": (lambda c: cut_short(c.images[0]), "image-unusable", "fatal"),
    "label map cut short": (lambda c: cut_short(c.label), "label-unusable", "fatal"),
    "image is text": (lambda c: c.images[0].write_text("hello"), "image-unusable", "fatal"),
    "label map is empty": (lambda c: c.label.write_bytes(b""), "label-unusable", "fatal"),
    "NaN": (in_image(with_voxel(np.nan, np.float32)), "image-unusable", "fatal"),
    "infinite": (in_image(with_voxel(np.inf, np.float32)), "image-unusable", "fatal"),
    "a single slice": (one_slice, "slices", "warning"),
    "label map is 4D": (in_label(lambda a: np.stack([a, a])), "label-unusable", "fatal"),
    "constant image": (in_image(np.zeros_like), "image-constant", "fatal"),
    "two channels": (in_image(lambda a: np.stack([a, a])), "channels", "fatal"),
    "fractional label": (in_label(with_voxel(0.5, np.float32)), "label-unusable", "fatal"),
    "NaN label": (in_label(with_voxel(np.nan, np.float32)), "label-unusable", "fatal"),
    "unknown label value": (in_label(with_voxel(9, np.uint8)), "label-values", "fatal"),
    "huge label value": (in_label(with_voxel(2_000_000_000, np.int32)), "label-values", "fatal"),
    "negative label value": (in_label(with_voxel(-1, np.int16)), "label-values", "fatal"),
    "label map without organs": (in_label(np.zeros_like), "label-empty", "warning"),
    "label map with a slice less": (in_label(lambda a: a[1:]), "shape", "fatal"),
    "label map with axes swapped": (in_label(lambda a: a.transpose(2, 1, 0)), "shape", "fatal"),
    "label map shifted by a tenth of a voxel": (lambda c: move(c.label, voxels=0.1), "geometry-repairable", "warning"),
    "label map shifted by five voxels": (lambda c: move(c.label, voxels=5.0), "geometry", "fatal"),
    "label map with another spacing": (lambda c: move(c.label, spacing=1.5), "geometry", "fatal"),
    "label map's header mirrored": (lambda c: move(c.label, flip=True), "geometry", "fatal"),
    "organ missing": (in_label(lambda a: np.where(a == 1, 0, a)), "organ-absent", "warning"),
    "organ of one voxel": (in_label(scatter_first), "organ-volume", "warning"),
    "organ everywhere": (in_label(lambda a: np.where(a == 0, 1, a)), "organ-volume", "warning"),
    "organ at the border": (in_label(lambda a: with_voxel(a.max(), np.uint8)(a)), "organ-cut", "note"),
    "stray island": (in_label(with_voxel(2, np.uint8)), "organ-islands", "note"),
    "case under two names": (lambda c: copy_neighbour(c.images[0], c.label), "image-twice", "warning"),
    "spacing ten times too large": (stretch, "spacing", "warning"),
    "another orientation": (reorient, "orientation", "note"),
    "empty but for a voxel": (in_image(lambda a: with_voxel(500, np.float32)(0 * a)), "image-constant", "warning"),
    "label map used as image": (lambda c: shutil.copyfile(c.label, c.images[0]), "image-is-label", "fatal"),
    "image used as label map": (image_as_label, "label-values", "fatal"),
    "image and label map exchanged": (exchange, "image-is-label", "fatal"),
    "case saved again under another name": (save_again, "image-twice", "warning"),
    "case with noise and another scale under another name": (disguise_neighbour, "image-alike", "warning"),
    "case mirrored under another name": (mirror_neighbour, "image-alike", "warning"),
    "cropped to a third": (crop, "image-size", "warning"),
    "two organs exchanged": (in_label(lambda a: swap(a, a.max() - 1, a.max())), "organ-arrangement", "warning"),
}
ONLY_CT: Faults = {
    "rescaled to 0-1": (in_image(lambda a: (a - a.min()) / np.ptp(a)), "not-hu", "warning"),
    "rescaled to 0-255": (in_image(lambda a: ((a - a.min()) / np.ptp(a) * 255).astype(np.uint8)), "not-hu", "warning"),
    "intercept not applied": (in_image(lambda a: a - a.min()), "not-hu", "warning"),
    "far below air": (in_image(with_voxel(-9999, np.float32)), "not-hu", "warning"),
    "padded": (in_image(with_voxel(-3024, np.float32)), "hu-padded", "note"),
    "no air": (in_image(lambda a: a.clip(-150)), "no-air", "note"),
    "windowed": (in_image(lambda a: a.clip(-160, 240)), "hu-windowed", "warning"),
    "on another level": (in_image(lambda a: a + 300), "image-intensity", "warning"),
    "organs mirrored": (in_label(lambda a: np.flip(a, axis=2)), "sides-swapped", "warning"),
    "label map upside down": (in_label(lambda a: np.flip(a, axis=0)), "organ-place", "warning"),
    "label map off the organs": (in_label(lambda a: np.roll(a, -4, axis=1)), "organ-intensity", "warning"),
}
SYNTHETIC: Faults = {
    "left and right swapped": (in_label(lambda a: swap(a, 2, 3)), "sides-swapped", "warning"),
    "image of another case": (lambda c: copy_neighbour(c.images[0]), "image-twice", "warning"),
    "label map of another case": (lambda c: copy_neighbour(c.label), "label-twice", "warning"),
}
ALL = ANY | ONLY_CT | SYNTHETIC
REAL: Faults = {
    "case resampled under another name": (resample_neighbour, "image-alike", "warning"),
    "label map six voxels beside the organs": (in_label(lambda a: np.roll(a, 6, axis=2)), "organ-spread", "warning"),
    "label map six slices off": (in_label(lambda a: np.roll(a, 6, axis=0)), "organ-spread", "warning"),
}
REAL_CT: Faults = {
    "left and right parotid exchanged": (in_label(lambda a: swap(a, 3, 4)), "sides-swapped", "warning"),
}
HARMLESS: dict[str, Fault] = {  # what must not be told
    "direction of the label map rounded": lambda c: tilt(c.label, 1e-8),
    "direction of the image rounded": lambda c: tilt(c.images[0], 1e-7),
    "label map a thousandth of a voxel off": lambda c: move(c.label, voxels=1e-3),
    "label map of whole floats": in_label(lambda a: a.astype(np.float32)),
    "label map of 64 bits": in_label(lambda a: a.astype(np.int64)),
    "image of doubles": in_image(lambda a: a.astype(np.float64)),
    "label map along other axes": turn_label,
}


def plant(dataset: Dataset, faults: Sequence[Fault]) -> list[str]:
    """Plant one fault in every other case; return the ids of these."""
    cases = dataset.cases[1::2]
    for fault, case in zip(faults, cases[: len(faults)], strict=True):
        fault(case)
    return [case.id for case in cases[: len(faults)]]
