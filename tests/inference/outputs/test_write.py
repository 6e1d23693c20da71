"""What is written of a prediction: refused before the network works where a file could not hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoseg.errors import VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array
from autoseg.inference.inputs import list_inputs
from autoseg.inference.outputs.write import PLAIN, require_outputs


def write_scan(file: Path, slices: int) -> Path:
    grid = Grid(shape=(slices, 4, 5), spacing_mm=(2.0, 1.0, 1.0))
    write_array(file, np.zeros(grid.shape, np.int16), grid)
    return file


def test_a_volume_is_not_predicted_for_a_png(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz", 3)
    with pytest.raises(VolumeError, match=r"mask\.png: a PNG holds one slice, and the mask has 3; write \.tif"):
        require_outputs(PLAIN, list_inputs(scan, tmp_path / "mask.png", 1))


@pytest.mark.parametrize(("name", "slices"), [("mask.png", 1), ("mask.tif", 3), ("mask.nii.gz", 3)])
def test_what_a_file_can_hold_is_predicted(tmp_path: Path, name: str, slices: int) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz", slices)
    require_outputs(PLAIN, list_inputs(scan, tmp_path / name, 1))
