"""batchgenerators' augmentation processes, made safe: an end or a hang of one is noticed, and nothing waits for it.

batchgenerators (0.25.5) reads its queues when it ends, and while it waits for a batch. A process that was killed while
it wrote leaves half a message in the queue, for whose other half the reader waits for ever. And one that was killed
while it asked an event of multiprocessing whether to end keeps that event's lock, for which all others wait for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter

from autoseg import processes
from autoseg.processes import SharedFlag, Vigil


class Augmenter(MultiThreadedAugmenter):  # type: ignore[misc]
    """Gives batches in order; raises RuntimeError when a process has ended or hangs."""

    _processes: list[BaseProcess]
    _queues: list[Any]
    pin_memory_thread: threading.Thread

    hangs = False  # a process was alive, but did nothing while its batch was waited for
    _is_awaited = False
    _has_ended = False

    def __init__(self, *given: Any, **named: Any) -> None:
        """Take what batchgenerators takes."""
        super().__init__(*given, **named)
        self.abort_event, self.pause_event = SharedFlag(), SharedFlag()

    def _start(self) -> None:
        if self._has_ended:
            raise RuntimeError("the augmentation processes have been ended")
        super()._start()
        self.pin_memory_thread._invoke_excepthook = self._abort  # type: ignore[attr-defined]
        threading.Thread(target=self._abort_after, args=(tuple(self._processes),), daemon=True).start()

    def __next__(self) -> Any:
        """Return the next batch.

        Raises:
            RuntimeError: If a process has ended or hangs, or all have been ended.
        """
        self._is_awaited = True
        try:
            return super().__next__()
        finally:
            self._is_awaited = False

    def _abort_after(self, workers: Sequence[BaseProcess]) -> None:
        """Wait until one of the processes has ended, or hangs while its batch is waited for; then abort."""
        vigil, pids = Vigil(), [worker.pid for worker in workers if worker.pid is not None]
        while not wait([worker.sentinel for worker in workers], processes.EXAMINE_S):
            if not self._is_awaited:  # they may well have nothing to do
                vigil = Vigil()
            elif vigil.hanging(pids):
                self.hangs = True
                break
        self.abort_event.set()

    def _abort(self, _: threading.Thread) -> None:
        """End all, without a traceback: the thread that takes batches has met half a message, or an ended process."""
        self.abort_event.set()

    def _finish(self, timeout: float = 10, force: bool = False) -> None:
        """End all processes; batches that nobody has taken are dropped unread."""
        workers, self._processes = self._processes, []
        if not workers:
            return
        self._has_ended = True
        self.abort_event.set()
        self.pin_memory_thread.join(0 if force else 1)  # it may wait for the rest of half a message
        for worker in workers:
            worker.kill()
            worker.join(timeout)  # one that waits for a disk cannot even be killed
        for queue in self._queues:
            queue._writer.close()  # the last writer's end: who still reads hears that nothing comes
        self.pin_memory_thread.join(timeout)
        for queue in self._queues:
            queue.close()
        self._queues, self.was_initialized = [], False
