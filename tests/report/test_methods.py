"""Tests of autoseg.report.methods: the plan in the words of a paper."""

from __future__ import annotations

from made import fingerprint, plan

from autoseg.dataset.split import Split
from autoseg.network.build import NETWORKS
from autoseg.network.losses import LOSSES
from autoseg.report import methods as module
from autoseg.report.methods import methods, methods_text

SPLIT = Split(training=("a", "b"), validation=("c",), testing=("d",))


def test_numbers_are_those_of_the_plan() -> None:
    made = plan()
    text = methods_text(methods(made, fingerprint((10, 20, 30), (5.0, 1.0, 1.0)), [SPLIT], iterations=123))
    assert "2 for training, 1 for validation, 1 for testing" in text
    assert "trained for 123 iterations" in text
    assert f"learning rate of {made.learning_rate:g}" in text
    assert " × ".join(map(str, made.crop_size)) in text
    assert "clipped to -100 to 300 HU" in text.replace("−", "-")


def test_what_the_dataset_says_is_in_the_text_and_the_rest_in_brackets() -> None:
    data = fingerprint((10, 20, 30), (5.0, 1.0, 1.0))
    text = methods(plan(), data, [], 1, said={"reference": "Vanderbilt.", "annotators": "two readers"})["Data"]
    assert "Source: Vanderbilt. Annotators: two readers." in text
    assert text.endswith("[Inclusion and exclusion, Acquisition, Reference standard.]")


def test_what_is_not_known_is_not_said() -> None:
    paragraphs = methods(plan(), None, (), iterations=0)
    assert {"Data", "Partitions"}.isdisjoint(paragraphs)
    assert f"trained for {plan().iterations} iteration" in paragraphs["Training"]
    assert "[by a rule of your own" in methods(plan(), None, [SPLIT], 0, is_drawn=False)["Partitions"]


def test_every_network_and_loss_has_its_words() -> None:
    assert set(module.NETWORKS) == set(NETWORKS)
    assert set(module.LOSSES) == set(LOSSES)
