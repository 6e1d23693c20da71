"""A CUDA graph of a function: what it launches, recorded once and replayed by one call, which spares the host's time.

Small steps are bound by launching: the host gives some 700 kernels, each for about 10 µs, to a device that takes less.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger(__name__)
PLAIN = 3  # calls before the capture: libraries start, choose algorithms, and take their scratch space
Recording = tuple[Callable[[], object], Callable[[], object], Tensor]  # replays it; forgets it; where the result lies


def capture(function: Callable[[], Tensor], stream: torch.cuda.Stream) -> Recording:
    """Record what a function launches, without running it, in memory of its own.

    Args:
        function: Waits for nothing, and reads and writes only tensors that stay where they are.
        stream: On which it ran before.

    Raises:
        RuntimeError: If something in it cannot be captured, or the memory is too little.
    """
    graph = torch.cuda.CUDAGraph()
    # threads that pin batches, or wait for a checkpoint's copies, may go on meanwhile
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        result = function()
    return graph.replay, graph.reset, result


class Replayed:
    """Calls a function: plainly at first, then as a graph; where there can be no graph, plainly ever after."""

    def __init__(self, function: Callable[[], Tensor]) -> None:
        """Prepare; `function` as for `capture`."""
        self._function = function
        self._stream: torch.cuda.Stream | None = None
        self._recording: Recording | None = None
        self._calls = 0
        self._can_be_captured = True

    def __call__(self) -> Tensor:
        """Launch the function once; its result is overwritten by the next call."""
        if self._recording is None and self._can_be_captured and self._calls >= PLAIN:
            self._capture()
        if self._recording is None:
            self._calls += 1
            return self._function() if not self._can_be_captured else self._beside()
        replay, _, result = self._recording
        replay()
        return result

    def release(self) -> None:
        """Give back the graph's memory; the next call records it anew."""
        if self._recording is not None:
            _, forget, _ = self._recording
            self._recording = None
            torch.cuda.synchronize()  # it may be under way
            forget()

    def _beside(self) -> Tensor:
        """Run the function on the stream of the capture, as its libraries take scratch space for each stream."""
        if self._stream is None:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self._function()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def _capture(self) -> None:
        if self._stream is None:
            raise RuntimeError("a function is called plainly before it is captured")
        current = torch.cuda.current_stream()
        try:
            self._recording = capture(self._function, self._stream)
        except RuntimeError as error:  # what is wrong with the function itself shows without a graph, too
            torch.cuda.set_stream(current)  # a capture that ends badly stays on its own
            self._can_be_captured = False
            reason = str(error).splitlines()[0]
            logger.info("a step is launched operation by operation, as there can be no CUDA graph of it (%s)", reason)
