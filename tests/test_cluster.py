"""Tests of autoseg.cluster: which clusters are refused, and that their workers do the same as this machine's."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoseg import cluster
from autoseg.cluster import ClusterError, Site, join_cluster, require_safe, work_at
from autoseg.digests import code_digest
from autoseg.errors import VolumeError
from autoseg.pool import Crew, each
from autoseg.version import VERSION

END_S = 60.0  # for programs to end on a busy machine


def site(folder: Path, **others: str) -> Site:
    about = {"folder": str(folder), "token": "token", "version": VERSION, "code": code_digest(".")}
    return Site(**(about | others))


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


def test_a_task_is_done_in_the_folder_from_which_paths_are(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    before = Path.cwd()
    report = work_at(site(tmp_path), listed, ["."])
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


class Workers:
    """A client of a scheduler whose workers are given; what each finds when it looks at itself is in `lacks`."""

    def __init__(self, **lacks: str | Exception | None) -> None:
        self.threads = {"tcp://127.0.0.1:1": 1}
        self.lacks = {f"tcp://127.0.0.1:{name[1:]}": lack for name, lack in lacks.items()}

    def nthreads(self) -> dict[str, int]:
        return dict(self.threads)

    def run(self, look: object, workers: list[str], on_error: str) -> dict[str, str | Exception | None]:
        return {address: self.lacks.get(address) for address in workers}


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
    monkeypatch.setattr(cluster, "COUNT_S", -1.0)
    client = Workers(_1=None, _3="has no autoseg", _4=OSError("gone"))
    members = cluster._Members(client, "a.json", site(tmp_path))
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
    members = cluster._Members(client, "a.json", site(tmp_path))
    clock[0] += 600.0  # of short tasks
    assert members.count() == 1
    client.threads.clear()
    clock[0] += cluster.DESERTED_S - 1.0
    members.require_some()
    clock[0] += 2.0
    with pytest.raises(ClusterError, match="has no worker any more; start some"):
        members.require_some()


def test_certificates_that_nobody_named_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TypeError("TLS expects a `ssl_context` argument")

    monkeypatch.setattr(cluster, "_distributed", lambda: SimpleNamespace(Client=refuse))
    with (
        pytest.raises(ClusterError, match=r"tls://a:1: TLS expects .*; say in ~/\.config/dask/distributed\.yaml which"),
        join_cluster("tls://a:1", tmp_path, is_written=True),
    ):
        pass


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler on this machine with two workers."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder = tmp_path_factory.mktemp("dask")
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    host, port = address.split(":")
    serve = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", host, "--port", port, "--no-dashboard"]
    work = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        f"tcp://{address}",
        "--nthreads",
        "1",
        "--no-dashboard",
    ]
    work += ["--nworkers", "2", "--local-directory", str(folder), "--memory-limit", "0"]
    with (folder / "log").open("w") as log:
        programs = [
            subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder) for words in (serve, work)
        ]
    yield f"tcp://{address}"
    for program in reversed(programs):
        program.terminate()
        program.wait(END_S)


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
