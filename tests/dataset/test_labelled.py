"""Cases of which only some organs are labelled: background is no lie there, and nothing is scored."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import SMALL_PLAN, Cli, assert_one_line, copy_of

from autoseg.data.batches import open_batches
from autoseg.data.cache import CachedCase, covering_cases, read_case, write_case
from autoseg.data.preprocess import is_cached, preprocess
from autoseg.dataset.examine import CaseFacts, examine_case
from autoseg.dataset.fingerprint import fingerprint
from autoseg.dataset.load import Case, load_dataset
from autoseg.dataset.metadata import labelled_values
from autoseg.errors import CasesFailedError, DatasetError
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_label, write_array, write_label
from autoseg.labels import Label
from autoseg.network.losses import hidden_mask, segmentation_loss, with_hidden
from autoseg.network.memory import training_bytes
from autoseg.plan import LossPlan, Plan
from autoseg.run import FoldFolder
from autoseg.training import loop
from autoseg.training.log import read_rows
from autoseg.training.loop import Fold, train
from autoseg.training.validate import examine

ORGANS = (Label(value=3, name="liver"), Label(value=7, name="spleen"))
DICE_CE = LossPlan(kind="dice-ce", background=False, over="batch")
SPLEEN = 2  # its class


def test_names_become_values() -> None:
    found = labelled_values(Path("d.json"), {"a": ["spleen"], "b": ["spleen", "liver"]}, ORGANS, {"a", "b", "c"})
    assert found == {"a": (7,)}  # b shows all, as c does


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["a"], "must name organs by case"),
        ({"z": ["liver"]}, "names the case 'z', which the dataset does not have"),
        ({"a": []}, r"a: needs a list of organs, .*; found \[\]"),
        ({"a": "liver"}, "a: needs a list of organs, .*; found 'liver'"),
        ({"a": ["Liver"]}, r"a: 'Liver' is not one of the labels \(liver, spleen\)"),
        ({"a": [3]}, r"a: 3 is not one of the labels \(liver, spleen\)"),
    ],
)
def test_what_is_named_wrongly_is_told(named: object, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"d\.json: labelled.*{message}"):
        labelled_values(Path("d.json"), named, ORGANS, {"a"})


def test_the_probability_of_what_is_not_shown_is_backgrounds() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).reshape(1, 3, 1, 1, 1)
    hidden = torch.tensor([[False, False, True]])
    assert with_hidden(logits, hidden).softmax(dim=1).flatten().tolist() == pytest.approx([0.7, 0.3, 0.0])


def test_an_image_that_shows_all_is_left_as_it_is() -> None:
    logits = torch.randn(2, 3, 2, 2, 2)
    found = with_hidden(logits, torch.tensor([[False, False, True], [False, False, False]]))
    assert torch.equal(found[1], logits[1])


@pytest.mark.parametrize("plan", [DICE_CE, LossPlan(kind="dice", background=True, over="image")])
def test_finding_an_organ_that_is_not_labelled_costs_nothing_and_not_finding_one_that_is_does(plan: LossPlan) -> None:
    truth = torch.tensor([0, 0, 1, 1])[None, None, None]
    hidden = hidden_mask([(SPLEEN,)], 3)
    as_background = 50.0 * torch.nn.functional.one_hot(truth, 3).movedim(-1, 1).float()
    as_spleen = as_background.clone()
    as_spleen[0, :, 0, 0, 0] = torch.tensor([0.0, 0.0, 50.0])
    without_liver = as_background.clone()
    without_liver[0, :, 0, 0, 3] = torch.tensor([0.0, 0.0, 50.0])
    best = segmentation_loss(as_background, truth, plan, None, hidden)
    assert segmentation_loss(as_spleen, truth, plan, None, hidden) == pytest.approx(float(best), abs=1e-6)
    assert segmentation_loss(as_spleen, truth, plan, None) > best + 0.1
    assert segmentation_loss(without_liver, truth, plan, None, hidden) > best + 0.1


def test_the_gradient_is_finite_and_lowers_only_what_is_wrong() -> None:
    logits = torch.zeros(1, 3, 1, 1, 2, requires_grad=True)
    truth = torch.tensor([0, 1])[None, None, None]
    segmentation_loss(logits, truth, DICE_CE, torch.ones(3), hidden_mask([(SPLEEN,)], 3)).backward()
    assert logits.grad is not None
    background, liver, spleen = logits.grad[0, :, 0, 0, 0].tolist()
    assert background == pytest.approx(spleen)  # either may be there
    assert background < 0 < liver
    assert logits.grad.isfinite().all()


def test_no_mask_is_made_where_all_is_labelled() -> None:
    assert hidden_mask([(), ()], 3) is None
    assert hidden_mask([(), (1, 2)], 3).tolist() == [[False] * 3, [False, True, True]]  # type: ignore[union-attr]


def partly(case: CachedCase, hidden: tuple[int, ...]) -> CachedCase:
    """Write a cached case again without the voxels of some classes, and with the record that says so."""
    label = np.array(case.label())
    label[np.isin(label, hidden)] = 0
    return write_case(replace(case, hidden=hidden), np.array(case.image(), dtype=np.float32), label, seed=0)


@pytest.fixture
def halves(tmp_path: Path) -> tuple[CachedCase, ...]:
    """Four easy cases: two show the first organ only, two the second."""
    cases = made.easy_cases(tmp_path / "cache", 4)
    return tuple(partly(case, (2,) if n % 2 else (1,)) for n, case in enumerate(cases))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_says_what_its_crops_do_not_show(halves: tuple[CachedCase, ...], workers: int) -> None:
    by_id = {case.id: case.hidden for case in halves}
    with open_batches(halves, made.plan(), 0, workers) as batches:
        for _ in range(3):
            batch = next(batches)
            assert batch["hidden"] == [by_id[key] for key in batch["keys"]]


def dice_after(folder: Path, cases: tuple[CachedCase, ...], whole: CachedCase) -> float:
    """Train on some cases; return the mean Dice of both organs in another."""
    plan: Plan = made.plan(iterations=300, learning_rate=0.02, loss=DICE_CE, organ_share=0.5)
    fold = Fold(plan=plan, training=cases, validation=(whole,), files=FoldFolder(folder), workers=0)
    assert train(fold, lambda _: None, lambda: False)
    last = read_rows(folder / "log.csv")[-1]
    return float(np.mean([float(last[f"dice_validation_{organ.name}"]) for organ in plan.labels]))


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "draw_curves", lambda *_: [])


@pytest.mark.usefixtures("still")
def test_an_organ_is_learnt_from_the_few_cases_that_show_it(tmp_path: Path) -> None:
    (whole,) = made.easy_cases(tmp_path / "whole", 1)
    first, *rest = made.easy_cases(tmp_path / "cache", 16)
    told = (first, *(partly(case, (SPLEEN,)) for case in rest))
    informed = dice_after(tmp_path / "told", told, whole)
    misled = dice_after(tmp_path / "untold", tuple(partly(case, ()) for case in told), whole)
    assert misled + 0.2 < informed > 0.85


def test_an_examination_leaves_out_what_is_not_labelled(halves: tuple[CachedCase, ...]) -> None:
    network = loop.new_state(made.plan()).network
    found = examine(network, made.plan(), halves[1:2]).dice  # shows the first organ only
    assert not math.isnan(found["liver"])
    assert math.isnan(found["spleen"])


def test_a_record_keeps_what_is_not_shown(tmp_path: Path) -> None:
    source = case_of(tmp_path, (3,))
    plan = made.plan(labels=ORGANS)
    preprocess([source], plan, tmp_path / "cache")
    assert read_case(tmp_path / "cache", "a").hidden == (SPLEEN,)  # type: ignore[union-attr]
    assert is_cached(source, plan, tmp_path / "cache")
    assert not is_cached(replace(source, labelled=None), plan, tmp_path / "cache")


def test_an_organ_that_is_there_against_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CasesFailedError, match="the label map has liver, which the dataset does not name as labelled"):
        preprocess([case_of(tmp_path, (7,))], made.plan(labels=ORGANS), tmp_path / "cache")


def case_of(folder: Path, labelled: tuple[int, ...]) -> Case:
    """Write an image whose label map has a liver."""
    grid = Grid(shape=(8, 8, 8), spacing_mm=(1.0, 1.0, 1.0))
    label = np.zeros((8, 8, 8), np.uint8)
    label[2:6, 2:6, 2:6] = 3
    files = folder / "a_0000.nii.gz", folder / "a.nii.gz"
    write_array(files[0], 100 * label.astype(np.int16) - 1000, grid)
    write_array(files[1], label, grid)
    return Case(id="a", images=files[:1], label=files[1], patient="a", labelled=labelled)


def without(file: Path, value: int) -> None:
    """Rewrite a label map without one organ."""
    label = read_label(file)
    write_label(file, np.where(label.array == value, 0, label.array), label.stored)


@pytest.fixture
def partial(cohort: Path, tmp_path: Path) -> tuple[Path, str]:
    """The phantoms, two of them without their liver; which value it has is what the dataset says."""
    data = copy_of(cohort, tmp_path / "data")
    meta = json.loads((data / "dataset.json").read_text())
    for case in ("phantom_001", "phantom_003"):
        without(data / "labelsTr" / f"{case}.nii.gz", meta["labels"]["liver"])
    organs = [name for name, value in meta["labels"].items() if value and name != "liver"]
    meta["labelled"] = {"phantom_001": organs, "phantom_003": organs}
    (data / "dataset.json").write_text(json.dumps(meta))
    return data, "liver"


def test_a_run_scores_only_what_is_labelled(partial: tuple[Path, str], tmp_path: Path, cli: Cli) -> None:
    data, organ = partial
    run = tmp_path / "RUN"
    coarse = ("--device", "cpu", "--set", "crop_size=[16,32,32]", "--set", "spacing_mm=[6,6,6]", "-j", "1")
    assert cli("plan", data, run, *coarse, "--set", "iterations=4")[0] == 0
    for verb in ("preprocess", "train", "evaluate"):
        assert cli(verb, run)[0] == 0
    assert "In 2 cases only some organs are labelled" in (run / "plan.md").read_text()
    scores = pd.read_csv(run / "scores.csv")
    having = set(scores[scores["organ"] == organ]["case"])
    assert having == set(scores["case"]) - {"phantom_001", "phantom_003"}
    assert not {"organ-absent", "label-unnamed"} & {row["code"] for row in json.loads((run / "check.json").read_text())}
    code, out, _ = cli("preprocess", run)
    assert code == 0
    assert "0 cases preprocessed" in out  # nothing is stale


def test_check_tells_a_label_map_that_has_more_than_the_dataset_says(
    partial: tuple[Path, str], cohort: Path, tmp_path: Path, cli: Cli
) -> None:
    data, organ = partial
    name = "phantom_001.nii.gz"
    (data / "labelsTr" / name).write_bytes((cohort / "labelsTr" / name).read_bytes())
    assert_one_line(
        cli("plan", data, tmp_path / "RUN", *SMALL_PLAN),
        f"phantom_001: the label map has {organ}, which the dataset does not name as labelled in this case",
    )


def test_a_table_may_name_what_is_labelled(tmp_path: Path) -> None:
    case_of(tmp_path, (3,))
    (tmp_path / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 3, "spleen": 7}})
    )
    file = tmp_path / "cases.csv"
    file.write_text("case,image,label,labelled\na,a_0000.nii.gz,a.nii.gz,liver \nb,a_0000.nii.gz,a.nii.gz,\n")
    assert [case.labelled for case in load_dataset(file).cases] == [(3,), None]
    file.write_text("case,image,label,labelled\na,a_0000.nii.gz,a.nii.gz,kidney\n")
    with pytest.raises(DatasetError, match=r"cases\.csv: labelled, a: 'kidney' is not one of the labels"):
        load_dataset(file)


def test_every_class_is_shown_by_a_case_that_is_looked_at(tmp_path: Path) -> None:
    cases = made.easy_cases(tmp_path, 6)
    assert covering_cases(cases, 4) == cases[:4]
    hidden = [(2,)] * 5 + [(1,)]
    mixed = tuple(replace(case, hidden=classes) for case, classes in zip(cases, hidden, strict=True))
    assert [case.id for case in covering_cases(mixed, 3)] == ["case0", "case1", "case5"]
    assert covering_cases(mixed, 10) == mixed
    assert covering_cases((), 4) == ()


def test_a_step_on_cases_labelled_in_part_is_counted_larger() -> None:
    whole, partly = (made.plan(loss=LossPlan(kind="dice", background=True, over="image", partial=p)) for p in (0, 1))
    assert training_bytes(partly, bfloat16=False) > training_bytes(whole, bfloat16=False)


def test_a_table_goes_before_the_dataset_json_and_may_have_fewer_cases(tmp_path: Path) -> None:
    case_of(tmp_path, (3,))
    meta = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 3, "spleen": 7}}
    meta["labeled"] = {"a": ["spleen"], "b": ["liver"], "elsewhere": ["liver"]}
    (tmp_path / "dataset.json").write_text(json.dumps(meta))
    file = tmp_path / "cases.csv"
    rows = ("a,a_0000.nii.gz,a.nii.gz,liver", "b,a_0000.nii.gz,a.nii.gz,", "c,a_0000.nii.gz,a.nii.gz,liver;spleen")
    file.write_text("\n".join(["case,image,label,labelled", *rows, ""]))
    assert [case.labelled for case in load_dataset(file).cases] == [(3,), (3,), None]


def test_a_fold_whose_training_cases_do_not_show_an_organ_is_refused(
    partial: tuple[Path, str], tmp_path: Path, cli: Cli
) -> None:
    data, organ = partial
    split, run = tmp_path / "split.json", tmp_path / "RUN"
    split.write_text(json.dumps([{"training": ["phantom_001", "phantom_003"], "testing": ["phantom_000"]}]))
    assert cli("plan", data, run, *SMALL_PLAN, "--split", split)[0] == 0
    assert cli("preprocess", run)[0] == 0
    assert_one_line(cli("train", run), f"no training case of fold 0 is labelled with {organ}", "change the split")


def test_organs_that_no_case_shows_together_do_not_bound_what_a_crop_must_see(tmp_path: Path) -> None:
    found = [measured(tmp_path / str(n), (3,)) for n in range(2)]
    dataset = load_dataset(tmp_path / "0" / "dataset.json")
    assert fingerprint(dataset, found[:1]).foreground_extent_mm == (4.0, 4.0, 4.0)
    parts = replace(dataset, cases=tuple(replace(case, labelled=(3,)) for case in dataset.cases))
    assert fingerprint(parts, found[:1]).foreground_extent_mm == (8.0, 8.0, 8.0)
    assert fingerprint(parts, found[:1]).partly == 1


def measured(folder: Path, labelled: tuple[int, ...]) -> CaseFacts:
    """Write a dataset of one case; return its facts."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    case = case_of(folder, labelled)
    meta = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 3}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(meta))
    case.images[0].rename(folder / "imagesTr" / "a_0000.nii.gz")
    case.label.rename(folder / "labelsTr" / "a.nii.gz")
    dataset = load_dataset(folder)
    facts = examine_case(dataset.cases[0], dataset).facts
    assert facts is not None
    return facts
