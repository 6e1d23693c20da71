"""Tests of autoseg.data.slots: batches in shared memory, and what is left of it when processes are killed."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import made
import numpy as np
import psutil
import pytest
import torch

import autoseg
from autoseg import machine
from autoseg.data import batches, slots
from autoseg.data.batches import Leaving, open_batches
from autoseg.data.slots import Slots, reserve
from autoseg.machine import GIB

ARRAYS = {"data": np.arange(30, dtype=np.float16).reshape(2, 3, 5), "seg": np.arange(7, dtype=np.uint8)}  # 60, 7 bytes
PATIENCE_S = 60.0


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing has been told yet."""
    slots._tell_of_pipes.cache_clear()
    yield
    slots._tell_of_pipes.cache_clear()


def test_arrays_come_out_as_they_went_in_at_aligned_places() -> None:
    shared = Slots(workers=2, of_each=1, slot_bytes=71)
    other = {name: array + 1 for name, array in ARRAYS.items()}
    first, second = (shared.store(worker, some) for worker, some in enumerate((ARRAYS, other)))
    assert first is not None
    assert second is not None
    for stored, expected in ((first, ARRAYS), (second, other)):
        found = shared.load(stored)
        assert {name: (a.dtype, a.tolist()) for name, a in found.items()} == {
            name: (a.dtype, a.tolist()) for name, a in expected.items()
        }
        assert all(array.ctypes.data % slots.ALIGNED == 0 for array in found.values())


def test_a_slot_is_free_again_when_nobody_has_its_arrays_or_a_part_of_them() -> None:
    shared = Slots(workers=1, of_each=1, slot_bytes=71)
    stored = shared.store(0, ARRAYS)
    assert stored is not None
    assert shared.store(0, ARRAYS) is None  # not read yet
    found = shared.load(stored)
    part = torch.as_tensor(found.pop("data"))[0, 1:]
    del found
    assert shared.store(0, ARRAYS) is None  # a tensor has a part of it
    assert part.tolist() == ARRAYS["data"][0, 1:].tolist()
    del part
    gc.collect()
    assert shared.store(0, ARRAYS) is not None


def test_a_worker_fills_its_own_slots_only() -> None:
    shared = Slots(workers=2, of_each=2, slot_bytes=71)
    assert [stored and stored.slot for stored in (shared.store(1, ARRAYS) for _ in range(3))] == [2, 3, None]


def test_what_is_larger_than_a_slot_does_not_go_into_one() -> None:
    shared = Slots(workers=1, of_each=1, slot_bytes=64)
    assert shared.store(0, ARRAYS) is None
    assert shared.store(0, {"seg": ARRAYS["seg"]}) is not None


def test_what_finds_no_room_goes_as_it_is() -> None:
    leave = Leaving(lambda **_: {**ARRAYS, "keys": ["a"]}, Slots(workers=1, of_each=1, slot_bytes=71))  # type: ignore[arg-type]
    first, second = leave(), leave()
    assert sorted(first) == ["keys", "stored"]
    assert second == {**ARRAYS, "keys": ["a"]}


def descriptors_of_shared_memory() -> int:
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return sum("/shm/torch_" in os.readlink(link) for link in links if link.is_symlink())


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_the_slots_of_a_training_suffice_for_all_its_batches_and_take_one_file_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    load = Slots.load
    monkeypatch.setattr(Slots, "load", lambda self, stored: loaded.append(stored.slot) or load(self, stored))
    cases = made.easy_cases(tmp_path, 3)
    gc.collect()
    descriptors = descriptors_of_shared_memory()
    with open_batches(cases, made.plan(), 0, workers=1) as stream:
        before = next(stream)
        for _ in range(40):
            batch = next(stream)
            assert before["data"].shape == batch["data"].shape  # two are held at a time, as in training
            before = batch
        assert descriptors_of_shared_memory() == descriptors + 1
    del stream, before, batch
    patience = time.monotonic() + PATIENCE_S  # batchgenerators' thread holds the last batch until it ends
    while descriptors_of_shared_memory() != descriptors and time.monotonic() < patience:
        gc.collect()
        time.sleep(0.05)
    assert descriptors_of_shared_memory() == descriptors
    assert len(loaded) == 41
    assert max(loaded) < batches._slots_of_each(1)


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 9, 31])
def test_there_are_slots_for_all_batches_under_way_and_not_many_more(workers: int) -> None:
    queues, hands = batches._cached(workers) * workers, workers
    parent = max(3, batches._cached(workers) * workers // 2) + 1 + batches.IN_USE  # batchgenerators' own arithmetic
    count = workers * batches._slots_of_each(workers)
    assert queues + hands + parent <= count < queues + hands + parent + workers


@pytest.mark.parametrize("free_mib", [64, 0])
def test_where_little_memory_is_shared_batches_go_through_pipes_which_is_said_once(
    free_mib: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fresh: None
) -> None:
    monkeypatch.setattr(slots, "free_shared_memory_gib", lambda: free_mib / 1024)
    plan = made.plan(crop_size=(128, 128, 128), batch_size=1)  # 10 MiB, nine of them
    assert reserve(1, batches._slots_of_each(1), 10 * 2**20) is None
    assert reserve(1, batches._slots_of_each(1), 10 * 2**20) is None
    assert caplog.messages == [
        "batches go through pipes, at more work for this process: "
        f"{free_mib / 1024:.2f} GiB of shared memory are to be had, 0.09 are needed; "
        "give fewer --workers, or a container --shm-size=1g or --ipc=host"
    ]
    cases = made.easy_cases(tmp_path, 1)
    with open_batches(cases, plan, 0, workers=1) as stream, open_batches(cases, plan, 0, workers=0) as expected:
        np.testing.assert_array_equal(next(stream)["data"], next(expected)["data"])


def test_a_system_that_gives_none_is_one_with_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fresh: None
) -> None:
    def refuse(_: int) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", refuse)
    assert reserve(1, 1, 100) is None
    assert "batches go through pipes" in caplog.text


def test_shared_memory_is_what_its_folder_and_the_machine_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory_gib", lambda: 5.0)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2 * GIB}))
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    assert machine.free_shared_memory_gib() == 2.0
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "none")  # macOS, Windows
    assert machine.free_shared_memory_gib() == 2.5  # half of what is free


def test_the_strategy_of_macos_and_windows_carries_batches_too(tmp_path: Path) -> None:
    cases = made.easy_cases(tmp_path, 3)
    with open_batches(cases, made.plan(), 0, workers=0) as stream:
        expected = [next(stream)["data"] for _ in range(3)]
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy("file_system")
    try:
        with open_batches(cases, made.plan(), 0, workers=1) as stream:
            found = [next(stream)["data"] for _ in range(3)]
    finally:
        torch.multiprocessing.set_sharing_strategy(before)
    np.testing.assert_array_equal(found, expected)


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import made
from autoseg.data.batches import open_batches

if __name__ == "__main__":
    cases = made.easy_cases(Path({folder!r}), 3)
    with open_batches(cases, made.plan(crop_size=(32, 32, 32)), 0, workers=2) as stream:
        for batch in stream:
            print(*batch["keys"], flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /dev/shm and /proc")
@pytest.mark.parametrize("whom", ["the training", "a worker"])
def test_nothing_is_left_of_shared_memory_whoever_is_killed(tmp_path: Path, whom: str) -> None:
    def named() -> set[str]:
        return {name for name in os.listdir("/dev/shm") if name.startswith("torch_")}

    script = tmp_path / "stream.py"
    script.write_text(PROGRAM.format(tests=str(Path(made.__file__).parent), folder=str(tmp_path)))
    before = named()
    program = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(autoseg.__file__).parents[1])},
    )  # fmt: skip
    assert program.stdout is not None
    try:
        assert program.stdout.readline().strip()
        family = [psutil.Process(program.pid), *psutil.Process(program.pid).children(recursive=True)]
        workers = [p for p in family if "--multiprocessing-fork" in p.cmdline()]
        assert len(workers) == 2
        until = time.monotonic() + 60  # the first batch may be there before the second worker has begun
        mapped: list[str] = []
        while len(mapped) < 3 and time.monotonic() < until:
            mapped = [m.path for p in (family[0], *workers) for m in p.memory_maps() if "/shm/torch_" in m.path]
            time.sleep(0.05)
        assert len(mapped) == 3  # the one block of all three
        assert not any(Path(path).exists() for path in mapped)
        (family[0] if whom == "the training" else workers[0]).send_signal(signal.SIGKILL)
        if whom == "a worker":  # the other one goes on in a new block
            assert list(itertools.islice(program.stdout, 100))[-1].strip()
            program.kill()
        program.wait(60)
        psutil.wait_procs(family, 60)
        assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    assert named() <= before
