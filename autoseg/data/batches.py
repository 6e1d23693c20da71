"""Batches: batch number i of a run is a function of the seed and i, whatever the number of workers."""

from __future__ import annotations

import logging
import math
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from batchgenerators.dataloading.data_loader import SlimDataLoaderBase
from batchgenerators.transforms.abstract_transforms import AbstractTransform

from autoseg import processes
from autoseg.data import augment, cutouts
from autoseg.data.ahead import ToGpu, ahead
from autoseg.data.augmenter import Augmenter
from autoseg.data.cache import CachedCase, CaseKey
from autoseg.data.crops import CaseChooser, choose_deformed, draw_centre
from autoseg.data.cutouts import CutOut, crops_of
from autoseg.data.cutting import CropRequest
from autoseg.data.slots import Slots, reserve
from autoseg.errors import AutosegError, TrainingError
from autoseg.plan import Plan
from autoseg.processes import end_with_parent, is_started_by_main_thread, start_tracker
from autoseg.words import counted

Share = tuple[int, int]  # (r, n): of every batch the crops r, r + n, r + 2 n, …
# data float32 or float16 (B, C, Z, Y, X), seg uint8 (B, 1, Z, Y, X); of each crop, keys: its case, hidden: classes not
# labelled. From a worker it may be cut-outs, of which these are made
Batch = dict[str, Any]
logger = logging.getLogger(__name__)
KEPT = 1 << 12  # records of cases that a process which draws crops holds
WAIT_S = 0.005  # how often batchgenerators looks at its queues
FEW_WORKERS = 8  # up to so many make two batches in advance, more of them one
IN_USE = 2  # batches that the training holds: the one of the last step, and the next


class CropLoader(SlimDataLoaderBase):  # type: ignore[misc]
    """Chooses cases and crop centres; worker w of n makes every n-th batch from start + w on."""

    def __init__(self, cases: Sequence[CachedCase], plan: Plan, start: int, workers: int, share: Share) -> None:
        """Begin with batch `start`."""
        keys = [case.key for case in cases]  # every worker gets them; the records of very many would take seconds each
        super().__init__(CaseChooser(keys, plan.batch_size, plan.seed), plan.batch_size, max(1, workers))
        self.plan = plan
        self.share = share
        self.next_index = start
        self.by_kernel = is_started_by_main_thread()
        self._cases: dict[CaseKey, CachedCase] = {}  # that were drawn of late

    def set_thread_id(self, thread_id: int) -> None:
        """Take this worker's share of the batches; run torch on one thread; leave Ctrl-C to the parent; end with it."""
        end_with_parent(self.by_kernel)
        super().set_thread_id(thread_id)
        self.next_index += thread_id
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def generate_train_batch(self) -> Batch:
        """Return the next batch's crop requests and seed."""
        index = self.next_index
        self.next_index += self.number_of_threads_in_multithreaded
        rng = np.random.default_rng((self.plan.seed, index))
        try:
            chosen = [self._case(key) for key in self._data.cases_of(index)]
            requests = [
                CropRequest(case=case, centre=draw_centre(case, self.plan, rng), deformed=deformed)
                for case, deformed in zip(chosen, choose_deformed(self.plan, index), strict=True)
            ]
        except AutosegError as error:
            return {"error": str(error)}
        seeds = [int(seed) for seed in rng.integers(2**32, size=len(requests))]
        mine = slice(self.share[0], None, self.share[1])
        return {"worker": self.thread_id, "requests": requests[mine], "seeds": seeds[mine]}

    def _case(self, key: CaseKey) -> CachedCase:
        """Return a case; its record is read unless it was drawn of late."""
        if key not in self._cases:
            if len(self._cases) >= KEPT:
                self._cases.clear()
            self._cases[key] = key.case()
        return self._cases[key]


class Reporting(AbstractTransform):  # type: ignore[misc]
    """Turns an exception in a worker into a message for the parent, with cases and traceback."""

    def __init__(self, transform: AbstractTransform) -> None:
        """Wrap `transform`."""
        self.transform = transform

    def __call__(self, worker: int = 0, **batch: Any) -> Batch:
        """Apply the transform; on failure return {"error": …}."""
        if "error" in batch:
            return batch
        try:
            return self.transform(**batch)  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
            names = ", ".join(request.case.id for request in batch.get("requests", ()))
            return {"error": f"cases {names}: {type(error).__name__}: {error}", "traceback": traceback.format_exc()}


class Leaving(AbstractTransform):  # type: ignore[misc]
    """Leaves the arrays of a worker's batches in shared memory; those that find no room there go through the pipe."""

    def __init__(self, transform: AbstractTransform, slots: Slots) -> None:
        """Wrap `transform`."""
        self.transform, self.slots = transform, slots

    def __call__(self, worker: int = 0, **batch: Any) -> Batch:
        """Apply the transform; return what it gives, with `stored` in place of the arrays."""
        result: Batch = self.transform(**batch)
        arrays = {name: value for name, value in result.items() if isinstance(value, np.ndarray)}
        stored = self.slots.store(worker, arrays) if arrays else None
        if stored is None:
            return result
        return {name: value for name, value in result.items() if name not in arrays} | {"stored": stored}


@contextmanager
def open_batches(
    cases: Sequence[CachedCase], plan: Plan, start: int, workers: int, share: Share = (0, 1)
) -> Iterator[Iterator[Batch]]:
    """Give the endless stream of batches from number `start` on.

    Args:
        cases: Training cases.
        plan: Seed, crop, batch, augmentation.
        start: Number of the first batch.
        workers: batchgenerators processes; 0 augments in this process.
        share: Which crops of each batch; by default all.

    Raises:
        TrainingError: From the stream, if a crop cannot be made; the text names the cases and the cause.
    """
    if not cases:
        raise TrainingError("there are no training cases; add cases or change the split")
    if workers <= 0:
        batches, close = _in_process(cases, plan, start, share), _nothing
    else:
        team = _Workers(cases, plan, start, workers, share)
        batches, close = team.batches(), team.close
    try:
        if plan.device == "cuda":
            gpu = ToGpu(partial(crops_of, plan=plan, device="cuda") if plan.augmentation.on == "device" else dict)
            with ahead(batches, gpu.start, close) as copies:
                yield map(gpu.finish, copies)
        elif plan.augmentation.on == "device":
            yield map(partial(crops_of, plan=plan, device="cpu"), batches)
        else:
            yield batches
    finally:
        close()


def _augmentation(plan: Plan) -> AbstractTransform:
    """Return what is done to crop requests where batches are made."""
    return CutOut(plan) if plan.augmentation.on == "device" else augment.transforms(plan)


def _nothing() -> None:
    """End nothing: the batches are made here."""


def _in_process(cases: Sequence[CachedCase], plan: Plan, start: int, share: Share) -> Iterator[Batch]:
    loader = CropLoader(cases, plan, start, workers=1, share=share)
    transform = Reporting(_augmentation(plan))
    while True:
        yield _checked(transform(**next(loader)))


def _started(
    cases: Sequence[CachedCase], plan: Plan, start: int, workers: int, share: Share, slots: Slots | None
) -> Augmenter:
    method = multiprocessing.get_start_method(allow_none=True)
    transform = Reporting(_augmentation(plan))
    start_tracker()
    multiprocessing.set_start_method("spawn", force=True)  # a fork after torch has used its threads may hang
    try:
        augmenter = Augmenter(
            CropLoader(cases, plan, start, workers, share),
            transform if slots is None else Leaving(transform, slots),
            num_processes=workers,
            num_cached_per_queue=_cached(workers),
            wait_time=WAIT_S,
        )
        augmenter._start()
    finally:
        multiprocessing.set_start_method(method, force=True)
    return augmenter


def _cached(workers: int) -> int:
    return 2 if workers <= FEW_WORKERS else 1


def _slots_of_each(workers: int) -> int:
    """Return how many batches of one worker there may be at a time, wherever they are.

    In its queue and in its hands; and its part of those that the training process has taken: in batchgenerators' queue
    and in the hands of its thread, and in use.
    """
    taken = max(3, _cached(workers) * workers // 2) + 1 + IN_USE
    return _cached(workers) + 1 + math.ceil(taken / workers)


class _Workers:
    """Processes that augment; one less each time that one is lost, as it may have been for lack of memory."""

    def __init__(self, cases: Sequence[CachedCase], plan: Plan, start: int, count: int, share: Share) -> None:
        self.cases, self.plan, self.index, self.share = cases, plan, start, share
        crops = len(range(plan.batch_size)[share[0] :: share[1]])
        is_cut = plan.augmentation.on == "device"
        self.slot_bytes = cutouts.slot_bytes(plan, crops, cases) if is_cut else augment.slot_bytes(plan, crops)
        self.is_closed, self.lock = False, threading.Lock()
        self._start(count)

    def batches(self) -> Iterator[Batch]:
        """Yield batches without end; when no process is left, from this one."""
        for left in reversed(range(self.count)):
            while (batch := self._next()) is not None:
                yield _checked(batch)
                self.index += 1
            if self.is_closed:
                return
            _warn_of_lost(self.augmenter, left)
            if left:
                self._start(left)
        yield from _in_process(self.cases, self.plan, self.index, self.share)

    def close(self) -> None:
        """End the processes and the stream; another thread may be waiting for a batch."""
        self.is_closed = True
        with self.lock:
            self.augmenter._finish()

    def _start(self, count: int) -> None:
        self.count = count
        with self.lock:
            if not self.is_closed:
                self.slots = reserve(count, _slots_of_each(count), self.slot_bytes)
                self.augmenter = _started(self.cases, self.plan, self.index, count, self.share, self.slots)

    def _next(self) -> Batch | None:
        try:
            batch: Batch = next(self.augmenter)
        except RuntimeError:  # which has ended all
            return None
        if self.slots is not None and (stored := batch.pop("stored", None)):
            batch |= self.slots.load(stored)
        return batch


def _warn_of_lost(augmenter: Augmenter, left: int) -> None:
    cause = (
        f"hangs, it did nothing for {processes.HANGS_S:.0f} s"
        if augmenter.hangs
        else "was killed, most likely for lack of memory"
    )
    how = f"going on with {counted(left, 'worker')}" if left else "augmenting in the training process"
    logger.warning("a worker %s; %s", cause, how)


def _checked(batch: Batch) -> Batch:
    if "error" in batch:
        logger.info("%s", batch.get("traceback", batch["error"]))
        raise TrainingError(
            f"augmentation failed: {batch['error']}; run `autoseg preprocess` again if the cache is damaged"
        )
    return batch
