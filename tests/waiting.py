"""What a process of a test does, which can import this file, but not the test's."""

from __future__ import annotations

from autoseg.processes import SharedFlag


def wait_for_flag(flag: SharedFlag, begun: SharedFlag) -> None:
    """Say that it begins; ask until the flag is set."""
    begun.set()
    while not flag.is_set():
        pass
