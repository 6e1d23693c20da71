"""Tests of autoseg.report.methods: the plan in the words of a paper."""

from __future__ import annotations

from made import fingerprint, plan
from two_stages import FIRST, second

from autoseg.dataset.split import Split
from autoseg.labels import Label
from autoseg.network.build import NETWORKS
from autoseg.network.losses import LOSSES
from autoseg.plan import AugmentationPlan, LossPlan
from autoseg.report import methods as module
from autoseg.report.methods import Facts, methods, methods_text

SPLIT = Split(training=("a", "b"), validation=("c",), testing=("d",))


def test_numbers_are_those_of_the_plan() -> None:
    made = plan()
    text = methods_text(methods(made, fingerprint((10, 20, 30), (5.0, 1.0, 1.0)), [SPLIT], Facts(iterations=123)))
    assert "2 for training, 1 for validation, 1 for testing" in text
    assert "trained for 123 iterations" in text
    assert f"learning rate of {made.learning_rate:g}" in text
    assert " × ".join(map(str, made.crop_size)) in text
    assert "clipped to -100 to 300 HU" in text.replace("−", "-")


def test_what_the_dataset_says_is_in_the_text_and_the_rest_in_brackets() -> None:
    data = fingerprint((10, 20, 30), (5.0, 1.0, 1.0))
    text = methods(plan(), data, [], Facts(said={"reference": "Vanderbilt.", "annotators": "two readers"}))["Data"]
    assert "Source: Vanderbilt. Annotators: two readers." in text
    assert text.endswith("[Inclusion and exclusion, Acquisition, Reference standard.]")


def test_what_is_not_known_is_not_said() -> None:
    paragraphs = methods(plan(), None, (), Facts())
    assert {"Data", "Partitions"}.isdisjoint(paragraphs)
    assert f"trained for {plan().iterations} iteration" in paragraphs["Training"]
    assert "[by a rule of your own" in methods(plan(), None, [SPLIT], Facts(is_drawn=False))["Partitions"]


def test_every_network_has_its_words() -> None:
    assert set(module.NETWORKS) == set(NETWORKS)


def test_slices_that_are_seen_one_by_one_are_told() -> None:
    in_2d = plan(flat_axis="z", augmentation=AugmentationPlan(rotation_deg=9, translation_voxels=0, bspline_voxels=0))
    paragraphs = methods(in_2d, None, [SPLIT], Facts())
    assert "A 2D U-Net" in paragraphs["Network"]
    assert "Slices along z were segmented one by one" in paragraphs["Preprocessing"]
    assert "rotation up to 9° within the slice" in paragraphs["Training"]


def test_the_loss_of_regions_is_told_with_the_cross_entropy_that_it_has() -> None:
    loss = LossPlan(kind="dice-ce", background=False, over="batch")
    disjoint = plan(loss=loss, labels=tuple(Label(value=n, name=f"organ {n}") for n in (1, 2)))
    nested = disjoint.model_copy(update={"regions": ((1, 2), (2,))})
    by_parts = nested.model_copy(update={"region_parts": True})
    texts = [methods(one, None, [SPLIT], Facts())["Training"] for one in (disjoint, nested, by_parts)]
    assert "The loss was the sum of Dice loss and cross-entropy" in texts[0]
    assert "The loss was the sum of Dice loss and binary cross-entropy" in texts[1]
    assert "The loss was the sum of Dice loss and cross-entropy of parts" in texts[2]
    assert "cross-entropy of parts" not in texts[0]
    words = [LOSSES["dice-ce"].of(one.scheme).words for one in (disjoint, nested, by_parts)]
    entropies = ("cross-entropy", "binary cross-entropy", "cross-entropy of parts")
    assert words == [f"the Dice loss, −1 at best, plus {entropy}" for entropy in entropies]
    assert LOSSES["dice"].of(nested.scheme) == LOSSES["dice"]


def test_how_regions_get_their_probabilities_is_told() -> None:
    organs = tuple(Label(value=value, name=f"organ {value}") for value in (1, 2))
    disjoint, alone = plan(labels=organs), plan(labels=organs, regions=((1, 2), (2,)))
    by_parts = alone.model_copy(update={"region_parts": True})
    texts = [methods(one, None, [SPLIT], Facts())["Network"] for one in (disjoint, alone, by_parts)]
    assert "to the softmax probabilities of background and 2 organs." in texts[0]
    assert "to the sigmoid probabilities of 2 regions, which may overlap." in texts[1]
    chosen = [methods(one, None, [SPLIT], Facts())["Inference"] for one in (disjoint, alone)]
    assert "each voxel got the most probable class" in chosen[0]
    assert "each voxel got every region that was more probable than not" in chosen[1]
    assert "to the probabilities of 2 regions, which may overlap: sums of a softmax over the parts" in texts[2]


def test_only_what_was_done_is_claimed() -> None:
    alone = methods(plan(), None, [SPLIT], Facts(has_patients=False))
    assert "permutation" not in alone["Evaluation"]
    assert "resamples of cases" in alone["Evaluation"]
    assert "[confirm that no patient has several]" in alone["Partitions"]
    assert "Postprocessing" not in alone["Inference"]
    tested = methods(plan(), None, [SPLIT], Facts(tables=("gaps", "sizes"), tolerance="2 mm", clean_up=()))
    assert "permutation tests" in tested["Evaluation"]
    assert "normalised surface Dice at 2 mm [say why" in tested["Evaluation"]
    assert "All cases of a patient stayed in one partition." in tested["Partitions"]
    assert "none, as no rule raised their Dice" in tested["Inference"]
    cleaned = methods(plan(), None, [SPLIT], Facts(clean_up=["liver: holes are filled"]))
    assert "liver: holes are filled." in cleaned["Inference"]


def test_which_crops_are_deformed_is_told() -> None:
    few = AugmentationPlan(rotation_deg=9, translation_voxels=0, bspline_voxels=0, noise=0.1, deformed_share=0.2)
    text = methods(plan(augmentation=few), None, [SPLIT], Facts())["Training"]
    assert "Augmentation: rotation up to 9° on each axis (of 20 % of the crops); Gaussian noise" in text
    end = few.model_copy(update={"deformed_share": 1.0, "undeformed_end": 0.1})
    text = methods(plan(augmentation=end), None, [SPLIT], Facts())["Training"]
    assert "rotation up to 9° on each axis (not in the last 10 % of the iterations)" in text
    none = few.model_copy(update={"deformed_share": 0.0})
    assert "rotation" not in methods(plan(augmentation=none), None, [SPLIT], Facts())["Training"]


def test_a_short_training_is_told_with_the_warm_up_that_it_had() -> None:
    short = plan().model_copy(update={"optimiser": plan().optimiser.model_copy(update={"warmup_iterations": 50})})
    text = methods(short, None, [SPLIT], Facts(iterations=23))["Training"]
    assert "trained for 23 iterations" in text
    assert " 4 iterations of warm-up" in text


def test_very_many_organs_are_counted() -> None:
    many = plan(labels=tuple(Label(value=n, name=f"organ {n}") for n in range(1, 31)))
    text = methods(many, fingerprint((10, 20, 30), (5.0, 1.0, 1.0), labels=30), [], Facts())["Data"]
    assert "Segmented: 30 organs [list them" in text


def test_a_second_stage_is_described_where_there_is_one() -> None:
    assert "Second stage" not in methods(FIRST, None, [], Facts())
    text = methods(FIRST.model_copy(update={"finer": second()}), None, [], Facts())["Second stage"]
    assert "looked again at vein, on a grid of spacings coarser by 1 × 1 × 1" in text


def test_a_second_stage_is_told_as_it_was_trained() -> None:
    both = FIRST.model_copy(update={"finer": second()})
    facts = Facts(iterations=9, second_iterations=1, is_displaced=True)
    text = methods(both, None, [SPLIT], facts)["Second stage"]
    assert "it was trained for 1 iteration." in text
    assert "chosen to hold them whole in the validation cases" in text
    assert "displaced at random" in text
    unwatched = Split(training=("a", "b"), validation=(), testing=("d",))
    text = methods(both, None, [unwatched], Facts())["Second stage"]
    assert f"it was trained for {second().iterations} iterations" in text
    assert "validation" not in text
    assert "displaced" not in text


def test_without_a_validation_case_nothing_is_said_to_be_chosen_on_them() -> None:
    none = Split(training=("a", "b", "c"), validation=(), testing=("d",))
    paragraphs = methods(plan(channels=("non-contrast CT",)), None, [none], Facts(clean_up=()))
    assert "validation (tuning)" not in paragraphs["Partitions"]
    assert "No postprocessing was chosen, as no case validates." in paragraphs["Inference"]
    assert "non-contrast CT was clipped to −100 to 300 HU" in paragraphs["Preprocessing"]
    assert "none, as no rule raised their Dice" in methods(plan(), None, [SPLIT], Facts(clean_up=()))["Inference"]
