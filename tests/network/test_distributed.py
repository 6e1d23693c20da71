"""Tests of training in several processes: two over gloo must do what one does with the whole batch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import made
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from autoseg.data.cache import CachedCase
from autoseg.errors import PlanError, TeamLostError
from autoseg.network import device, launch
from autoseg.network.distributed import from_first, process_group, process_rank, report_failure, world_size
from autoseg.network.launch import why_failed
from autoseg.plan import LossPlan, OptimiserPlan, Plan
from autoseg.run import FoldFolder
from autoseg.training import loop
from autoseg.training.log import read_rows
from autoseg.training.loop import Fold, train

OPTIMISER = OptimiserPlan(name="adamw", schedule="cosine", gradient_clip=1.0, averaging=0.9)
LOSSES = {
    "the paper's": LossPlan(kind="dice", background=True, over="image", weights=(1, 2, 3)),
    "the default": LossPlan(kind="dice-ce", background=False, over="batch", weights=(1, 2, 3), fade_weights=True),
}


def plan_with(loss: LossPlan, batch_size: int) -> Plan:
    return made.plan(iterations=6, batch_size=batch_size, loss=loss, optimiser=OPTIMISER, learning_rate=1e-3)


def member(
    rank: int, size: int, port: int, cases: tuple[CachedCase, ...], plan: Plan, folders: tuple[Path, ...], stop: int
) -> None:
    folder = folders[rank]
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    device.has_fast_bfloat16 = lambda _: False  # type: ignore[assignment] # rounding would hide a mistake
    loop.draw_curves = lambda *_: []  # type: ignore[assignment,attr-defined]
    done: list[int] = []
    with process_group("cpu"):
        assert (process_rank(), world_size()) == (rank, size)
        assert from_first(rank + 3) == 3
        fold = Fold(plan=plan, training=cases[:4], validation=cases[4:], files=FoldFolder(folder), workers=0)
        train(fold, lambda p: done.append(p.iteration), lambda: rank == 0 and len(done) >= stop)


def together(size: int, cases: tuple[CachedCase, ...], plan: Plan, *folders: Path, stop: int = 100) -> None:
    """Train in some processes, all in one folder, or each in its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(member, (size, port, cases, plan, folders * (size // len(folders)), stop), nprocs=size)  # type: ignore[no-untyped-call]


def alone_in_this_process(
    monkeypatch: pytest.MonkeyPatch, cases: tuple[CachedCase, ...], plan: Plan, folder: Path
) -> None:
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda _: False)
    fold = Fold(plan=plan, training=cases[:4], validation=cases[4:], files=FoldFolder(folder), workers=0)
    train(fold, lambda _: None, lambda: False)


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in read_rows(folder / "log.csv")]


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CachedCase, ...]:
    return made.easy_cases(tmp_path / "cache", 5)


@pytest.mark.parametrize(("name", "batch"), [("the paper's", 4), ("the default", 4), ("the default", 3)])
def test_two_processes_do_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: tuple[CachedCase, ...], name: str, batch: int
) -> None:
    plan = plan_with(LOSSES[name], batch)
    alone_in_this_process(monkeypatch, cases, plan, tmp_path / "1")
    together(2, cases, plan, tmp_path / "2")
    alone, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(alone) == 6
    np.testing.assert_allclose(two, alone, rtol=1e-4, atol=1e-5)


def test_a_team_that_the_first_process_stops_goes_on_from_its_checkpoint(
    tmp_path: Path, cases: tuple[CachedCase, ...]
) -> None:
    plan = plan_with(LOSSES["the default"], 4)
    together(2, cases, plan, tmp_path / "straight")
    together(2, cases, plan, tmp_path / "stopped", stop=3)
    assert len(losses(tmp_path / "stopped")) == 4  # the fourth was under way when the third was told
    together(2, cases, plan, tmp_path / "stopped")
    assert losses(tmp_path / "stopped") == losses(tmp_path / "straight")
    assert FoldFolder(tmp_path / "stopped").checkpoint.stat().st_size > 0


def test_processes_that_see_different_checkpoints_are_refused(tmp_path: Path, cases: tuple[CachedCase, ...]) -> None:
    plan = plan_with(LOSSES["the default"], 4)
    together(1, cases, plan, tmp_path / "0", stop=2)
    with pytest.raises(mp.ProcessRaisedException, match="finds iteration 0, the first one 3; all must see the same"):
        together(2, cases, plan, tmp_path / "0", tmp_path / "1")


def failure(file: Path, code: int) -> ProcessFailure:
    return ProcessFailure(local_rank=0, pid=1, exitcode=code, error_file=str(file))


def test_of_a_team_the_reason_is_told_not_its_consequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "1.json"))
    assert report_failure(PlanError("--fold 7: there: none"))
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "0.json"))
    assert report_failure(TeamLostError("another has ended"))
    lost, told = failure(tmp_path / "0.json", 1), failure(tmp_path / "1.json", 1)
    ended, killed = failure(tmp_path / "none", -15), failure(tmp_path / "none", -9)
    assert why_failed({0: lost, 1: told}) == "--fold 7: there: none"
    assert why_failed({0: ended, 1: lost, 2: killed}).startswith("process 2 of the team was killed (SIGKILL)")
    assert why_failed({0: lost}) == "process 0 of the team failed, it has said why above"


def test_a_process_that_nccl_ends_as_it_waits_in_vain_is_not_the_reason(tmp_path: Path) -> None:
    waiting, killed = failure(tmp_path / "none", -signal.SIGABRT), failure(tmp_path / "none", -signal.SIGKILL)
    assert why_failed({0: waiting, 1: killed}).startswith("process 1 of the team was killed (SIGKILL)")
    assert why_failed({0: waiting}) == "process 0 of the team failed, it has said why above"


class Team:
    """A team of two GPUs: what torch.distributed was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
        for owner, name, word in (
            (dist, "init_process_group", "begun"),
            (dist, "barrier", "all there"),
            (dist, "destroy_process_group", "destroyed"),
            (dist.distributed_c10d, "_abort_process_group", "aborted"),
        ):
            monkeypatch.setattr(owner, name, lambda *_, word=word: self.told.append(word))


def test_a_team_of_gpus_is_left_together_when_all_went_well(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team(monkeypatch)
    with process_group("cuda"):
        team.told.append("trained")
    assert team.told == ["begun", "trained", "all there", "destroyed"]


NCCL_WORDS = (
    "NCCL error in: ProcessGroupNCCL.cpp:3763, remote process exited or there was a network error, NCCL version 2.28.8",
    "NCCL communicator was aborted on rank 1. ",
    "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=4, OpType=ALLREDUCE) ran for 600011 ms",
)


@pytest.mark.parametrize("words", NCCL_WORDS)
def test_who_loses_another_gpu_waits_for_nobody_and_blames_itself_for_nothing(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    team = Team(monkeypatch)
    with pytest.raises(TeamLostError), process_group("cuda"):
        raise dist.DistBackendError(words)
    assert team.told == ["begun", "aborted"]


@pytest.mark.parametrize("error", [PlanError("a mistake"), RuntimeError("of our own"), KeyboardInterrupt()])
def test_who_fails_in_a_team_of_gpus_waits_for_nobody(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    team = Team(monkeypatch)
    with pytest.raises(type(error)) as raised, process_group("cuda"):
        raise error
    assert raised.value is error
    assert team.told == ["begun", "aborted"]


STUBBORN = """
import os, signal, sys, time
open(os.path.join(sys.argv[1], os.environ["RANK"]), "w").close()
if os.environ["RANK"] == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as one that waits for a GPU
    time.sleep(3600)
while not os.path.exists(os.path.join(sys.argv[1], "1")):
    time.sleep(0.1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not launch._short_wait(), reason="this torchrun waits 30 s for each")
def test_a_process_that_hears_no_signal_does_not_outlive_one_that_failed(tmp_path: Path) -> None:
    script, why = tmp_path / "stubborn.py", tmp_path / "why.txt"
    script.write_text(STUBBORN)
    command = [sys.executable, "-m", "autoseg.network.launch", str(why), "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run([*command, str(script), str(tmp_path)], timeout=600, check=False, capture_output=True)
    assert ended.returncode == 1
    assert why.read_text() == "process 0 of the team was killed (SIGKILL), most likely for lack of memory"


def test_where_the_reason_cannot_be_handed_over_a_process_tells_it_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "file" / "0.json"))
    assert not report_failure(PlanError("no"))


def test_without_a_launcher_a_process_tells_its_error_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    assert not report_failure(PlanError("no"))
