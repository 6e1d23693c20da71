"""What there is to predict in a file or folder, and how its masks are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_files import voxels, write_ct

from autoseg.errors import VolumeError
from autoseg.inference.inputs import list_inputs


def folder_of(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def found(folder: Path, channels: int) -> dict[str, list[str]]:
    jobs = list_inputs(folder, folder.parent / "out", channels)
    return {job.out.name: [file.name for file in job.images] for job in jobs}


def test_a_year_in_a_name_is_no_channel(tmp_path: Path) -> None:
    scans = folder_of(tmp_path / "in", "scan_2021.nii.gz", "scan_2022.nii.gz", "a_0000.nii.gz")
    assert found(scans, channels=1) == {
        "a.nii.gz": ["a_0000.nii.gz"],
        "scan_2021.nii.gz": ["scan_2021.nii.gz"],
        "scan_2022.nii.gz": ["scan_2022.nii.gz"],
    }


def test_channels_of_one_image_go_together_only_when_all_are_there(tmp_path: Path) -> None:
    scans = folder_of(tmp_path / "in", "a_0000.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz", "c.nrrd")
    assert found(scans, channels=2) == {
        "a.nii.gz": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b_0001.nii.gz": ["b_0001.nii.gz"],
        "c.nii.gz": ["c.nrrd"],
    }


def test_hidden_and_foreign_files_are_not_images(tmp_path: Path) -> None:
    scans = folder_of(tmp_path / "in", "._a.nii.gz", "notes.txt", "a.mha")
    assert found(scans, channels=1) == {"a.nii.gz": ["a.mha"]}


def test_dicom_files_beside_images_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans = folder_of(tmp_path / "in", "a.nii.gz")
    write_ct(scans, voxels())
    assert found(scans, channels=1) == {"a.nii.gz": ["a.nii.gz"]}
    assert "6 DICOM files beside the images left out; put the series into its own folder" in caplog.text


def test_what_dicom_files_are_no_series_is_told(tmp_path: Path) -> None:
    write_ct(tmp_path / "in", voxels()[:1], Modality="RTSTRUCT")
    with pytest.raises(VolumeError, match=r"no image here, only im000\.dcm \(RTSTRUCT that is no image\); known"):
        list_inputs(tmp_path / "in", tmp_path / "out", channels=1)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="same name"):
        found(folder_of(tmp_path / "in", "a.nii.gz", "a.nrrd"), channels=1)


def test_the_spacing_of_a_mask_never_overwrites_that_of_its_image(tmp_path: Path) -> None:
    (tmp_path / "a_0000.png").touch()
    (tmp_path / "a.json").write_text('{"spacing": [0.5, 0.5]}', encoding="utf-8")
    with pytest.raises(VolumeError, match="would overwrite its image, or what says its spacing"):
        list_inputs(tmp_path, tmp_path, channels=1)


def test_a_mask_never_overwrites_its_image(tmp_path: Path) -> None:
    scans = folder_of(tmp_path / "in", "a.nii.gz", "b.nii.gz")
    with pytest.raises(VolumeError, match="overwrite"):
        list_inputs(scans, scans, channels=1)
    with pytest.raises(VolumeError, match="overwrite"):
        list_inputs(scans / "a.nii.gz", scans / "a.nii.gz", channels=1)


def test_the_folder_of_the_images_is_refused_as_the_next_call_would_find_masks_in_it(tmp_path: Path) -> None:
    scans = folder_of(tmp_path / "in", "a.nrrd", "b.nrrd")
    (tmp_path / "link").symlink_to(scans)
    for out in (scans, tmp_path / "link"):
        with pytest.raises(VolumeError, match="the next call would take masks for images; give another"):
            list_inputs(scans, out, 1)
    assert list_inputs(scans, scans / "masks", 1)
    assert list_inputs(scans / "a.nrrd", scans, 1)[0].out == scans / "a.nii.gz"


def test_several_images_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="holds 2 images"):
        list_inputs(folder_of(tmp_path / "in", "a.nii", "b.nii"), tmp_path / "mask.nii.gz", channels=1)


def test_an_empty_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no image here"):
        list_inputs(folder_of(tmp_path / "in"), tmp_path / "out", channels=1)
    with pytest.raises(VolumeError, match="no such file"):
        list_inputs(tmp_path / "gone.nii.gz", tmp_path / "out", channels=1)


def test_a_series_of_what_is_no_dicom_folder_is_refused(tmp_path: Path) -> None:
    scans = folder_of(tmp_path / "in", "a.nii.gz")
    with pytest.raises(VolumeError, match=r"--series 1\.2: .*in is no DICOM folder; leave it out"):
        list_inputs(scans, tmp_path / "out", channels=1, series="1.2")
