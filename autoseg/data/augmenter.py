"""batchgenerators' augmentation processes, made safe: the end of one is noticed, and nothing waits for it.

batchgenerators (0.25.5) reads its queues when it ends, and while it waits for a batch. A process that was killed while
it wrote leaves half a message in the queue, for whose other half the reader waits for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter


class Augmenter(MultiThreadedAugmenter):  # type: ignore[misc]
    """Gives batches in order; raises RuntimeError when a process has ended."""

    _processes: list[BaseProcess]
    _queues: list[Any]
    pin_memory_thread: threading.Thread
    abort_event: Any

    def _start(self) -> None:
        super()._start()
        threading.Thread(target=self._abort_after, args=(tuple(self._processes),), daemon=True).start()

    def _abort_after(self, processes: Sequence[BaseProcess]) -> None:
        wait([process.sentinel for process in processes])  # until one of them has ended
        self.abort_event.set()

    def _finish(self, timeout: float = 10, force: bool = False) -> None:
        """End all processes; batches that nobody has taken are dropped unread."""
        processes, self._processes = self._processes, []
        if not processes:
            return
        self.abort_event.set()
        self.pin_memory_thread.join(0 if force else 1)  # it may wait for the rest of half a message
        for process in processes:
            process.kill()
            process.join()
        for queue in self._queues:
            queue._writer.close()  # the last writer's end: who still reads hears that nothing comes
        self.pin_memory_thread.join(timeout)
        for queue in self._queues:
            queue.close()
        self._queues, self.was_initialized = [], False
