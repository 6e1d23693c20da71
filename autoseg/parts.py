"""Parts: what one call of several takes, as each task of an array job does: a share of the cases, or some folds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from autoseg.locks import NAME, is_held, lock

LOOK_S = 5.0  # for another part that looks, too, whether the whole is locked
SHARE_LOCK = f"{NAME}.*-*"  # of a folder, in it


@dataclass(frozen=True)
class Part:
    """One of several calls that share the cases."""

    number: int  # from 1
    of: int

    def __str__(self) -> str:
        """Return it as the command line has it."""
        return f"{self.number}/{self.of}"

    @property
    def option(self) -> str:
        """What asks for it on the command line."""
        return f"--part {self}"

    @property
    def locks(self) -> tuple[str, ...]:
        """The names of its locks: what kind of share it is, and which."""
        return (f"part-{self.number}-of-{self.of}",)

    def share(self, names: Iterable[str]) -> frozenset[str]:
        """Return the names that are this part's: of all, in order, every `of`-th.

        >>> sorted(Part(2, 3).share(["e", "d", "c", "b", "a"]))
        ['b', 'e']
        """
        return frozenset(sorted(names)[self.number - 1 :: self.of])


@dataclass(frozen=True)
class Folds:
    """The folds that one call of several trains."""

    numbers: tuple[int, ...]

    @property
    def option(self) -> str:
        """What asks for them on the command line."""
        return " ".join(f"--fold {number}" for number in self.numbers)

    @property
    def locks(self) -> tuple[str, ...]:
        """As `Part.locks`."""
        return tuple(f"fold-{number}" for number in sorted(set(self.numbers)))


def read_part(text: str) -> Part | None:
    """Return the part that K/N means; None where it means none, as 4/3 does."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    return Part(number, of) if 1 <= number <= of else None


def share_of(part: Part | None, names: Iterable[str]) -> frozenset[str]:
    """Return the names that are a part's; all without a part."""
    return frozenset(names) if part is None else part.share(names)


@contextmanager
def lock_part(folder: Path, what: str, part: Part | Folds | None) -> Iterator[None]:
    """Hold the lock of a folder as a whole, or, for a part, beside those of other parts of the same kind.

    Each takes its own lock first and looks for the other kinds' after, so that of two that come together one at least
    sees the other.

    Args:
        folder: That is written to.
        what: Is done meanwhile, as in "autoseg train".
        part: None: the whole.

    Raises:
        LockedError: If a part is at work and the whole is asked for, or the other way round, or this part already, or
            one of another kind.
    """
    if is_held(folder):  # as by `run`, of whose steps this is one
        yield
    elif part is not None:
        what, kind = f"{what} {part.option}", part.locks[0].partition("-")[0]
        with ExitStack() as own:
            for name in part.locks:
                own.enter_context(lock(folder, what, name=f"{NAME}.{name}"))
            others = (file.name for file in sorted(folder.glob(SHARE_LOCK)) if not file.match(f"{NAME}.{kind}-*"))
            for name in (NAME, *others):
                with lock(folder, what, LOOK_S, name):
                    pass
            yield
    else:
        with lock(folder, what), ExitStack() as parts:
            for file in sorted(folder.glob(SHARE_LOCK)):
                parts.enter_context(lock(folder, what, name=file.name))
            yield
