"""Tests of autoseg.imaging.scanner."""

from __future__ import annotations

from pathlib import Path

from dicom_files import voxels, write_ct

from autoseg.imaging.scanner import scanner_of


def test_a_series_names_its_scanner(tmp_path: Path) -> None:
    series = write_ct(tmp_path / "a", voxels(), Manufacturer="SIEMENS", ManufacturerModelName="SIEMENS SOMATOM Force")
    (series / "0-notes.txt").write_text("no DICOM", encoding="utf-8")
    assert scanner_of(series) == "SIEMENS SOMATOM Force"


def test_what_names_none_has_none(tmp_path: Path) -> None:
    assert scanner_of(write_ct(tmp_path / "a", voxels())) == ""
    (tmp_path / "scan.nii.gz").write_bytes(b"x")
    assert scanner_of(tmp_path / "scan.nii.gz") == scanner_of(tmp_path / "none") == ""
    (tmp_path / "empty").mkdir()
    assert scanner_of(tmp_path / "empty") == ""
