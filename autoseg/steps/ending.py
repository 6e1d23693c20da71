"""Ending a training before its time: Ctrl-C, and the files that ask for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import LockedError
from autoseg.run import Run

logger = logging.getLogger(__name__)
TRIES, PAUSE_S = 5, 0.1


@dataclass(frozen=True)
class Ending:
    """Why a training may end before its time: Ctrl-C, or a file named `stop` in the RUN or in one of its folds."""

    run: Run
    folds: Sequence[int]  # that it trains
    asked: Callable[[], bool]

    def is_near(self) -> bool:
        """Return whether to end after this iteration."""
        return self.asked() or any(file.exists() for file in (self.run.stop_file, *self._own()))

    def clear(self) -> None:
        """Remove the stop files, so that the next `train` goes on: that of the RUN, if nobody else is to see it."""
        for file in filter(Path.exists, self._own()):
            self._remove(file)
        for _ in range(TRIES):  # another one that ends, too, may have the locks for a moment
            if not self.run.stop_file.exists():
                return
            with suppress(LockedError), self.run.locked("train"):
                self._remove(self.run.stop_file)
            time.sleep(PAUSE_S)

    def _own(self) -> list[Path]:
        return [self.run.fold(fold).stop_file for fold in self.folds]

    def _remove(self, file: Path) -> None:
        logger.warning("%s was found and removed: training ended early, its model can be used", file)
        file.unlink(missing_ok=True)
