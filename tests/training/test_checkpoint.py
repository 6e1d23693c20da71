"""Tests of autoseg.training.checkpoint and autoseg.network.weights: files are whole, ours, and never unpickled."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import made
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autoseg.errors import AutosegError, ModelError
from autoseg.network.weights import load_networks, model_files, save_model
from autoseg.plan import Level, NetworkPlan, OptimiserPlan, Plan
from autoseg.run import FoldFolder
from autoseg.training.checkpoint import (
    forget_other_first_stage,
    load_checkpoint,
    planned_iterations,
    resume,
    save_checkpoint,
)
from autoseg.training.saving import Saver
from autoseg.training.state import State, new_state, snapshot

PLAN = made.plan(optimiser=OptimiserPlan(name="adam", schedule="constant", averaging=0.9))


def trained(plan: Plan, seed: int) -> State:
    """Return a state after one real step, on noise."""
    state = new_state(plan)
    torch.manual_seed(seed)
    state.network(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    state.optimiser.step()
    return state


def save(file: Path, plan: Plan, state: State, iteration: int = 7) -> None:
    state.done = iteration
    save_checkpoint(file, plan, "cases", snapshot(state))


def load(file: Path, plan: Plan, state: State) -> int:
    load_checkpoint(file, plan, "cases", state)
    return state.done


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_a_checkpoint_restores_weights_average_and_moments_to_the_bit(tmp_path: Path, name: str) -> None:
    plan = PLAN.model_copy(update={"optimiser": PLAN.optimiser.model_copy(update={"name": name})})
    before, after = trained(plan, seed=1), trained(plan, seed=2)
    save(tmp_path / "c", plan, before)
    assert load(tmp_path / "c", plan, after) == 7
    assert before.average is not None
    assert after.average is not None
    for a, b in ((before.network, after.network), (before.average, after.average)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    moments = [state.optimiser.state_dict()["state"] for state in (before, after)]
    assert moments[0].keys() == moments[1].keys() != set()
    for number, values in moments[0].items():
        assert all(torch.equal(value, moments[1][number][key]) for key, value in values.items())


def test_a_checkpoint_of_other_cases_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "c", PLAN, trained(PLAN, seed=1))
    with pytest.raises(ModelError, match="was trained on other cases"):
        load_checkpoint(tmp_path / "c", PLAN, "others", new_state(PLAN))


@pytest.mark.parametrize("left", ["checkpoint", "model", "both"])
def test_what_was_trained_behind_another_first_stage_is_removed_and_behind_this_one_stays(
    tmp_path: Path, left: str
) -> None:
    files, state = FoldFolder(tmp_path), trained(PLAN, seed=1)
    assert not forget_other_first_stage(files, "this")  # nothing is there
    state.done = 7
    saver = Saver(files, PLAN, (), "this")
    saver.save(state)
    saver.wait()
    if left != "both":
        (files.model if left == "checkpoint" else files.checkpoint).unlink()
    assert not forget_other_first_stage(files, "this")
    assert files.model.is_file() or files.checkpoint.is_file()
    assert forget_other_first_stage(files, "another")
    assert not files.model.exists()
    assert not files.checkpoint.exists()


def test_what_does_not_say_its_first_stage_stays(tmp_path: Path) -> None:
    files = FoldFolder(tmp_path)
    save(files.checkpoint, PLAN, trained(PLAN, seed=1))
    assert not forget_other_first_stage(files, "this")
    assert files.checkpoint.is_file()


def test_a_checkpoint_before_the_first_step_can_be_loaded(tmp_path: Path) -> None:
    save(tmp_path / "c", PLAN, new_state(PLAN), iteration=0)
    assert load(tmp_path / "c", PLAN, new_state(PLAN)) == 0


def test_the_planned_iterations_of_a_checkpoint_can_be_asked(tmp_path: Path) -> None:
    files = FoldFolder(tmp_path)
    assert planned_iterations(files) is None
    save(files.checkpoint, PLAN, new_state(PLAN))
    assert planned_iterations(files) == PLAN.iterations


def test_what_had_learnt_nothing_begins_anew_under_another_plan_and_what_has_does_not(tmp_path: Path) -> None:
    files, other = FoldFolder(tmp_path), PLAN.model_copy(update={"batch_size": 1, "iterations": 99})
    save(files.checkpoint, PLAN, new_state(PLAN), iteration=0)
    assert planned_iterations(files, PLAN) == PLAN.iterations
    assert planned_iterations(files, other) is None
    assert not resume(files, other, (), new_state(other))
    save(files.checkpoint, PLAN, trained(PLAN, seed=1))
    assert planned_iterations(files, other) == PLAN.iterations
    with pytest.raises(ModelError, match=r"was trained under another plan \(batch_size differ\)"):
        resume(files, other, (), new_state(other))


def test_a_model_comes_back_with_its_plan_ready_to_predict(tmp_path: Path) -> None:
    network = new_state(PLAN).network.eval()
    save_model(tmp_path / "m", PLAN, network.state_dict(), {"iteration": 3})
    (loaded,), plan, _ = load_networks(tmp_path / "m", "cpu")
    image = torch.randn(1, 1, 8, 8, 8)
    assert plan == PLAN
    assert not loaded.training
    torch.testing.assert_close(loaded(image), network(image))


def test_a_write_that_the_system_cuts_short_is_an_error_of_the_system_and_keeps_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    weights = new_state(PLAN).network.state_dict()
    save_model(tmp_path / "m", PLAN, weights, {"iteration": 3})
    before = (tmp_path / "m").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/m'"):
            save_model(tmp_path / "m", PLAN, weights, {"iteration": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "m").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_a_model_file_is_tensors_and_json(tmp_path: Path) -> None:
    save_model(tmp_path / "m", PLAN, new_state(PLAN).network.state_dict(), {"iteration": 3})
    with safe_open(tmp_path / "m", framework="pt") as opened:
        facts = json.loads(opened.metadata()["autoseg"])
    assert json.loads(facts["plan"])["crop_size"] == [8, 8, 8]
    assert json.loads(facts["facts"]) == {"iteration": 3}


@pytest.mark.parametrize(
    ("changes", "key"), [({"learning_rate": 0.5}, "learning_rate"), ({"seed": 9}, "seed"), ({"batch_size": 1}, "batch")]
)
def test_a_checkpoint_of_another_plan_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, object], key: str
) -> None:
    save(tmp_path / "c", PLAN, new_state(PLAN))
    other = PLAN.model_copy(update=changes)
    with pytest.raises(ModelError, match=f"another plan .*{key}.* differ"):
        load(tmp_path / "c", other, new_state(other))


def test_a_setting_that_only_one_of_two_plans_has_makes_them_differ(tmp_path: Path) -> None:
    scaled = PLAN.model_copy(update={"logit_scale": 4.0})
    for name, before, now in (("a", PLAN, scaled), ("b", scaled, PLAN)):
        save(tmp_path / name, before, new_state(PLAN))
        with pytest.raises(ModelError, match=r"another plan .*logit_scale.* differ"):
            load(tmp_path / name, now, new_state(PLAN))


def test_more_iterations_and_another_device_are_no_other_plan(tmp_path: Path) -> None:
    save(tmp_path / "c", PLAN, trained(PLAN, seed=0))
    more = PLAN.model_copy(update={"iterations": 99, "device": "cuda", "tile_depth": 16})
    assert load(tmp_path / "c", more, new_state(PLAN)) == 7


def flipped_header(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 0xFF]) + data[21:]


def flipped_weight(data: bytes) -> bytes:
    return data[:-200] + bytes([data[-200] ^ 0x40]) + data[-199:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut to 100 bytes": lambda data: data[:100],
    "cut at the end": lambda data: data[:-1],
    "a flipped header": flipped_header,
    "a flipped bit of a weight": flipped_weight,
    "a changed digit of the plan": lambda data: re.sub(rb'(batch_size\\+":)2', rb"\g<1>3", data),
    "a pickle": lambda data: pickle.dumps({"weights": [1.0]}),
    "text": lambda data: b"not a model, but long enough to hold the length of a header",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]) -> None:
    file, state = tmp_path / "file", new_state(PLAN)
    if kind == "model":
        save_model(file, PLAN, state.network.state_dict(), {})
    else:
        save(file, PLAN, state)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    with pytest.raises(ModelError, match="file: damaged or not a model file") as caught:
        load_networks(file, "cpu") if kind == "model" else load(file, PLAN, state)
    assert "\n" not in str(caught.value)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in range(6):
        save_model(tmp_path / f"{number}", PLAN, trained(PLAN, seed=0).network.state_dict(), {"iteration": 3, "b": 1})
        save(tmp_path / f"c{number}", PLAN, trained(PLAN, seed=0))
    assert len({(tmp_path / f"{number}").read_bytes() for number in range(6)}) == 1
    assert len({(tmp_path / f"c{number}").read_bytes() for number in range(6)}) == 1


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"weights": Trap()}, tmp_path / "m")
    with pytest.raises(ModelError):
        load_networks(tmp_path / "m", "cpu")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "metadata", [None, {"autoseg": '{"kind": "other"}'}, {"autoseg": '{"kind": "autoseg checkpoint 1"}'}]
)
def test_a_foreign_safetensors_file_is_no_model(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "m", metadata=metadata)
    with pytest.raises(ModelError, match="not an autoseg model 1 file"):
        load_networks(tmp_path / "m", "cpu")


def test_a_model_without_a_valid_plan_is_refused_in_one_line(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "m", metadata={"autoseg": '{"kind": "autoseg model 1", "plan": "{}"}'})
    with pytest.raises(AutosegError, match="m: ") as caught:
        load_networks(tmp_path / "m", "cpu")
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    wider = made.plan(network=NetworkPlan(stages=(Level(features=(6, 6)), Level(features=(6, 8)))))
    save_model(tmp_path / "m", PLAN, new_state(wider).network.state_dict(), {})
    with pytest.raises(ModelError, match="do not fit its plan") as caught:
        load_networks(tmp_path / "m", "cpu")
    assert "\n" not in str(caught.value)


def test_a_model_whose_plan_asks_for_a_network_beyond_all_memory_is_refused_at_once(tmp_path: Path) -> None:
    width = 2_000_000  # one kernel of it has 10^14 weights
    level = Level(features=(width, width))
    plan = made.plan(network=NetworkPlan(stages=(level, level)))
    save_model(tmp_path / "m", plan, {"weight": torch.zeros(1)}, {})
    with pytest.raises(ModelError, match="do not fit its plan"):
        load_networks(tmp_path / "m", "cpu")


@pytest.mark.parametrize("lost", ["network.", "average.", "optimiser."])
def test_a_checkpoint_that_lacks_tensors_is_refused(tmp_path: Path, lost: str) -> None:
    save(tmp_path / "c", PLAN, trained(PLAN, seed=0))
    with safe_open(tmp_path / "c", framework="pt") as opened:
        names = [name for name in opened.keys() if not name.startswith(lost)]  # noqa: SIM118 - not a dict
        kept, facts = {name: opened.get_tensor(name) for name in names}, opened.metadata()
    save_file(kept, tmp_path / "c", metadata=facts)
    with pytest.raises(ModelError, match="c: "):
        load(tmp_path / "c", PLAN, new_state(PLAN))


def test_missing_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        load_networks(tmp_path / "m", "cpu")
    with pytest.raises(ModelError, match="no model here"):
        model_files(tmp_path)


def test_a_run_means_the_models_of_all_its_folds(tmp_path: Path) -> None:
    for fold in (1, 0):
        (tmp_path / f"fold-{fold}").mkdir()
        (tmp_path / f"fold-{fold}" / "model.autoseg").touch()
    assert [file.parent.name for file in model_files(tmp_path)] == ["fold-0", "fold-1"]
