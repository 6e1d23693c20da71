"""Tests of autoseg.imaging.slicer_segments: segmentations of 3D Slicer as label maps, by their segments' names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from autoseg.dataset.survey import labels_by_value
from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.slicer_segments import slicer_names
from autoseg.imaging.volumes import read_label, write_array
from autoseg.inference.outputs.legend import segment_fields
from autoseg.labels import Label, LabelScheme

WHOLE = Grid(shape=(6, 5, 4), spacing_mm=(2.0, 1.0, 1.0))
LABELS = (Label(value=1, name="left_lung"), Label(value=2, name="liver"))
SCHEME = LabelScheme(labels=LABELS)
ARRAY = np.zeros(WHOLE.shape, np.uint8)
ARRAY[2:4, 1, 1], ARRAY[3, 3:, 2:], ARRAY[5] = 1, 2, 3


def write(file: Path, names: Sequence[str], array: np.ndarray = ARRAY, grid: Grid = WHOLE, **fields: str) -> Path:
    """Write segments, numbered from 1, as 3D Slicer does."""
    labels = [Label(value=value, name=name) for value, name in enumerate(names, start=1)]
    write_array(file, array, grid, segment_fields(labels, grid.shape) | fields)
    return file


def test_names_decide_and_segments_that_no_label_names_are_left_out_and_told(tmp_path: Path) -> None:
    label = read_label(write(tmp_path / "a.seg.nrrd", ["LIVER", "Left Lung", "skin"]), WHOLE, SCHEME)
    np.testing.assert_array_equal(label.array, np.array([0, 2, 1, 0])[ARRAY])
    assert [remark.found for remark in label.remarks] == ["structures that no label names are left out: skin"]


def test_one_cropped_along_any_axes_is_padded_to_its_image(tmp_path: Path) -> None:
    for n, (first, size) in enumerate((((2, 1, 1), (4, 4, 3)), ((2, 0, 0), (4, 5, 4)))):
        box = tuple(slice(at, at + length) for at, length in zip(first, size, strict=True))
        grid = Grid(shape=size, spacing_mm=WHOLE.spacing_mm, origin_mm=(first[2] * 1.0, first[1] * 1.0, first[0] * 2.0))
        file = write(tmp_path / f"{n}.seg.nrrd", ["left lung", "liver", "skin"], ARRAY[box], grid)
        label = read_label(file, WHOLE, SCHEME)
        expected = np.zeros(WHOLE.shape, int)
        expected[box] = np.array([0, 1, 2, 0])[ARRAY[box]]
        np.testing.assert_array_equal(label.array, expected)
        assert "label-cropped" in [remark.code for remark in label.remarks]


def test_values_count_with_a_warning_where_no_label_has_such_names(tmp_path: Path) -> None:
    label = read_label(write(tmp_path / "a.seg.nrrd", ["Lunge", "Leber"], ARRAY % 3), WHOLE, SCHEME)
    np.testing.assert_array_equal(label.array, ARRAY % 3)
    assert [(one.code, one.is_doubtful) for one in label.remarks] == [("segments-by-number", True)]


@pytest.mark.parametrize(
    ("names", "fields", "message"),
    [
        (["left lung", "Leber", "skin"], {}, "no label is called as its segments Leber, skin are"),
        (["liver", "Liver", "left lung"], {}, "two structures are called liver and Liver"),
        (["left lung", "liver"], {}, "its voxels have the value 3, which no segment has; export it again"),
        (["left lung", "liver", "skin"], {"Segment1_Layer": "1"}, "its segments lie in more layers than it holds"),
        (["left lung", "liver", "skin"], {"Segment1_LabelValue": "1"}, "Segment1_LabelValue is '1', no value"),
    ],
)  # fmt: skip
def test_what_may_mean_two_things_is_refused_in_one_line(
    names: list[str], fields: dict[str, str], message: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "a.seg.nrrd", names, **fields)
    with pytest.raises(VolumeError, match=message) as refused:
        read_label(file, WHOLE, SCHEME)
    assert str(refused.value).startswith(f"{file}: ")


def test_a_label_map_without_segments_keeps_its_values(tmp_path: Path) -> None:
    write_array(tmp_path / "a.seg.nrrd", ARRAY, WHOLE)
    assert slicer_names(tmp_path / "a.seg.nrrd") == {}
    np.testing.assert_array_equal(read_label(tmp_path / "a.seg.nrrd", WHOLE, SCHEME).array, ARRAY)


def test_a_dataset_without_names_takes_them_from_the_segments_unless_other_label_maps_have_none(tmp_path: Path) -> None:
    files = {name: (write(tmp_path / f"{name}.seg.nrrd", ["Lung", "Liver", "Skin"]),) for name in "bc"}
    assert [(one.value, one.name) for one in labels_by_value(tmp_path, files)] == [
        (1, "Lung"),
        (2, "Liver"),
        (3, "Skin"),
    ]
    write_array(tmp_path / "a.nii.gz", ARRAY, WHOLE)
    by_value = labels_by_value(tmp_path, files | {"a": (tmp_path / "a.nii.gz",)})
    assert [one.name for one in by_value] == ["label 1", "label 2", "label 3"]
