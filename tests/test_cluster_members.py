"""Tests of autoseg.cluster_members: which workers are refused, which do the work, and on what they compute."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autoseg import cluster_members
from autoseg.cluster_members import ClusterError, Look, Members, Site, look_here, require_safe
from autoseg.digests import code_digest
from autoseg.pool import Backend
from autoseg.version import VERSION

CPU, CUDA = Backend("cpu", False), Backend("cuda", True)


def site(folder: Path, device: str | None = None, backend: Backend | None = None, **others: str) -> Site:
    about = {"folder": str(folder), "token": "token", "version": VERSION, "code": code_digest(".")}
    return Site(**(about | others), device=device, backend=backend)


@pytest.mark.parametrize(
    "address", ["tls://10.0.0.7:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:9", "tcp://localhost:1"]
)
def test_a_cluster_of_this_machine_alone_or_with_certificates_is_safe(address: str) -> None:
    require_safe(address, "the scheduler")


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.7:8786", "tcp://node7:8786", "ws://127.0.0.1:80", "tcp://", "ucx://a:1"]
)
def test_a_cluster_that_others_can_reach_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match=r"where anyone who reaches it can run programs as you; use certificates"):
        require_safe(address, "the scheduler")


def test_a_worker_with_other_code_another_version_or_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    site(tmp_path).require_alike()
    for other, message in (
        (site(tmp_path, version="9.9"), f"runs autoseg {VERSION}, here it is 9.9; install the same there"),
        (site(tmp_path, code="of a change"), f"runs autoseg {VERSION}, with other code, here it is {VERSION}"),
        (site(tmp_path, token="other"), f"does not see {tmp_path / 'other'}; all machines must see the files"),
        (site(tmp_path / "elsewhere"), f"does not see {tmp_path / 'elsewhere' / 'token'}"),
    ):
        with pytest.raises(ClusterError) as error:
            other.require_alike()
        assert message in str(error.value)


class Workers:
    """A client of a scheduler, of one worker at first; what each finds when it looks at itself is given."""

    def __init__(self, **looks: Look | str | Exception) -> None:
        self.threads = {"tcp://127.0.0.1:1": 1}
        self.looks = {f"tcp://127.0.0.1:{name[1:]}": look for name, look in looks.items()}

    def nthreads(self) -> dict[str, int]:
        return dict(self.threads)

    def run(self, look: object, workers: list[str], on_error: str) -> dict[str, Look | str | Exception]:
        return {address: self.looks.get(address, Look()) for address in workers}


@pytest.mark.parametrize(
    ("address", "threads", "message"),
    [
        ("tcp://127.0.0.1:2", 4, "worker tcp://127.0.0.1:2 has 4 threads; start it with --nthreads 1"),
        ("tcp://10.0.0.7:8786", 1, "a worker listens at tcp://10.0.0.7:8786, where anyone"),
        ("tcp://127.0.0.1:3", 1, "worker tcp://127.0.0.1:3 has no autoseg"),
    ],
)
def test_a_worker_that_comes_later_is_examined(
    address: str, threads: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_members, "COUNT_S", -1.0)
    client = Workers(_3="has no autoseg", _4=OSError("gone"))
    members = Members(client, "a.json", site(tmp_path))
    assert members.count() == 1
    client.threads["tcp://127.0.0.1:4"] = 1  # gone before it could look
    assert members.count() == 2
    client.threads[address] = threads
    with pytest.raises(ClusterError, match=re.escape(message)):
        members.count()


def test_a_cluster_is_deserted_a_minute_after_its_last_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    client = Workers()
    members = Members(client, "a.json", site(tmp_path))
    clock[0] += 600.0  # of short tasks
    assert members.count() == 1
    client.threads.clear()
    clock[0] += cluster_members.DESERTED_S - 1.0
    members.require_some()
    clock[0] += 2.0
    with pytest.raises(ClusterError, match="has no worker any more; start some"):
        members.require_some()


def test_a_worker_without_the_device_that_is_asked_for_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").touch()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    look = look_here(site(tmp_path, device="cuda"), {"GPU": 1.0})
    assert look.has_gpu
    assert re.fullmatch(
        r"cannot do it \(--device cuda: this machine has no such device; it has: .*\); leave it out, or mark those "
        r"that are to do it by --resources GPU=1",
        look.lack,
    )
    look = look_here(site(tmp_path, device="cpu"), {})
    assert (look.lack, look.has_gpu) == ("", False)
    assert look.backend is not None
    assert look.backend.device == "cpu"
    assert look_here(site(tmp_path), {}).backend is None  # nothing is asked


def test_a_task_is_refused_where_it_would_compute_elsewhere_than_the_others(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    with pytest.raises(
        ClusterError, match=r"computes on cpu with.* fast bfloat16, others on cuda with fast bfloat16; ask"
    ):
        site(tmp_path, device="cpu", backend=CUDA).require_alike()
    here = site(tmp_path, device="cpu").require_alike()
    assert site(tmp_path, device="cpu", backend=here).require_alike() == here


@pytest.mark.parametrize(("device", "count", "backend"), [("auto", 1, CUDA), ("cuda", 1, CUDA), ("cpu", 2, CPU)])
def test_workers_that_are_marked_by_a_gpu_do_alone_what_needs_one(
    device: str, count: int, backend: Backend, tmp_path: Path
) -> None:
    seen = {name: CPU if device == "cpu" else found for name, found in (("_1", CPU), ("_2", CUDA))}
    client = Workers(_1=Look(backend=seen["_1"]), _2=Look(has_gpu=True, backend=seen["_2"]))
    client.threads["tcp://127.0.0.1:2"] = 1
    members = Members(client, "a.json", site(tmp_path, device=device))
    assert members.count() == count
    assert members.resources == ({} if device == "cpu" else {"GPU": 1})
    assert members.site.backend == backend


def test_workers_that_compute_on_different_devices_are_told_apart(tmp_path: Path) -> None:
    client = Workers(_1=Look(backend=CUDA), _2=Look(backend=CPU))
    client.threads["tcp://127.0.0.1:2"] = 1
    members = Members(client, "a.json", site(tmp_path, device="auto"))
    with pytest.raises(ClusterError) as error:
        members.count()
    assert str(error.value) == (
        "--cluster a.json: worker tcp://127.0.0.1:2 computes on cpu without fast bfloat16, others on cuda with fast "
        "bfloat16; ask for one by --device, or mark those that are to do it by --resources GPU=1"
    )
