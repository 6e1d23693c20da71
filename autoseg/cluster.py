"""A Dask cluster as a crew: joined, examined, and refused where it is not safe. The only door to distributed."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from threadpoolctl import threadpool_limits

from autoseg.digests import code_digest
from autoseg.errors import AutosegError
from autoseg.files import write_text
from autoseg.json_file import JsonError, read_json
from autoseg.pool import Crew, Report, call_each
from autoseg.processes import WorkerLostError
from autoseg.version import VERSION

logger = logging.getLogger(__name__)
TASK_S = 0.25  # that a task should take: sending one takes some 10 ms
JOIN_S = 30.0  # how long the scheduler, and a first worker, are waited for
COUNT_S = 1.0  # how old the number of workers may be
DESERTED_S = 60.0  # without any worker the work ends
KILLED = "its worker on the cluster was killed again and again, most likely for lack of memory; give workers more"


class ClusterError(AutosegError):
    """A cluster cannot be joined, is not safe, or is not fit for the work."""


@dataclass(frozen=True)
class Site:
    """What a worker must find as it is here, so that it does the same."""

    folder: str  # the working folder, from which paths are
    token: str  # a file that it must see
    version: str
    code: str  # digest of all modules

    def require_alike(self) -> None:
        """Refuse to work where something differs.

        Raises:
            ClusterError: Then; half a sentence that begins with what the worker does.
        """
        if (VERSION, code_digest(".")) != (self.version, self.code):
            code = ", with other code" if self.version == VERSION else ""
            raise ClusterError(f"runs autoseg {VERSION}{code}, here it is {self.version}; install the same there")
        if not os.path.isdir(self.folder) or not os.path.exists(os.path.join(self.folder, self.token)):
            raise ClusterError(
                f"does not see {os.path.join(self.folder, self.token)}; all machines must see the files at the same "
                "path, as on a network disk"
            )


def work_at(site: Site, function: Callable[[Any], Any], items: Sequence[Any]) -> Report[Any]:
    """Do a task where a worker is, which may have come later than the others were examined."""
    _require_alike_once(site)
    with chdir(site.folder), threadpool_limits(limits=1), _heard() as warnings:
        report = call_each(function, items)
    return replace(report, warnings=tuple(warnings))


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Give a list that takes the warnings of autoseg, which a worker tells nobody."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger("autoseg")
    root.addHandler(handler)
    try:
        yield lines
    finally:
        root.removeHandler(handler)


@cache
def _require_alike_once(site: Site) -> None:
    try:
        site.require_alike()
    except ClusterError as error:
        raise ClusterError(f"a worker of the cluster {error}") from None


@contextmanager
def join_cluster(name: str, shared: Path, is_written: bool) -> Iterator[Crew]:
    """Give the workers of a Dask cluster.

    Args:
        name: The scheduler's address, or the file that it has written its address to.
        shared: What all workers must see.
        is_written: Whether it is a folder that is written to: then a new file in it must be seen, else itself.

    Raises:
        ClusterError: If distributed is not installed, the cluster cannot be joined or is not safe, or a worker is not
            fit; while it works, if no worker is left.
    """
    distributed = _distributed()
    address = _address_of(name)
    require_safe(address, "the scheduler")
    try:
        client = distributed.Client(address, timeout=JOIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        way_out = "start one by `dask scheduler`"
        raise ClusterError(f"--cluster {name}: no scheduler answers at {address}; {way_out}") from error
    except (TypeError, RuntimeError) as error:  # by which distributed refuses to speak TLS, or not to
        way_out = "say in ~/.config/dask/distributed.yaml which certificates to use, as docs/scaling.md shows"
        raise ClusterError(f"--cluster {name}: {error}; {way_out}") from error
    with client, _token(shared, is_written) as token:
        site = Site(os.getcwd(), os.path.relpath(token), VERSION, code_digest("."))
        members = _Members(client, name, site)
        members.require_fit()
        executor = client.get_executor(pure=False)

        def submit(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
            return _named(executor.submit(work_at, site, function, tuple(items)), distributed.KilledWorker, name)

        yield Crew(submit=submit, width=members.count, examine=members.require_some, task_s=TASK_S)


def _distributed() -> Any:
    """Return the library.

    Raises:
        ClusterError: If it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise ClusterError("--cluster: needs distributed; pip install '.[cluster]'") from error
    return distributed


def _address_of(name: str) -> str:
    """Return the scheduler's address, read from its file where it is one."""
    if not name.endswith(".json"):
        return name if "://" in name else f"tcp://{name}"
    try:
        address = read_json(Path(name), dict).get("address")
    except JsonError as error:
        raise ClusterError(f"--cluster {error}") from error
    except OSError as error:
        way_out = "`dask scheduler --scheduler-file FILE` writes it"
        raise ClusterError(f"--cluster {name}: {error.strerror}; {way_out}") from error
    if not isinstance(address, str):
        raise ClusterError(f"--cluster {name}: names no address; give the file that the scheduler writes")
    return address


def require_safe(address: str, whose: str) -> None:
    """Refuse an address at which others could have programs run, as messages of a cluster hold code.

    Raises:
        ClusterError: If it is not of this machine alone and asks for no certificate.
    """
    parts = urlsplit(address)
    if parts.scheme == "tls":
        return
    try:
        is_local = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        is_local = False
    if parts.scheme != "tcp" or not is_local:
        raise ClusterError(
            f"{whose} listens at {address}, where anyone who reaches it can run programs as you; use certificates "
            "(tls://), or let all listen at 127.0.0.1, on a machine that is yours alone"
        )


@contextmanager
def _token(shared: Path, is_written: bool) -> Iterator[Path]:
    if not is_written:
        yield shared
        return
    missing = [folder for folder in (shared, *shared.parents) if not folder.exists()]
    token = shared / f".cluster-{secrets.token_hex(8)}"
    try:
        write_text(token, "all workers must see this file\n")
        yield token
    finally:
        token.unlink(missing_ok=True)
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


class _Members:
    """The workers of a cluster, which come and go."""

    def __init__(self, client: Any, name: str, site: Site) -> None:
        self._client, self._name, self._site = client, name, site
        self._fit: set[str] = set()  # addresses
        self._seen = time.monotonic()  # when there was one last
        self._workers, self._asked = 0, 0.0

    def count(self) -> int:
        """Return how many there are, as of COUNT_S ago at most; those that have come since are examined.

        Raises:
            ClusterError: If the scheduler is gone, or one of them is not fit.
        """
        if time.monotonic() - self._asked > COUNT_S:
            try:
                threads = self._client.nthreads()
                self._examine({address: n for address, n in sorted(threads.items()) if address not in self._fit})
            except OSError as error:
                raise ClusterError(_gone(self._name)) from error
            self._workers, self._asked = len(threads), time.monotonic()
            if threads:
                self._seen = self._asked
        return self._workers

    def require_some(self) -> None:
        """Refuse (ClusterError) to wait for longer where there was none for DESERTED_S."""
        if not self.count() and time.monotonic() - self._seen > DESERTED_S:
            way_out = "start some, then run the same command again"
            raise ClusterError(f"--cluster {self._name}: has no worker any more; {way_out}")

    def require_fit(self) -> None:
        """Refuse a cluster without workers, or one of whose workers is not safe or not alike.

        Raises:
            ClusterError: Naming the first of them.
        """
        try:
            self._client.wait_for_workers(1, timeout=JOIN_S)
        except TimeoutError as error:
            way_out = "start some by `dask worker ADDRESS --nthreads 1`"
            raise ClusterError(f"--cluster {self._name}: has no worker; {way_out}") from error
        require_safe(self._client.scheduler_info()["address"], f"--cluster {self._name}: the scheduler")
        self.count()

    def _examine(self, came: Mapping[str, int]) -> None:
        """Refuse a worker that is not safe or not alike, of those that came: addresses, and threads of each."""
        for address, threads in came.items():
            require_safe(address, f"--cluster {self._name}: a worker")
            if threads != 1:
                way_out = "start it with --nthreads 1, and --nworkers for more processes"
                raise ClusterError(f"--cluster {self._name}: worker {address} has {threads} threads; {way_out}")
        looks = self._client.run(_look(self._site), workers=list(came), on_error="return") if came else {}
        for address, lack in sorted(looks.items()):
            if isinstance(lack, str):
                raise ClusterError(f"--cluster {self._name}: worker {address} {lack}")
            if lack is None:  # else it has gone before it could look
                self._fit.add(address)


def _look(site: Site) -> Callable[[], str | None]:
    """Return what has a worker look at itself. It is sent as code, as a worker may know no such module."""
    about = (site.folder, site.token, site.version, site.code)

    def look() -> str | None:
        try:
            from autoseg.cluster import ClusterError, Site
        except ImportError:
            return "has no autoseg, or an older one; install the same there"
        try:
            Site(*about).require_alike()
        except ClusterError as error:
            return str(error)
        return None

    return look


def _gone(name: str) -> str:
    return f"--cluster {name}: the scheduler is gone; start it, then run the same command again: what was done stays"


def _named(theirs: Future[Any], killed: type[Exception], name: str) -> Future[Any]:
    """Return a future whose failures are autoseg's own errors."""
    ours: Future[Any] = Future()

    def pass_on(done: Future[Any]) -> None:
        if not ours.set_running_or_notify_cancel():
            return
        if done.cancelled():
            ours.set_exception(ClusterError(_gone(name)))
            return
        error = done.exception()
        if error is None:
            for line in done.result().warnings:
                logger.warning("%s", line)
            ours.set_result(done.result())
        elif isinstance(error, killed):
            ours.set_exception(WorkerLostError(KILLED))
        else:
            ours.set_exception(error)

    def pass_back(done: Future[Any]) -> None:
        if done.cancelled():
            theirs.cancel()

    theirs.add_done_callback(pass_on)
    ours.add_done_callback(pass_back)
    return ours
