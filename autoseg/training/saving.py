"""Saving a training under way: a copy of its state is taken, and written by a thread while iterations go on."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from autoseg.data.cache import CachedCase, cases_digest
from autoseg.errors import TrainingError
from autoseg.network.weights import save_model
from autoseg.plan import Plan
from autoseg.run import FoldFolder
from autoseg.training.checkpoint import identity, save_checkpoint
from autoseg.training.state import Snapshot, State, snapshot


class Saver:
    """Writes model and checkpoint of a fold, one generation at a time.

    An error of the thread is raised by the next call of `save`, `require_well` or `wait`.
    """

    def __init__(
        self,
        files: FoldFolder,
        plan: Plan,
        training: Sequence[CachedCase],
        first_stage: str = "",
        *,
        has_second: bool = False,
    ) -> None:
        """Prepare.

        Args:
            files: Of the fold; its checkpoint is taken as it is now, whoever has written it.
            plan: Of the training.
            training: Its cases.
            first_stage: Of a second stage, a digest of the weights of the first.
            has_second: Whether a second stage follows; the model says so, as it may be copied without.
        """
        self._files, self._plan, self._training, self._first_stage = files, plan, training, first_stage
        self._place = ({"first_stage": first_stage} if first_stage else {}) | ({"stages": 2} if has_second else {})
        self._identity = identity(files.checkpoint)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, state: State) -> None:
        """Take a copy of the state and begin to write it; what is still being written is waited for.

        Raises:
            TrainingError: If another training has written the checkpoint meanwhile.
            OSError: If the disk is full.
        """
        self.wait()
        # no daemon: a process that ends still writes what was begun
        self._thread = threading.Thread(target=self._write_noting_errors, args=(snapshot(state),))
        self._thread.start()

    def require_well(self) -> None:
        """Raise what a thread that has ended could not do; errors as of `save`."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait until all is written; errors as of `save`."""
        self.let_end()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def let_end(self) -> None:
        """Wait until nothing is being written, whatever came of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write_noting_errors(self, taken: Snapshot) -> None:
        try:
            self._write(taken)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error

    def _write(self, taken: Snapshot) -> None:
        if identity(self._files.checkpoint) != self._identity:
            raise TrainingError(
                f"{self._files.checkpoint}: another training has written it meanwhile; this one ends at iteration "
                f"{taken.done} and leaves it as it is"
            )
        taken.wait()
        if taken.done:  # an untrained network is no model
            facts = {"iteration": taken.done, "trained_on": [case.id for case in self._training]}
            save_model(self._files.model, self._plan, taken.best, facts | self._place)
        # last: what is killed in between does these iterations, and the model, again
        cases = cases_digest(self._training)
        save_checkpoint(self._files.checkpoint, self._plan, cases, taken, first_stage=self._first_stage)
        self._identity = identity(self._files.checkpoint)
