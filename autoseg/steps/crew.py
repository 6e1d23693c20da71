"""Who does the work on many cases: processes of this machine, or a cluster that the user names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoseg.machine import usable_cores
from autoseg.pool import Crew


@contextmanager
def crew_of(cluster: str | None, jobs: int | None, shared: Path, is_written: bool = True) -> Iterator[int | Crew]:
    """Give who works: the workers of a cluster, or the number of processes here.

    Args:
        cluster: As the user names it; None: this machine.
        jobs: Processes of this machine; None: one a core.
        shared: What the workers of a cluster must see: a folder or file.
        is_written: Whether it is a folder that is written to.

    Raises:
        ClusterError: If the cluster cannot be joined, is not safe, or not fit.
    """
    with cluster_of(cluster, shared, is_written) as crew:
        yield crew or jobs or usable_cores()


@contextmanager
def cluster_of(
    cluster: str | None, shared: Path, is_written: bool = True, device: str | None = None
) -> Iterator[Crew | None]:
    """Give the workers of a cluster, None without one; arguments and errors as of `crew_of`.

    Args:
        cluster: As of `crew_of`.
        shared: As of `crew_of`.
        is_written: As of `crew_of`.
        device: On which the workers' networks compute, as --device has it; None: none does.
    """
    if cluster is None:
        yield None
        return
    from autoseg.cluster import join_cluster

    with join_cluster(cluster, shared, is_written, device) as crew:
        yield crew
