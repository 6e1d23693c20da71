"""The workers of a Dask cluster: what each must be like, and whether it is, looked at as they come."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from autoseg.digests import code_digest
from autoseg.errors import AutosegError, PlanError
from autoseg.pool import Backend
from autoseg.version import VERSION

JOIN_S = 30.0  # how long the scheduler, and a first worker, are waited for
COUNT_S = 1.0  # how old the number of workers may be
DESERTED_S = 60.0  # without any worker the work ends
GPU = "GPU"  # the resource of workers that have one: `dask worker --resources GPU=1`
ON_GPU = ("auto", "cuda")  # devices for which these do it alone
MARK = f"or mark those that are to do it by --resources {GPU}=1"


class ClusterError(AutosegError):
    """A cluster cannot be joined, is not safe, or is not fit for the work."""


@dataclass(frozen=True)
class Site:
    """What a worker must find as it is here, so that it does the same."""

    folder: str  # the working folder, from which paths are
    token: str  # a file that it must see
    version: str
    code: str  # digest of all modules
    device: str | None = None  # as --device has it; None: no network computes
    backend: Backend | None = None  # of all workers; None: not known yet

    def require_alike(self) -> Backend | None:
        """Refuse to work where something differs; return where this process computes, if it is to.

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
        here = None if self.device is None else _backend_here(self.device)
        self.require_backend(here)
        return here

    def require_backend(self, backend: Backend | None) -> None:
        """Refuse (ClusterError) a worker that computes elsewhere than the others, as its files would be others."""
        if self.backend is not None and backend != self.backend:
            raise ClusterError(f"computes on {backend}, others on {self.backend}; ask for one by --device, {MARK}")


def _backend_here(device: str) -> Backend:
    from autoseg.network.device import has_fast_bfloat16, pick_device

    try:
        name = pick_device(device)
    except PlanError as error:
        raise ClusterError(f"cannot do it ({error}); leave it out, {MARK}") from error
    return Backend(name, has_fast_bfloat16(name))


@dataclass(frozen=True)
class Look:
    """What a worker has found when it looked at itself."""

    lack: str = ""  # half a sentence; empty where it is fit
    has_gpu: bool = False  # whether it is marked so
    backend: Backend | None = None


def look_here(site: Site, resources: Mapping[str, float]) -> Look:
    """Have this process, a worker, look at itself; `resources` are those that it was started with."""
    has_gpu = resources.get(GPU, 0) >= 1
    try:
        return Look(has_gpu=has_gpu, backend=site.require_alike())
    except ClusterError as error:
        return Look(str(error), has_gpu)


def _look(site: Site) -> Callable[..., Any]:
    """Return what has a worker look at itself. It is sent as code, as a worker may know no such module."""
    about = (site.folder, site.token, site.version, site.code, site.device)

    def look(dask_worker: Any) -> Any:
        try:
            from autoseg.cluster_members import Site, look_here
        except ImportError:
            return "has no autoseg, or an older one; install the same there"
        return look_here(Site(*about), dask_worker.state.total_resources)

    return look


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


def gone(name: str) -> str:
    """Return the sentence on a scheduler that is no longer there."""
    return f"--cluster {name}: the scheduler is gone; start it, then run the same command again: what was done stays"


class Members:
    """The workers of a cluster, which come and go."""

    def __init__(self, client: Any, name: str, site: Site) -> None:
        """Look at nobody yet.

        Args:
            client: Of the scheduler.
            name: By which the user knows the cluster.
            site: What workers must find; where they compute, the first of them says.
        """
        self.site = site
        self.resources: dict[str, float] = {}  # that a task asks for: a GPU, where workers are marked by it
        self._client, self._name = client, name
        self._fit: set[str] = set()  # addresses
        self._idle: set[str] = set()  # of those that get no task
        self._seen = time.monotonic()  # when one was there last
        self._workers, self._asked = 0, 0.0

    def count(self) -> int:
        """Return how many work, as of COUNT_S ago at most; those that have come since are examined.

        Raises:
            ClusterError: If the scheduler is gone, or one of them is not fit.
        """
        if time.monotonic() - self._asked > COUNT_S:
            try:
                threads = self._client.nthreads()
                known = self._fit | self._idle
                self._examine({address: n for address, n in sorted(threads.items()) if address not in known})
            except OSError as error:
                raise ClusterError(gone(self._name)) from error
            self._workers, self._asked = len(threads.keys() - self._idle), time.monotonic()
            if self._workers:
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
        answers = self._client.run(_look(self.site), workers=list(came), on_error="return") if came else {}
        looks = {address: Look(look) if isinstance(look, str) else look for address, look in sorted(answers.items())}
        looks = {address: look for address, look in looks.items() if isinstance(look, Look)}  # others are gone already
        if not self._fit and self.site.device in ON_GPU and any(look.has_gpu for look in looks.values()):
            self.resources = {GPU: 1}
        for address, look in looks.items():
            if self.resources and not look.has_gpu:
                self._idle.add(address)
            else:
                self._take(address, look)

    def _take(self, address: str, look: Look) -> None:
        """Let a worker that is fit have tasks; where they compute, the first one says.

        Raises:
            ClusterError: If it is not fit.
        """
        try:
            if look.lack:
                raise ClusterError(look.lack)
            self.site.require_backend(look.backend)
        except ClusterError as error:
            raise ClusterError(f"--cluster {self._name}: worker {address} {error}") from None
        if self.site.backend is None:
            self.site = replace(self.site, backend=look.backend)
        self._fit.add(address)
