"""The facts of twelve cases with a liver, an artery and a duct, for tests of plans in two stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from autoseg.dataset.facts import CaseFacts, case_facts
from autoseg.dataset.load import Dataset
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume
from autoseg.labels import Label
from autoseg.planning.budget import Budget

GRID = Grid(shape=(60, 80, 80), spacing_mm=(1.0, 1.0, 1.0))
LABELS = (Label(value=1, name="liver"), Label(value=2, name="artery"), Label(value=3, name="duct"))
DATASET = Dataset(name="d", root=Path("d"), channels=("CT",), labels=LABELS, cases=())
BUDGET = Budget(device="cpu", memory_gib=8.0, bfloat16=False)


def facts_of_twelve(*, is_wide: bool = False) -> list[CaseFacts]:
    """Return the facts of twelve cases that are alike; wide ones have an artery from corner to corner."""
    label = np.zeros(GRID.shape, np.uint8)
    if is_wide:
        label[[0, -1], [0, -1], [0, -1]] = 2
    label[5:55, 10:50, 10:70] = 1
    label[20:40, 60:64, 30:50] = 2
    label[22:30, 66:68, 30:50] = 3
    image = np.where(label > 0, 60, -1000).astype(np.int16)[None]
    facts = case_facts("a", Volume(array=image, grid=GRID, stored=GRID), label, DATASET.scheme)
    return [replace(facts, case=f"case {number}") for number in range(12)]


FACTS = facts_of_twelve()
