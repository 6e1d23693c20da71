"""Work on many cases at once: local processes; one failing case never stops the others."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

from autoseg.errors import AutosegError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Track(Protocol):
    """Shows progress over an iterable; the command line gives a bar, everything else nothing."""

    def __call__(self, items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Yield `items` while telling that `what` of `total` is under way."""


def untracked(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    """Yield `items`; show nothing."""
    return items


def each(
    function: Callable[[Item], Result], items: Mapping[str, Item], jobs: int
) -> Iterator[tuple[str, Result | AutosegError]]:
    """Call `function` on every item, in `jobs` processes; yield (name, result or error) as they finish.

    A worker that is killed takes down its pool: the items it left are then done one at a time, each in a process of
    its own, so that only the one that kills its worker is lost.

    Args:
        function: Importable by name, as its processes are spawned.
        items: Name to argument.
        jobs: Number of processes; 1 works in this process.
    """
    if jobs <= 1 or len(items) <= 1:
        for name, item in items.items():
            try:
                yield name, function(item)
            except AutosegError as error:
                yield name, error
            except MemoryError:
                yield name, AutosegError("there is too little memory for it")
        return
    left = dict(items)
    try:
        for name, result in _pooled(function, left, jobs):
            del left[name]
            yield name, result
    except BrokenProcessPool:
        for name, item in left.items():
            try:
                yield from _pooled(function, {name: item}, 1)
            except BrokenProcessPool:
                yield name, AutosegError("its worker process was killed, most likely for lack of memory; use -j 1")


def _pooled(
    function: Callable[[Item], Result], items: Mapping[str, Item], jobs: int
) -> Iterator[tuple[str, Result | AutosegError]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(items)), mp_context=context, initializer=_start_worker) as pool:
        names = {pool.submit(function, item): name for name, item in items.items()}
        try:
            for future in as_completed(names):
                try:
                    yield names[future], future.result()
                except AutosegError as error:
                    yield names[future], error
                except MemoryError:
                    yield names[future], AutosegError("there is too little memory for it; use -j 1")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    """Keep a worker's linear algebra on one thread, as several share the cores; leave Ctrl-C to the parent."""
    import numpy  # noqa: F401 - only libraries that are loaded can be limited

    threadpool_limits(limits=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
