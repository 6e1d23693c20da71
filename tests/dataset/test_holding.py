"""Tests of autoseg.dataset.holding: what facts lose is had of it, and they become small."""

from __future__ import annotations

import errno
import io
import pickle
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from autoseg.dataset.facts import CaseFacts, case_facts
from autoseg.dataset.holding import Holding
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import Volume
from autoseg.labels import Label, LabelScheme

SCHEME = LabelScheme(labels=(Label(value=1, name="liver"), Label(value=2, name="spleen")))


def facts_of(number: int, zero: float = 0.0) -> CaseFacts:
    """Facts of a case of two channels and two organs, as a worker sends them."""
    draw = np.random.default_rng(number)
    place = (float(draw.normal()), float(draw.normal()), zero)
    grid, stored = (Grid(shape=(8, 8, 8), spacing_mm=(3.0, 2.0, 2.0), origin_mm=place) for _ in range(2))
    label = np.zeros((8, 8, 8), np.int32)
    label[1:4, 2:5, 2:6], label[5:7, 2:5, 2:6] = 1, 2
    image = Volume(array=draw.normal(size=(2, 8, 8, 8)).astype(np.float32), grid=grid, stored=stored)
    facts: CaseFacts = pickle.loads(pickle.dumps(case_facts(f"case {number}", image, label, SCHEME, 100)))
    return facts


def test_thumbnails_are_those_that_the_facts_had_and_all_else_stays() -> None:
    every = [facts_of(number) for number in range(5)]
    with Holding() as holding:
        lean = [holding.lean(facts.case, facts) for facts in every]
        for before, after in zip(every, lean, strict=True):
            assert (before.grid, before.stored, before.organs) == (after.grid, after.stored, after.organs)
            for channel in (1, 0):
                assert list(np.asarray(holding.thumbnail(after, channel))) == list(before.channels[channel].thumbnail)
                assert len(after.channels[channel].thumbnail) == 0


def test_a_zero_keeps_its_sign() -> None:
    with Holding() as holding:
        origins = [holding.lean("case 0", facts_of(0, zero)).grid.origin_mm[2] for zero in (0.0, -0.0)]
    assert [str(origin) for origin in origins] == ["0.0", "-0.0"]


def test_without_a_place_for_the_file_thumbnails_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_place(**_: object) -> NoReturn:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "TemporaryFile", no_place)
    facts = facts_of(0)
    with Holding() as holding:
        lean = holding.lean(facts.case, facts)
        assert holding.thumbnail(lean, 1) == facts.channels[1].thumbnail


class FullDisk(io.FileIO):
    """A file that takes the first write, half of the second, nothing of the third, and the others."""

    writes = 0

    def write(self, content: Any) -> int:
        """Write as much as there is room for."""
        self.writes += 1
        if self.writes == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content[: len(content) // 2] if self.writes == 2 else content)


def test_thumbnails_stay_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_full_disk(buffering: int = -1, **_: object) -> io.FileIO | io.BufferedRandom:
        file = FullDisk(tmp_path / "thumbnails", "w+")
        return file if buffering == 0 else io.BufferedRandom(file)

    monkeypatch.setattr(tempfile, "TemporaryFile", on_full_disk)
    every = [facts_of(number) for number in range(4)]
    with Holding() as holding:
        lean = [holding.lean(facts.case, facts) for facts in every]
        for before, after in zip(every, lean, strict=True):
            for channel in (0, 1):
                assert list(np.asarray(holding.thumbnail(after, channel))) == list(before.channels[channel].thumbnail)
    assert [len(facts.channels[0].thumbnail) > 0 for facts in lean] == [False, True, True, False]


def test_a_case_of_two_channels_takes_half_of_the_memory() -> None:
    with Holding() as holding:
        held = [holding.lean(f"case {number}", facts_of(number)) for number in range(3)]  # what cases have in common
        tracemalloc.start()
        try:
            held += [holding.lean(f"case {number}", facts_of(number)) for number in range(40)]
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after / 40 < 5000, len(held)  # whole they take 8,500
