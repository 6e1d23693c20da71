"""A workplace for the short form of every row: made-up cases of 24³ voxels, on which a verb takes a second."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faults.program import Server
from faults.shim import compile_shim
from faults.workplace import Workplace

from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import write_array

CASES = 5
GRID = Grid(shape=(24, 24, 24), spacing_mm=(1.0, 1.0, 1.0))


def write_dataset(folder: Path) -> Path:
    """Write cases of two blocks in noise, in the Decathlon's layout."""
    noise = np.random.default_rng(0)
    pairs = [{"image": f"imagesTr/case{n}.nii.gz", "label": f"labelsTr/case{n}.nii.gz"} for n in range(CASES)]
    for number, pair in enumerate(pairs):
        label = np.zeros(GRID.shape, np.uint8)
        label[5:19, 6:17, 4 + number : 11] = 1
        label[7:16, 6 + number : 17, 12:20] = 2
        image = 100 + 200 * label + noise.integers(0, 60, GRID.shape)
        write_array(folder / pair["image"], image.astype(np.int16), GRID)
        write_array(folder / pair["label"], label, GRID)
    described = {"name": "Blocks", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "left", "2": "right"}}
    (folder / "dataset.json").write_text(json.dumps({**described, "training": pairs}))
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, compile_shim(folder))
    yield server
    server.close()


@pytest.fixture(scope="session")
def place(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Where verbs start no processes, which would take most of the time."""
    folder = tmp_path_factory.mktemp("faults")
    return Workplace(folder / "place", server, write_dataset(folder / "blocks"), jobs=1)


@pytest.fixture(scope="session")
def place_with_workers(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("workers")
    return Workplace(folder / "place", server, write_dataset(folder / "blocks"))


@pytest.fixture
def shimmed(place: Workplace) -> Workplace:
    """The workplace, where what files do can be made to fail."""
    place.after("check")
    if not any(place.operations["check"].values()):
        pytest.skip("needs a C compiler and LD_PRELOAD")
    return place


@pytest.fixture
def draw() -> random.Random:
    return random.Random(0)
