"""The cases of a second stage: what it will see of each, with the errors that the first stage makes on unseen cases.

Only the first stage of the same fold is asked: that of another fold has learnt from this fold's testing cases. It has
learnt from the training cases, so its errors on them are too small. They are made as large as on validation cases.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.data.cache import CachedCase, read_case
from autoseg.data.preprocess import plan_digest
from autoseg.dataset.load import Case
from autoseg.digests import code_digest, digest
from autoseg.files import write_text
from autoseg.inference.second_maker import FirstErrors, Maker
from autoseg.inference.stage import Stage
from autoseg.json_file import JsonError, read_json
from autoseg.plan import Plan
from autoseg.pool import Track, untracked
from autoseg.words import counted

logger = logging.getLogger(__name__)
CODE = ("inference", "data/preprocess.py", "data/cache.py", "imaging", "labels.py")  # what makes a case
NOTE = "errors.json"  # in the folder of the cases: what was measured, and from what


@dataclass(frozen=True, kw_only=True)
class SecondCases:
    """What a second stage learns from, and watches."""

    training: tuple[CachedCase, ...]
    validation: tuple[CachedCase, ...]
    margin_mm: float


def second_cases(
    first: Stage,
    weights: str,
    plan: Plan,
    training: Sequence[CachedCase],
    validation: Sequence[CachedCase],
    sources: Callable[[Sequence[str]], Mapping[str, Case]],
    folder: Path,
    track: Track = untracked,
    *,
    is_begun: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> SecondCases | None:
    """Return the cases of a fold's second stage; make those first that are not up to date. None: it was to stop.

    Those that a training has begun with stay as they are under another version of the code.

    Args:
        first: The first stage of this fold.
        weights: A digest of its weights.
        plan: Of the second stage.
        training: Cases of the first stage that it has learnt from.
        validation: Those that it has not.
        sources: Gives the dataset's cases of some ids, where they are needed.
        folder: Of the second stage's cases.
        track: Shows progress.
        is_begun: Whether a training of the second stage has begun with these cases.
        stop: Whether to stop after this case; what is made is not made again.

    Raises:
        DatasetError: As `sources` does.
        AutosegError: If an image cannot be read.
    """
    both = (*training, *validation)
    seen = [(case.content_digest, case.grid, case.stored) for case in both]
    key = digest(weights, seen, len(training), plan_digest(plan), plan.margin_mm, plan.seed)
    origin = digest([case.source_digest for case in both], code_digest(*CODE))
    known = _known(folder, key, None if is_begun else origin)
    if known is None:
        maker = Maker(first, plan, sources([case.id for case in both]), folder, digest(key, origin))
        known = _made(maker, {"key": key, "origin": origin}, training, validation, track, stop)
    if known is None:
        return None
    cases = {name: read_case(folder, name) for name in known[0]}
    sides_of = [
        tuple(found for case in side if (found := cases.get(case.id)) is not None) for side in (training, validation)
    ]
    left_out = len(training) + len(validation) - sum(map(len, sides_of))
    if left_out:
        names = ", ".join(organ.name for organ in plan.labels)
        logger.warning(
            "in %s the first stage finds nothing of %s, so the second does not learn from it",
            counted(left_out, "case"), names,
        )  # fmt: skip
    return SecondCases(training=sides_of[0], validation=sides_of[1], margin_mm=known[1])


def _made(
    maker: Maker,
    of: Mapping[str, str],
    training: Sequence[CachedCase],
    validation: Sequence[CachedCase],
    track: Track,
    stop: Callable[[], bool],
) -> tuple[list[str], float] | None:
    """Make the cases that are not made yet, and note them; return them and the margin of their boxes.

    Args:
        maker: Makes them.
        of: What the note says that they are of; errors that were measured for the same are not measured again.
        training: As of `second_cases`; and so on.
        validation: As of `second_cases`.
        track: Shows progress.
        stop: As of `second_cases`.
    """
    folder = maker.folder
    errors = read_errors(folder) if of.items() <= _noted(folder).items() else None
    if errors is None:
        if not validation:
            logger.warning(
                "no case validates, so it is not known how the first stage errs on unseen ones: the second learns from "
                "what it sees of the cases that it has learnt from, which is too good; split with validation cases"
            )
        errors = maker.errors(training, validation, track, stop)
        if errors is None:
            return None
        write_text(folder / NOTE, json.dumps({**of, **vars(errors)}, indent=1))
    sides = [(case, True) for case in training] + [(case, False) for case in validation]
    made = []
    for case, is_learnt in track(sides, "Making the second stage's cases", len(sides)):
        if stop():
            return None
        if maker.has(case) or maker.make(case, errors, is_learnt):
            made.append(case.id)
    write_text(folder / NOTE, json.dumps({**of, "cases": made, **vars(errors)}, indent=1))
    return made, errors.margin_mm


def read_errors(folder: Path) -> FirstErrors | None:
    """Return what was measured when the cases in a folder were made; None where that is not known."""
    note = _noted(folder)
    try:
        return FirstErrors(margin_mm=float(note["margin_mm"]), displacements=tuple(map(float, note["displacements"])))
    except (KeyError, TypeError, ValueError):
        return None


def _noted(folder: Path) -> dict[str, Any]:
    with suppress(OSError, JsonError):
        return read_json(folder / NOTE, dict)
    return {}


def _known(folder: Path, key: str, origin: str | None) -> tuple[list[str], float] | None:
    """Return the cases that are there, all intact, and the margin of their boxes; None where they are to be made.

    Args:
        folder: Of the cases.
        key: Of what they show.
        origin: Of the files and the code that they were made from; None: any.
    """
    note = _noted(folder)
    try:
        cases = [read_case(folder, name) for name in note["cases"]]
        if note["key"] != key or (origin is not None and note["origin"] != origin):
            return None
        if not all(case is not None and case.is_intact() for case in cases):
            return None
        return list(note["cases"]), float(note["margin_mm"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
