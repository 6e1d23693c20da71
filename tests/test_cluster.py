"""Tests of autoseg.cluster: which clusters are refused, and that their workers do the same as this machine's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoseg import cluster
from autoseg.cluster import join_cluster, work_at
from autoseg.cluster_members import ClusterError, Site
from autoseg.digests import code_digest
from autoseg.errors import VolumeError
from autoseg.machine import free_memory_gib
from autoseg.pool import Crew, each
from autoseg.version import VERSION

END_S = 60.0  # for programs to end on a busy machine


def test_a_task_is_done_in_the_folder_from_which_paths_are(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    before = Path.cwd()
    report = work_at(Site(str(tmp_path), "token", VERSION, code_digest(".")), listed, ["."])
    assert report.outcomes[0].value == ["token"]
    assert Path.cwd() == before


def listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"scheduler.json: No such file or directory; `dask scheduler --scheduler-file FILE` writes it"),
        ("{}", "scheduler.json: names no address; give the file that the scheduler writes"),
        ("[", "scheduler.json, line 1: not valid JSON"),
    ],
)
def test_a_file_that_names_no_scheduler_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ClusterError, match=message):
        cluster._address_of(str(file))
    file.write_text(json.dumps({"address": "tls://a:1"}))
    assert cluster._address_of(str(file)) == "tls://a:1"
    assert cluster._address_of("a:1") == "tcp://a:1"


def test_without_the_library_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ClusterError, match=r"--cluster: needs distributed; pip install '\.\[cluster\]'"),
        join_cluster("tcp://127.0.0.1:1", tmp_path, is_written=True),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "security", "message"),
    [
        (
            "tls://a:1",
            {"ssl_context": None},
            r"tls://a:1 asks for certificates, and none is named; say in ~/\.config/dask",
        ),
        (
            "tcp://127.0.0.1:1",
            {"require_encryption": True},
            r"requires encryption, tcp://127\.0\.0\.1:1 has none; start",
        ),
        (
            "tls://a:1",
            FileNotFoundError("cert.pem"),
            r"a certificate cannot be read \(cert\.pem\); say in ~/\.config/dask",
        ),
    ],
)
def test_certificates_that_are_missing_are_told_before_anything_is_joined(
    address: str, security: dict[str, object] | OSError, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def connection(role: str) -> dict[str, object]:
        if isinstance(security, OSError):
            raise security
        return {"ssl_context": object(), "require_encryption": False} | security

    library = SimpleNamespace(Security=lambda: SimpleNamespace(get_connection_args=connection), Client=pytest.fail)
    monkeypatch.setattr(cluster, "_distributed", lambda: library)
    with pytest.raises(ClusterError, match=message), join_cluster(address, tmp_path, is_written=True):
        pass


Start = Callable[..., None]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """What starts a program of distributed with arguments; they end with the tests."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("dask")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    running: list[subprocess.Popen[bytes]] = []

    def start(program: str, *arguments: str) -> None:
        words = [sys.executable, "-m", f"distributed.cli.{program}", *arguments, "--no-dashboard"]
        with (folder / "log").open("a") as log:
            running.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder))

    yield start
    for program in reversed(running):
        program.terminate()
        program.wait(END_S)


@pytest.fixture(scope="module")
def scheduler(programs: Start) -> str:
    """The address of a scheduler on this machine with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    programs("dask_scheduler", "--host", "127.0.0.1", "--port", port)
    address = f"tcp://127.0.0.1:{port}"
    programs("dask_worker", address, "--nthreads", "1", "--nworkers", "2", "--memory-limit", "0")
    return address


def halved(number: int) -> int:
    if number % 2:
        raise VolumeError(f"{number} is odd")
    return number // 2


def killing(folder_and_number: tuple[str, int]) -> int:
    """Kill this worker at the first try of number 3."""
    folder, number = folder_and_number
    if number == 3 and not (Path(folder) / "tried").exists():
        (Path(folder) / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_cluster_does_what_this_machine_would(scheduler: str, tmp_path: Path) -> None:
    with join_cluster(scheduler, tmp_path, is_written=True) as crew:
        assert isinstance(crew, Crew)
        assert len(list(tmp_path.iterdir())) == 1  # the token
        found = dict(each(halved, {f"n{n}": n for n in range(40)}, crew))
        assert {name: str(value) for name, value in found.items()} == {
            f"n{n}": f"{n} is odd" if n % 2 else str(n // 2) for n in range(40)
        }
        items = {str(n): (str(tmp_path), n) for n in range(8)}
        assert dict(each(killing, items, crew)) == {str(n): n for n in range(8)}
    assert [entry.name for entry in tmp_path.iterdir()] == ["tried"]


def machine_of(_: int) -> tuple[int, float]:
    return os.getpid(), free_memory_gib()


def test_a_marked_worker_does_it_alone_and_keeps_to_its_memory(
    scheduler: str, programs: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    distributed = pytest.importorskip("distributed")
    programs("dask_worker", scheduler, "--nthreads", "1", "--memory-limit", "2GiB", "--resources", "GPU=1")
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=END_S)
    items = {str(n): n for n in range(6)}
    with join_cluster(scheduler, tmp_path, is_written=True, device="auto") as crew:
        assert crew.width() == 1
        assert crew.backend is not None
        machines = [machine for _, machine in each(machine_of, items, crew) if isinstance(machine, tuple)]
    assert len(machines) == len(items)
    assert len({pid for pid, _ in machines}) == 1
    assert all(gib < 1.6 for _, gib in machines)  # Dask lets it begin nothing at 80 % of its limit
    assert any("workers of GPU=1 compute on cpu: PyTorch finds no GPU" in line for line in caplog.messages) == (
        crew.backend.device != "cuda"
    )
    with join_cluster(scheduler, tmp_path, is_written=True, device="cpu") as crew:
        assert crew.width() == 3
