"""TensorBoard, where the user wants it: the log's columns as scalars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from autoseg.errors import PlanError


class Board:
    """Writes event files that `tensorboard --logdir RUN` shows."""

    def __init__(self, folder: Path, done: int) -> None:
        """Go on after iteration `done`; what was written beyond it is hidden.

        Raises:
            PlanError: If the package is missing.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise PlanError(
                "--tensorboard: the package tensorboard is not installed; run pip install 'autoseg[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def add(self, row: Mapping[str, float]) -> None:
        """Write one iteration; dice_testing_liver is shown as dice_testing/liver."""
        for column, value in row.items():
            if column != "iteration" and not math.isnan(value):
                kind, *rest = column.split("_", 2)
                tag = f"{kind}_{rest[0]}/{rest[1]}" if kind == "dice" else column
                self._writer.add_scalar(tag, value, int(row["iteration"]))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
