"""Parts: the share of the cases that one call of several takes, as each task of an array job does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoseg.locks import NAME, is_held, lock

LOOK_S = 5.0  # for another part that looks, too, whether the whole is locked
PART_LOCK = f"{NAME}.part-*"  # of a folder, in it


@dataclass(frozen=True)
class Part:
    """One of several calls that share the cases."""

    number: int  # from 1
    of: int

    def __str__(self) -> str:
        """Return it as the command line has it."""
        return f"{self.number}/{self.of}"

    def share(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names that are this part's: of all, in order, every `of`-th.

        >>> sorted(Part(2, 3).share(["e", "d", "c", "b", "a"]))
        ['b', 'e']
        """
        return frozenset(sorted(names)[self.number - 1 :: self.of])


def read_part(text: str) -> Part | None:
    """Return the part that K/N means; None where it means none, as 4/3 does."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    return Part(number, of) if 1 <= number <= of else None


def share_of(part: Part | None, names: Iterable[str]) -> frozenset[str]:
    """Return the names that are a part's; all without a part."""
    return frozenset(names) if part is None else part.share(names)


@contextmanager
def lock_part(folder: Path, what: str, part: Part | None) -> Iterator[None]:
    """Hold the lock of a folder as a whole, or, for a part, beside those of other parts.

    Each takes its own lock first and looks for the other kind's after, so that of two that come together one at least
    sees the other.

    Args:
        folder: That is written to.
        what: Is done meanwhile, as in "autoseg train".
        part: None: the whole.

    Raises:
        LockedError: If a part is at work and the whole is asked for, or the other way round, or this part already.
    """
    if is_held(folder):  # as by `run`, of whose steps this is one
        yield
    elif part is not None:
        with lock(folder, f"{what} --part {part}", name=PART_LOCK.replace("*", f"{part.number}-of-{part.of}")):
            with lock(folder, f"{what} --part {part}", LOOK_S):
                pass
            yield
    else:
        with lock(folder, what), ExitStack() as parts:
            for file in sorted(folder.glob(PART_LOCK)):
                parts.enter_context(lock(folder, what, name=file.name))
            yield
