"""Segmentations of 3D Slicer for tests, whose segments lie in several layers as they do where they overlap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autoseg.imaging.grid import Grid


def write_layers(file: Path, masks: Mapping[str, npt.NDArray[np.bool_]], grid: Grid) -> Path:
    """Write each mask (Z, Y, X) as a segment in a layer of its own, all of value 1."""
    step = np.reshape(grid.direction, (3, 3)) * grid.spacing_mm[::-1]
    axes = " ".join(f"({','.join(map(str, column))})" for column in step.T)
    header = [
        "NRRD0004",
        "type: unsigned char",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {len(masks)} {' '.join(map(str, grid.shape[::-1]))}",
        f"space directions: none {axes}",
        "kinds: list domain domain domain",
        "encoding: raw",
        f"space origin: ({','.join(map(str, grid.origin_mm))})",
    ]
    for number, name in enumerate(masks):
        header += [
            f"Segment{number}_Name:={name}",
            f"Segment{number}_LabelValue:=1",
            f"Segment{number}_Layer:={number}",
        ]
    voxels = np.stack(list(masks.values()), axis=-1).astype(np.uint8)
    file.write_bytes("\n".join([*header, "", ""]).encode() + voxels.tobytes())
    return file
