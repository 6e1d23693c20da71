"""Batches one ahead: a thread takes each batch and brings it to the GPU while the one before it is learnt from."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

LOOK_S = 0.2  # how often a wait looks whether all has ended
JOIN_S = 10.0
Item = TypeVar("Item")
Moved = TypeVar("Moved")


@contextmanager
def ahead(items: Iterator[Item], move: Callable[[Item], Moved], close: Callable[[], None]) -> Iterator[Iterator[Moved]]:
    """Give items as `move` makes them; a thread takes and moves the next one meanwhile.

    Args:
        items: Taken by the thread alone; what they raise is raised where the moved ones are taken.
        move: Called in the thread.
        close: Called at the end; it lets a thread that waits for an item go on.
    """
    line: queue.Queue[Moved | _End] = queue.Queue(maxsize=1)
    ended = threading.Event()

    def put(moved: Moved | _End) -> None:
        while not ended.is_set():
            try:
                return line.put(moved, timeout=LOOK_S)
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put(move(item))
                if ended.is_set():
                    break
            put(_End())
        except BaseException as error:  # noqa: BLE001 - raised where the batch is taken
            put(_End(error))

    thread = threading.Thread(target=run, daemon=True, name="batches ahead")
    thread.start()
    try:
        yield _taken(line)
    finally:
        ended.set()
        close()
        thread.join(JOIN_S)


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def _taken(line: queue.Queue[Moved | _End]) -> Iterator[Moved]:
    while True:
        try:
            item = line.get(timeout=LOOK_S)  # in pieces: on Windows Ctrl-C does not end a wait
        except queue.Empty:
            continue
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item


class ToGpu:
    """Copies batches to the GPU that is current where this is made, beside what runs there."""

    def __init__(self, then: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> None:
        """Open a stream of its own; `then` works on each batch when it is there."""
        self._then = then
        self._device = torch.cuda.current_device()  # each thread has a current one of its own
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def start(self, batch: dict[str, Any]) -> tuple[dict[str, Any], torch.cuda.Event]:
        """Start the copy of a batch's arrays, images in float32; return it with the event that ends it.

        The arrays are copied into pinned memory first, as only from there a copy is not waited for; then they are free.
        """
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            moved = {name: self._tensor(value) for name, value in batch.items()}
            return self._then(moved), self._stream.record_event()

    def _tensor(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        tensor = torch.as_tensor(value).pin_memory().to("cuda", non_blocking=True)
        return tensor.float() if tensor.is_floating_point() else tensor

    @staticmethod
    def finish(copy: tuple[dict[str, Any], torch.cuda.Event]) -> dict[str, Any]:
        """Let the current stream wait until a copy is there; return the batch."""
        batch, event = copy
        stream = torch.cuda.current_stream()
        stream.wait_event(event)
        for tensor in batch.values():
            if isinstance(tensor, torch.Tensor):
                tensor.record_stream(stream)  # its memory was taken for the other one
        return batch
