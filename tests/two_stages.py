"""Two stages whose networks go by intensity alone, so that what they see is known."""

from __future__ import annotations

from typing import Any

import made
import torch
from torch import nn

from autoseg.imaging.grid import Grid
from autoseg.labels import Label
from autoseg.plan import Intensity, Plan, first_seen

LIVER, VEIN = Label(value=4, name="liver"), Label(value=9, name="vein")
SEEN = Intensity(kind="probability", low=0.0, high=1.0)
GRID = Grid(shape=(16, 32, 32), spacing_mm=(2.0, 2.0, 2.0))
FIRST = made.plan(labels=(LIVER, VEIN), intensity=(made.CT,), downsampling=(4, 4, 4), precision="float32")
FLOOR, OF_LIVER, OF_VEIN = -100, 100, 300  # HU; normalised -4, 0 and 4


def second(**changes: Any) -> Plan:
    channels = ("CT", first_seen(VEIN))
    settings = {"labels": (VEIN,), "channels": channels, "intensity": (made.CT, SEEN), "downsampling": (1, 1, 1)}
    return made.plan(**{**settings, "margin_mm": 4.0, "precision": "float32", **changes})


class ByIntensity(nn.Module):
    """Says of each voxel by its intensity which class it is: 0 up to the first limit, 1 up to the second …"""

    def __init__(self, *limits: float) -> None:
        super().__init__()
        self.limits = nn.Parameter(torch.tensor(limits))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        classes = (image[:, 0, None] > self.limits[None, :, None, None, None]).sum(1)
        return 12.0 * nn.functional.one_hot(classes, len(self.limits) + 1).permute(0, 4, 1, 2, 3).float()
