"""Tests of autoseg.imaging.dicom_frames; more of it is tested with what it serves, in test_dicom.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom_files import voxels, write_ct

from autoseg.imaging.dicom_frames import LeftOut, read_frames


def test_a_header_that_pydicom_gives_up_on_leaves_its_slice_out_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file = sorted(write_ct(tmp_path, voxels()).iterdir())[0]
    sound = file.read_bytes()
    length = b"\x02\x00\x00\x00UL\x04\x00"  # of group 0002, four bytes
    file.write_bytes(sound.replace(length, b"\x02\x00\x00\x00UL\x05\x00"))
    left = read_frames(file)
    assert isinstance(left, LeftOut)
    assert left.reason.startswith("its DICOM header cannot be used (Expected total bytes")
    file.write_bytes(sound.replace(b"1.2.5", b"a.2.5"))  # no UID may have letters
    assert not isinstance(read_frames(file), LeftOut)
    assert not recwarn.list
