"""Tests of autoseg.training.watch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import pytest

from autoseg.training.watch import BAD_IN_A_ROW, WAIT_WINDOW, DiceWatch, StepWatch

NAN = math.nan


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("autoseg")
    before, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.WARNING, "autoseg"):
        yield caplog
    logger.propagate = before


def watched(losses: list[float], norm: float = 1.0) -> StepWatch:
    watch = StepWatch(workers=1, least_loss=-1.0)
    for number, loss in enumerate(losses, start=1):
        watch.add(number, loss, norm, 0.0, ["case1"])
    return watch


@pytest.mark.parametrize(
    ("losses", "exploded"),
    [
        ([1.0] * 100, False),
        ([1.0] * 20 + [NAN] * (BAD_IN_A_ROW - 1), False),
        ([1.0] * 20 + [NAN] * BAD_IN_A_ROW, True),
        ([1.0] * 20 + [NAN] * (BAD_IN_A_ROW - 1) + [1.0] + [NAN], False),
        ([1.0] * 20 + [20.1] * BAD_IN_A_ROW, True),  # ten times as far from -1 as at first
        ([1.0] * 20 + [18.9] * BAD_IN_A_ROW, False),
        ([-0.2] * 20 + [-0.9] * 100 + [-0.1] * 100, False),
    ],
)
def test_only_many_bad_losses_in_a_row_are_an_explosion(losses: list[float], exploded: bool) -> None:
    assert watched(losses).has_exploded == exploded


def test_an_explosion_is_measured_from_the_least_value_of_the_loss() -> None:
    from_zero = StepWatch(workers=1, least_loss=0.0)
    for number, loss in enumerate([1.0] * 20 + [10.1] * BAD_IN_A_ROW):  # ten times as far from 0 as at first
        from_zero.add(number, loss, 1.0, 0.0, ["case1"])
    assert from_zero.has_exploded
    assert not watched([1.0] * 20 + [10.1] * BAD_IN_A_ROW).has_exploded  # 11.1 against 2 from -1


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 20 + [-0.85] * 30 + [0.7] * BAD_IN_A_ROW,  # far above the last ones, not above the first
        [1.0] * 20 + [NAN] * BAD_IN_A_ROW,
        [1.0] * 20 + [30.0] * BAD_IN_A_ROW,
    ],
)
@pytest.mark.parametrize("done", [5, 25, 53])
def test_a_training_that_is_continued_is_watched_as_one_that_was_not(losses: list[float], done: int) -> None:
    resumed = StepWatch(workers=1, least_loss=-1.0)
    for loss in losses[:done]:
        resumed.recall(loss, 1.0)
    for number, loss in enumerate(losses[done:], start=done):
        resumed.add(number, loss, 1.0, 0.0, ["case1"])
    assert resumed.has_exploded == watched(losses).has_exploded


def test_a_gradient_that_is_no_number_is_bad_too() -> None:
    assert watched([1.0] * BAD_IN_A_ROW, norm=math.inf).has_exploded


def test_a_training_that_was_never_good_is_known_however_short() -> None:
    assert watched([NAN] * 3).was_never_good
    assert not watched([1.0, NAN]).was_never_good
    assert not watched([]).was_never_good


def test_a_bad_iteration_is_said_once_with_its_cases(heard: pytest.LogCaptureFixture) -> None:
    watched([1.0, NAN, NAN])
    assert len(heard.messages) == 1
    assert "iteration 2: the loss is nan" in heard.text
    assert "case1" in heard.text


@pytest.mark.parametrize(("share", "said"), [(0.04, 0), (0.06, 1)])
def test_waiting_is_said_once_where_it_is_worth_a_word(
    share: float, said: int, heard: pytest.LogCaptureFixture
) -> None:
    watch = StepWatch(workers=3, least_loss=-1.0)
    for number in range(3 * WAIT_WINDOW):
        watch.add(number, 1.0, 1.0, share, [])
    assert len(heard.messages) == said
    assert not said or "--workers (now 3)" in heard.text


def test_patience_counts_examinations_without_a_better_mean() -> None:
    watch = DiceWatch(patience=2)
    enough = []
    for number, value in enumerate([0.5, 0.6, 0.6, 0.7, 0.1, 0.69]):
        watch.add(number, {"liver": value, "absent": NAN})
        enough.append(watch.is_enough)
    assert enough == [False, False, False, False, False, True]


def test_without_patience_it_is_never_enough() -> None:
    watch = DiceWatch(None)
    for number in range(50):
        watch.add(number, {"liver": 0.5})
    assert not watch.is_enough


def test_an_organ_that_is_lost_is_said_once_and_again_after_it_came_back(heard: pytest.LogCaptureFixture) -> None:
    watch = DiceWatch(None)
    for number, value in enumerate([0.0, 0.5, 0.0, 0.0, 0.4, 0.0]):
        watch.add(number, {"liver": 0.9, "vein": value})
    assert len(heard.messages) == 2
    assert "vein is no longer found" in heard.messages[0]


def test_what_a_log_holds_of_a_lost_organ_is_not_said_again(heard: pytest.LogCaptureFixture) -> None:
    watch = DiceWatch(None)
    for value in (0.5, 0.0):
        watch.recall({"vein": value})
    watch.add(3, {"vein": 0.0})
    assert not heard.messages


def test_the_last_examination_is_kept() -> None:
    watch = DiceWatch(None)
    watch.add(1, {"liver": 0.5, "vein": NAN})
    watch.add(2, {"liver": NAN})  # nothing measured: the one before stays
    assert watch.last["liver"] == 0.5


@pytest.mark.parametrize(
    ("losses", "calm"),
    [
        ([1.0] * 20, True),
        ([1.0] * 20 + [NAN], True),  # left out: the weights are as before
        ([1.0] * 20 + [30.0], False),
        ([1.0] * 20 + [30.0, NAN], False),
        ([1.0] * 20 + [30.0, NAN, 1.0], True),
    ],
)
def test_weights_that_an_explosion_may_have_moved_are_not_to_be_kept(losses: list[float], calm: bool) -> None:
    assert watched(losses).is_calm is calm
