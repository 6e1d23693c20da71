"""A Dask cluster as a crew: joined, examined, and refused where it is not safe. The only door to distributed."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import chdir, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from autoseg.cluster_members import GPU, JOIN_S, ClusterError, Members, Site, gone, require_safe
from autoseg.digests import code_digest
from autoseg.files import write_text
from autoseg.json_file import JsonError, read_json
from autoseg.machine import memory_limited_to
from autoseg.pool import Crew, Report, call_each
from autoseg.processes import WorkerLostError
from autoseg.version import VERSION

logger = logging.getLogger(__name__)
TASK_S = 0.25  # that a task should take: sending one takes some 10 ms
MORE_MEMORY = "start workers with more, by --memory-limit, or fewer of them"
KILLED = f"its worker on the cluster was killed again and again, most likely for lack of memory; {MORE_MEMORY}"
PAUSED_AT = 0.8  # of its memory limit: distributed.worker.memory.pause


def work_at(site: Site, function: Callable[[Any], Any], items: Sequence[Any]) -> Report[Any]:
    """Do a task where a worker is, which may have come later than the others were examined."""
    _require_alike_once(site)
    with chdir(site.folder), threadpool_limits(limits=1), memory_limited_to(_limit_bytes()), _heard() as warnings:
        report = call_each(function, items, MORE_MEMORY)
    return replace(report, warnings=tuple(warnings))


def _limit_bytes() -> float:
    """Return how much memory Dask lets this worker have before it begins nothing more; infinity without a limit."""
    try:
        from distributed import get_worker

        limit: int | None = get_worker().memory_manager.memory_limit
    except (ImportError, ValueError):  # this is no worker
        limit = None
    return PAUSED_AT * limit if limit else float("inf")


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
def join_cluster(name: str, shared: Path, is_written: bool, device: str | None = None) -> Iterator[Crew]:
    """Give the workers of a Dask cluster. Where they are to have a GPU, those that are marked by it do it alone.

    Args:
        name: The scheduler's address, or the file that it has written its address to.
        shared: What all workers must see.
        is_written: Whether it is a folder that is written to: then a new file in it must be seen, else itself.
        device: As --device has it, on which each of them is to compute; None: no network does.

    Raises:
        ClusterError: If distributed is not installed, the cluster cannot be joined or is not safe, or a worker is not
            fit; while it works, if no worker is left.
    """
    distributed = _distributed()
    with _client(distributed, name) as client, _token(shared, is_written) as token:
        members = Members(client, name, Site(os.getcwd(), os.path.relpath(token), VERSION, code_digest("."), device))
        members.require_fit()
        site, backend = members.site, members.site.backend
        if members.resources and backend is not None and backend.device != "cuda":
            logger.warning(
                "--cluster %s: workers of %s=1 compute on %s: PyTorch finds no GPU", name, GPU, backend.device
            )
        executor = client.get_executor(pure=False, resources=members.resources)

        def submit(function: Callable[[Any], Any], items: Sequence[Any]) -> Future[Any]:
            return _named(executor.submit(work_at, site, function, tuple(items)), distributed.KilledWorker, name)

        yield Crew(submit=submit, width=members.count, examine=members.require_some, task_s=TASK_S, backend=backend)


def _client(distributed: Any, name: str) -> Any:
    """Return a client of a scheduler that is safe, by its name as of `join_cluster`."""
    address = _address_of(name)
    require_safe(address, "the scheduler")
    _require_certificates(distributed, name, address)
    try:
        return distributed.Client(address, timeout=JOIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        way_out = "start one by `dask scheduler`"
        raise ClusterError(f"--cluster {name}: no scheduler answers at {address}; {way_out}") from error


def _require_certificates(distributed: Any, name: str, address: str) -> None:
    """Refuse (ClusterError) an address with which distributed would not speak, as of its settings; it says so late."""
    way_out = "say in ~/.config/dask/distributed.yaml which certificates to use, as docs/scaling.md shows"
    try:
        how = distributed.Security().get_connection_args("client")
    except OSError as error:
        raise ClusterError(f"--cluster {name}: a certificate cannot be read ({error}); {way_out}") from error
    if address.startswith("tls:"):
        if how["ssl_context"] is None:
            raise ClusterError(f"--cluster {name}: {address} asks for certificates, and none is named; {way_out}")
    elif how["require_encryption"]:
        way_out = "start it with --protocol tls"
        raise ClusterError(f"--cluster {name}: distributed.yaml requires encryption, {address} has none; {way_out}")


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


def _named(theirs: Future[Any], killed: type[Exception], name: str) -> Future[Any]:
    """Return a future whose failures are autoseg's own errors."""
    ours: Future[Any] = Future()

    def pass_on(done: Future[Any]) -> None:
        if not ours.set_running_or_notify_cancel():
            return
        if done.cancelled():
            ours.set_exception(ClusterError(gone(name)))
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
