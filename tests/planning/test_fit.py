"""Tests of autoseg.planning.fit: what the user sets, and what measuring changes. Measurements are made up here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import made
import pytest

from autoseg.errors import PlanError
from autoseg.options import PlanOptions
from autoseg.plan import OptimiserPlan, Plan
from autoseg.planning.budget import Budget, StepCost, share_of, step_gib
from autoseg.planning.fit import SMALLEST_STEP, apply_settings, fit_plan, warn_of_time
from autoseg.planning.planner import Cost, Decision, derive_plan
from autoseg.planning.requirements import nearest_fit
from autoseg.planning.slowness import FEWEST_ITERATIONS
from autoseg.settings import with_settings

FOUND = made.fingerprint((96, 96, 96), (1.0, 1.0, 1.0), cases=100)
GPU = Budget(device="cuda", memory_gib=6.0, bfloat16=True)
CPU = Budget(device="cpu", memory_gib=20.0, bfloat16=True)
MEASURE = PlanOptions(measure=True)


def derive(budget: Budget, cost: Cost) -> Decision:
    return derive_plan(FOUND, budget, 0, cost=cost)


class Measuring:
    """Stands in for measuring: made-up GiB, None where the memory was too little.

    A step takes half a second, or what it takes at `voxels_a_second`.
    """

    def __init__(self, *gib: float | None, voxels_a_second: float = 0, others_share: float = 0) -> None:
        self.gib, self.voxels_a_second, self.others_share = gib, voxels_a_second, others_share
        self.voxels: list[int] = []  # of the step of each plan that was measured

    def __call__(self, plan: Plan, shape: object, workers: int, processes: int) -> StepCost | None:
        self.processes = processes
        gib = self.gib[len(self.voxels)]
        self.voxels.append(plan.batch_size * math.prod(plan.crop_size))
        seconds = self.voxels[-1] / self.voxels_a_second if self.voxels_a_second else 0.5
        times = {"seconds_per_iteration": seconds, "waiting_share": 0.01, "others_share": self.others_share}
        return None if gib is None else StepCost(**times, gib=gib)


def test_a_setting_that_does_not_fit_the_memory_gets_the_nearest_that_does() -> None:
    decision = derive_plan(FOUND, GPU, seed=0)
    with pytest.raises(
        PlanError, match=r"--set batch_size=500: a step would take \S+ GiB, 5.4 of the 6.0 GiB"
    ) as found:
        apply_settings(decision, FOUND, GPU, {"batch_size": "500"})
    batch = int(str(found.value).rpartition("batch_size=")[2])
    fitting, above = (with_settings(decision.plan, {"batch_size": str(n)}) for n in (batch, batch + 1))
    assert step_gib(fitting, GPU) <= GPU.step_gib < step_gib(above, GPU)


def test_a_crop_that_does_not_fit_even_alone_gets_a_smaller_one() -> None:
    plan = derive_plan(FOUND, GPU, seed=0).plan
    huge = with_settings(plan, {"crop_size": "[512,512,512]", "tile_depth": "512"})
    text = nearest_fit(huge, GPU)
    size = text.rpartition("crop_size=")[2]
    fitting = with_settings(plan, {"batch_size": "1", "crop_size": size})
    assert "--set batch_size=1" in text
    assert nearest_fit(huge, GPU, "finer.") == text.replace("--set ", "--set finer.")
    assert step_gib(fitting, GPU) <= GPU.step_gib


def test_a_step_whose_tensors_cuda_cannot_index_gets_the_nearest_that_it_can() -> None:
    big = replace(GPU, memory_gib=200.0)
    decision = derive_plan(FOUND, big, seed=0)
    settings = {"batch_size": "3", "crop_size": "[320,320,320]", "tile_depth": "320"}  # 3 × 32 × 320³ is above 2^31
    with pytest.raises(PlanError, match=r"batch_size 3, crop_size \[320, 320, 320\]: a tensor .* --set batch_size=2$"):
        apply_settings(decision, FOUND, big, settings)
    assert apply_settings(decision, FOUND, big, {**settings, "batch_size": "2"}).plan.batch_size == 2


def test_a_downsampling_that_is_set_sets_the_spacing_too() -> None:
    decision = derive_plan(FOUND, GPU, seed=0)
    plan = apply_settings(decision, FOUND, GPU, {"downsampling": "[2,2,3]"}).plan
    assert plan.spacing_mm == (2.0, 2.0, 3.0)
    assert apply_settings(decision, FOUND, GPU, {"spacing_mm": "[4,4,4]"}).plan.downsampling == (4.0, 4.0, 4.0)


def test_a_plan_whose_measured_step_is_too_large_is_derived_again() -> None:
    measure = Measuring(7.0, None, 5.0)
    done = fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, MEASURE, measure)
    assert measure.voxels == sorted(measure.voxels, reverse=True)
    assert measure.voxels[2] < measure.voxels[0]
    assert done.corrected
    assert done.measured is not None
    assert done.measured.gib == 5.0


def test_a_last_attempt_that_fits_is_taken_though_it_is_slow() -> None:
    measure = Measuring(None, None, None, 1.0, voxels_a_second=1000)
    wishes = PlanOptions(time_budget_s=1000.0)
    done = fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, wishes, measure)
    assert done.corrected
    assert done.measured is not None
    assert done.measured.gib == 1.0


def test_a_step_that_never_fits_is_told() -> None:
    measure = Measuring(None, None, None, None)
    with pytest.raises(PlanError, match="no plan was found whose measured step fits; give"):
        fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, MEASURE, measure)


def test_the_users_own_step_is_not_changed_but_refused_with_the_nearest() -> None:
    measure = Measuring(None)
    wishes = PlanOptions(settings={"batch_size": "2"}, measure=True)
    with pytest.raises(PlanError, match=r"does not fit this cuda; nearest that fits: --set batch_size=1"):
        fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, wishes, measure)


def test_a_cpu_plan_gets_the_iterations_that_fit_36_minutes() -> None:
    measure = Measuring(1.0)
    unmeasured = PlanOptions()
    done = fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, unmeasured, measure)
    assert done.decision.plan.iterations == 36 * 60 * 2
    assert not done.corrected


@pytest.mark.parametrize(("iterations", "name"), [(5000, "muon"), (5001, "adamw")])
def test_a_long_training_keeps_adamw_unless_the_user_or_a_preset_says_another(iterations: int, name: str) -> None:
    decision, measure = derive_plan(FOUND, CPU, seed=0), Measuring()
    wishes = PlanOptions(iterations=iterations)

    def optimiser_of(decision: Decision, options: PlanOptions) -> OptimiserPlan:
        return fit_plan(decision, FOUND, CPU, derive, options, measure).decision.plan.optimiser

    assert optimiser_of(decision, wishes) == decision.plan.optimiser.model_copy(update={"name": name})
    assert optimiser_of(decision, replace(wishes, settings={"optimiser.name": "adam"})).name == "adam"
    other = optimiser_of(decision, replace(wishes, settings={"optimiser.averaging": "0.5"}))
    assert (other.name, other.averaging) == (name, 0.5)
    assert optimiser_of(replace(decision, chosen=None), PlanOptions(iterations=9000)).name == "muon"


@pytest.mark.parametrize(("iterations", "rate"), [(1000, 4e-3), (1001, 2e-3)])
def test_a_short_training_gets_the_higher_learning_rate_unless_the_user_or_a_preset_says_another(
    iterations: int, rate: float
) -> None:
    decision, measure = derive_plan(FOUND, CPU, seed=0), Measuring()
    wishes = PlanOptions(iterations=iterations)

    def rate_of(decision: Decision, options: PlanOptions) -> float:
        return fit_plan(decision, FOUND, CPU, derive, options, measure).decision.plan.learning_rate

    assert rate_of(decision, wishes) == rate
    assert rate_of(decision, replace(wishes, settings={"learning_rate": "0.001"})) == 1e-3
    assert rate_of(replace(decision, chosen=None), wishes) == decision.plan.learning_rate == 2e-3
    assert rate_of(decision, PlanOptions(settings={"iterations": str(iterations)})) == rate


def test_a_length_that_is_told_is_taken_and_nothing_is_measured() -> None:
    measure = Measuring()
    decision = derive_plan(FOUND, CPU, seed=0)
    done = fit_plan(decision, FOUND, CPU, derive, PlanOptions(iterations=70), measure)
    assert not measure.voxels
    assert done.decision.plan == decision.plan.model_copy(update={"iterations": 70, "learning_rate": 4e-3})
    both = PlanOptions(settings={"iterations": "90"}, iterations=70)
    assert fit_plan(decision, FOUND, CPU, derive, both, measure).decision.plan.iterations == 90


def test_a_length_that_is_told_stays_when_the_memory_is_measured() -> None:
    measure = Measuring(7.0, 5.0)
    wishes = PlanOptions(measure=True, iterations=70)
    done = fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, wishes, measure)
    assert done.corrected
    assert done.decision.plan.iterations == 70


@pytest.mark.parametrize(("share", "told"), [(0.35, True), (0.02, False)])
def test_a_measurement_that_others_disturbed_is_told(
    caplog: pytest.LogCaptureFixture, share: float, told: bool
) -> None:
    measure = Measuring(1.0, others_share=share)
    warn_of_time(fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, PlanOptions(), measure))
    words = "other programs took 35% of the processors while iterations were measured"
    assert (words in caplog.text and "close them and plan again with --force" in caplog.text) == told


def test_a_machine_too_slow_for_enough_iterations_gets_smaller_steps() -> None:
    measure = Measuring(1.0, 1.0, voxels_a_second=300_000)
    decision = derive_plan(FOUND, CPU, seed=0)
    done = fit_plan(decision, FOUND, CPU, derive, PlanOptions(time_budget_s=200.0), measure)
    assert 200 * 300_000 / measure.voxels[0] < 100
    assert done.budget.cpu_step_voxels == 135_000  # 180 s of 300,000 voxels in 400 iterations
    assert measure.voxels[1] <= 135_000
    assert done.decision.plan.iterations == int(0.9 * 200 * 300_000 / measure.voxels[1]) >= 400
    assert done.decision.plan.downsampling[0] > decision.plan.downsampling[0]


@pytest.mark.parametrize(("training_s", "batch"), [(900.0, 2), (5000.0, 7), (20_000.0, 10)])
def test_where_many_iterations_do_not_fit_a_step_gets_fewer_crops(training_s: float, batch: int) -> None:
    found = made.fingerprint((40, 40, 40), (1.0, 1.0, 1.0), cases=100)
    measure = Measuring(1.0, 1.0, voxels_a_second=200_000)
    decision = derive_plan(found, CPU, seed=0)
    assert (decision.plan.crop_size, decision.plan.batch_size) == ((40, 40, 40), 10)
    wishes = PlanOptions(time_budget_s=training_s)
    done = fit_plan(decision, found, CPU, lambda b, c: derive_plan(found, b, 0, cost=c), wishes, measure).decision.plan
    assert (done.crop_size, done.batch_size, done.spacing_mm) == ((40, 40, 40), batch, decision.plan.spacing_mm)
    assert done.iterations == int(0.9 * training_s * 200_000 / measure.voxels[-1])
    assert done.iterations >= (2000 if batch > 2 else 1000)


def test_a_time_that_is_told_is_kept_even_where_its_steps_are_the_default_36_minutes() -> None:
    measure = Measuring(1.0, 1.0, voxels_a_second=1000)
    wishes = PlanOptions(settings={"batch_size": "2"}, time_budget_s=40 * 60.0)
    done = fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, wishes, measure)
    assert done.decision.plan.iterations < FEWEST_ITERATIONS


def test_settings_that_do_not_make_the_step_leave_it_to_the_machine() -> None:
    measure = Measuring(1.0, 1.0, voxels_a_second=300_000)
    wishes = PlanOptions(settings={"seed": "7", "loss.kind": "dice"}, time_budget_s=200.0)
    done = fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, wishes, measure)
    assert done.budget.cpu_step_voxels == 135_000
    assert (done.decision.plan.seed, done.decision.plan.loss.kind) == (7, "dice")
    assert done.decision.changed == ("seed", "loss.kind")


def test_several_gpus_get_a_crop_each_and_the_memory_is_that_of_one() -> None:
    one = replace(GPU, memory_gib=2.5)
    four = replace(one, processes=4)
    alone, shared = derive_plan(FOUND, one, seed=0), derive_plan(FOUND, four, seed=0)
    assert alone.plan.batch_size == 2
    assert shared.plan.batch_size == 4
    assert math.prod(shared.plan.crop_size) > math.prod(alone.plan.crop_size)  # one crop on a GPU, not two
    assert shared.step_gib == step_gib(share_of(shared.plan, 4), one) <= one.step_gib
    measure = Measuring(2.0)
    assert fit_plan(shared, FOUND, four, derive, MEASURE, measure).decision.plan.batch_size == 4
    assert measure.voxels == [math.prod(shared.plan.crop_size)]  # a share is measured
    assert measure.processes == 4
    with pytest.raises(PlanError, match=r"batch_size 3 on 4 processes: each needs a crop; start at most 3, or plan"):
        apply_settings(shared, FOUND, four, {"batch_size": "3"})


def test_given_more_time_the_same_machine_gets_the_usual_step() -> None:
    measure = Measuring(1.0, voxels_a_second=300_000)
    decision = derive_plan(FOUND, CPU, seed=0)
    done = fit_plan(decision, FOUND, CPU, derive, PlanOptions(time_budget_s=7200.0), measure)
    assert done.budget is CPU
    assert done.decision.plan.crop_size == decision.plan.crop_size
    assert done.decision.plan.iterations == int(0.9 * 7200 * 300_000 / measure.voxels[0])


def test_a_step_is_never_made_smaller_than_a_network_can_learn_from() -> None:
    measure = Measuring(1.0, 1.0, voxels_a_second=1000)
    wishes = PlanOptions(time_budget_s=60.0)
    done = fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, wishes, measure)
    assert done.budget.cpu_step_voxels == SMALLEST_STEP
    assert done.decision.plan.iterations == 1


def test_the_users_own_step_keeps_its_size_and_gets_the_iterations_that_fit() -> None:
    measure = Measuring(1.0, voxels_a_second=300_000)
    wishes = PlanOptions(settings={"batch_size": "2"}, time_budget_s=1000.0)
    done = fit_plan(derive_plan(FOUND, CPU, seed=0), FOUND, CPU, derive, wishes, measure)
    assert done.budget is CPU
    assert done.decision.plan.batch_size == 2
    assert done.decision.plan.iterations == int(0.9 * 1000 * 300_000 / measure.voxels[0])


def test_a_plan_for_a_gpu_gets_the_iterations_that_fit_a_time_that_is_told() -> None:
    measure = Measuring(1.0)
    wishes = PlanOptions(time_budget_s=5000.0)
    assert (
        fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, wishes, measure).decision.plan.iterations == 9000
    )


def test_a_gpu_plan_whose_time_holds_few_iterations_is_measured_with_the_optimiser_that_follows() -> None:
    class Counting(Measuring):
        optimisers: ClassVar[list[str]] = []

        def __call__(self, plan: Plan, *more: Any) -> StepCost | None:
            self.optimisers.append(plan.optimiser.name)
            cost = super().__call__(plan, *more)
            assert cost is not None
            return replace(cost, seconds_per_iteration=0.6 if plan.optimiser.name == "muon" else 0.5)

    measure = Counting(1.0, 1.0)
    options = PlanOptions(time_budget_s=1000.0)
    done = fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, options, measure)
    assert measure.optimisers == ["adamw", "muon"]
    assert (done.decision.plan.optimiser.name, done.decision.plan.iterations) == ("muon", 1500)  # 0.9 · 1000 / 0.6
    assert done.measured is not None
    assert done.measured.seconds_per_iteration == 0.6


def test_a_gpu_plan_whose_following_optimiser_does_not_fit_is_derived_again() -> None:
    measure = Measuring(1.0, 99.0, 1.0, 1.0)
    done = fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, PlanOptions(time_budget_s=1000.0), measure)
    assert done.corrected
    assert len(measure.voxels) == 4
    assert done.decision.plan.optimiser.name == "muon"
    assert measure.voxels[-1] < measure.voxels[0]


def test_a_plan_for_another_machine_is_not_measured() -> None:
    assert fit_plan(derive_plan(FOUND, GPU, seed=0), FOUND, GPU, derive, MEASURE, None).measured is None


def test_crops_are_not_mirrored_along_x_where_organs_are_pairs() -> None:
    organs = tuple(
        organ.model_copy(update={"name": name, "value": value})
        for value, (organ, name) in enumerate(zip(FOUND.organs * 2, ("left lung", "right lung"), strict=True), start=1)
    )
    paired = FOUND.model_copy(update={"organs": organs})
    decision = derive_plan(paired, GPU, seed=0)
    with pytest.raises(PlanError, match="left lung and right lung are a pair; leave out x"):
        apply_settings(decision, paired, GPU, {"augmentation.mirrored": '["z","x"]'})
    made_plan = apply_settings(decision, paired, GPU, {"augmentation.mirrored": '["z"]'}).plan
    assert made_plan.augmentation.mirrored == ("z",)
