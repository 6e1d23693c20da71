"""Tests of autoseg.imaging.structures: one phantom in every format that keeps structures is one label map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_image, read_label, write_array
from autoseg.labels import Label, LabelScheme
from tests.dicom_files import square, voxels, write_ct, write_segmentation, write_structures
from tests.slicer_files import write_layers

Masks = Mapping[str, np.ndarray]
NESTED = LabelScheme(
    labels=(Label(value=2, name="whole"), Label(value=1, name="core"), Label(value=3, name="enhancing")),
    regions=((1, 2, 3), (1, 3), (3,)),
)
DISJOINT = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=4, name="left_lung")))


@pytest.fixture
def whole(tmp_path: Path) -> Grid:
    """The grid of 6 slices of 16 × 12 voxels that the structures are drawn on."""
    return read_image([write_ct(tmp_path / "ct", voxels((6, 16, 12)))]).grid


def nested(shape: tuple[int, ...] = (6, 16, 12)) -> np.ndarray:
    """Return the label map of a whole tumour with a core, in which there is an enhancing part."""
    label = np.zeros(shape, np.int32)
    label[1:6, 2:12, 1:11], label[2:5, 4:10, 3:9], label[3, 5:8, 4:7] = 2, 1, 3
    return label


def disjoint(shape: tuple[int, ...] = (6, 16, 12)) -> np.ndarray:
    """Return the label map of two organs that touch."""
    label = np.zeros(shape, np.int32)
    label[1:4, 2:9, 1:6], label[2:6, 2:9, 6:11] = 1, 4
    return label


def as_folder(path: Path, masks: Masks, grid: Grid) -> Path:
    path.mkdir()
    for name, mask in masks.items():
        write_array(path / f"{name}.nii.gz", mask.astype(np.uint8), grid)
    return path


def as_rtstruct(path: Path, masks: Masks, grid: Grid) -> Path:
    contours = {}
    for name, mask in masks.items():
        slices = [(z, np.argwhere(mask[z])) for z in np.flatnonzero(mask.any(axis=(1, 2))).tolist()]
        contours[name] = [square(z, tuple(at.min(axis=0)[::-1]), tuple(at.max(axis=0)[::-1])) for z, at in slices]
    return write_structures(path.with_suffix(".dcm"), list(contours.items()))


def as_segmentation(path: Path, masks: Masks, grid: Grid) -> Path:
    every = list(masks.values())
    return write_segmentation(path.with_suffix(".dcm"), every[0], list(masks), masks=every)


def as_slicer(path: Path, masks: Masks, grid: Grid) -> Path:
    return write_layers(path.with_suffix(".seg.nrrd"), masks, grid)


FORMATS = (as_folder, as_rtstruct, as_segmentation, as_slicer)


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(("scheme", "phantom"), [(NESTED, nested), (DISJOINT, disjoint)], ids=["nested", "disjoint"])
def test_every_format_holds_the_voxels_of_its_nifti_twin(
    tmp_path: Path,
    whole: Grid,
    write: Callable[[Path, Masks, Grid], Path],
    scheme: LabelScheme,
    phantom: Callable[[], np.ndarray],
) -> None:
    write_array(tmp_path / "twin.nii.gz", phantom().astype(np.uint8), whole)
    masks = {organ.name.replace("_", " ").upper(): scheme.mask(phantom(), organ) for organ in scheme.labels}
    label = read_label(write(tmp_path / "structures", masks, whole), whole, scheme)
    np.testing.assert_array_equal(label.array, read_label(tmp_path / "twin.nii.gz", whole, scheme).array)
    assert label.grid == whole
    assert label.remarks == ()


def test_several_files_of_several_formats_are_one_label_map(tmp_path: Path, whole: Grid) -> None:
    masks = {organ.name: NESTED.mask(nested(), organ) for organ in NESTED.labels}
    write_array(tmp_path / "Enhancing.nii.gz", masks["enhancing"].astype(np.uint8) * 9, whole)
    files = [
        as_rtstruct(tmp_path / "a", {"whole": masks["whole"]}, whole),
        tmp_path / "Enhancing.nii.gz",
        as_segmentation(tmp_path / "b", {"CORE": masks["core"]}, whole),
    ]
    label = read_label(files, whole, NESTED)
    np.testing.assert_array_equal(label.array, nested())
    assert label.remarks == ()
    files.append(as_slicer(tmp_path / "c", {"body": masks["whole"], "Core": masks["core"]}, whole))
    with pytest.raises(VolumeError, match=r"a\.dcm: two structures are called CORE and Core; rename or remove one"):
        read_label(files, whole, NESTED)
    with pytest.raises(VolumeError, match="is an RTSTRUCT, which has no voxels; give it with its image"):
        read_label(files[:2], None, NESTED)


def test_one_of_several_files_on_another_grid_is_refused(tmp_path: Path, whole: Grid) -> None:
    for name, shape in (("liver", whole.shape), ("left_lung", (5, 4, 3))):
        grid = Grid(shape=shape, spacing_mm=whole.spacing_mm, origin_mm=(1.0, 2.0, 3.0))
        write_array(tmp_path / f"{name}.nii.gz", np.ones(shape, np.uint8), whole if name == "liver" else grid)
    files = [tmp_path / "liver.nii.gz", tmp_path / "left_lung.nii.gz"]
    with pytest.raises(VolumeError, match=r"left_lung\.nii\.gz: its grid \(5, 4, 3\) differs from that of the image"):
        read_label(files, whole, DISJOINT)


def test_names_of_a_table_join_and_choose_segments_of_a_dicom_seg(tmp_path: Path, whole: Grid) -> None:
    scheme = LabelScheme(labels=(Label(value=3, name="lungs", names=("lung_?", "LUNGE")),))
    left, right, liver = disjoint() == 4, disjoint() == 1, nested() == 3
    file = as_segmentation(tmp_path / "a", {"Lung L": left, "Lung R": right, "liver": liver}, whole)
    label = read_label(file, whole, scheme)
    np.testing.assert_array_equal(label.array, 3 * (left | right))
    assert [(one.code, one.is_doubtful) for one in label.remarks] == [
        ("structures-joined", True),
        ("structures-left-out", False),
    ]
