"""Two verbs at once end as one after the other; the long form is `python -m tests.faults pairs`."""

from __future__ import annotations

import pytest
from faults.outcome import Tally
from faults.pairs import together
from faults.workplace import Workplace


@pytest.mark.parametrize(("verbs", "done"), [(["train", "evaluate"], "train"), (["predict", "predict"], "export")])
def test_two_at_once_end_as_one_after_the_other(verbs: list[str], done: str, place: Workplace) -> None:
    tally = Tally(" and ".join(verbs))
    together(place, place.after(done), verbs, 0.1, {}, tally)
    assert tally.count == 1
    assert tally.wrong == []
