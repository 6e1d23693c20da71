"""Whatever write or read fails is one line, and the work goes on; the long form is `python -m tests.faults disk`."""

from __future__ import annotations

import random

import pytest
from faults.disk import FAULTS, fail_once, name_of
from faults.outcome import Tally
from faults.workplace import Workplace


@pytest.mark.parametrize(("fault", "verb"), list(zip(FAULTS, 3 * ("preprocess", "predict"), strict=True)))
def test_a_write_or_read_that_fails_is_one_line(
    fault: tuple[int, str, bool], verb: str, shimmed: Workplace, draw: random.Random
) -> None:
    tally = Tally(name_of(*fault))
    shimmed.after(verb)
    fail_once(shimmed, verb, draw.randint(1, shimmed.operations[verb][fault[1]]), fault, tally)
    assert tally.count == 1
    assert tally.wrong == []
