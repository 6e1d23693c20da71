"""Label maps that are annotated in part: what is not annotated is neither learnt from nor counted anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import SMALL, Cli, assert_one_line, copy_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from autoseg.data.batches import draw_centre
from autoseg.dataset.check_organs import organ_findings
from autoseg.dataset.examine import examine_case
from autoseg.dataset.facts import case_facts
from autoseg.dataset.fingerprint import fingerprint
from autoseg.dataset.load import Case, Dataset, load_dataset
from autoseg.dataset.metadata import ignored_value, organ_names, scheme_of
from autoseg.errors import DatasetError
from autoseg.evaluation.scores import read_scores
from autoseg.imaging.grid import Grid
from autoseg.imaging.resample import resample_label
from autoseg.imaging.volumes import Volume, read_label, write_array
from autoseg.inference.reliability import Reliability
from autoseg.labels import IGNORED, Label, LabelScheme
from autoseg.metrics.overlap import dice
from autoseg.metrics.pair import organ_pairs
from autoseg.network.losses import segmentation_loss
from autoseg.plan import LossPlan, parse_plan
from autoseg.planning.ceiling import ceilings
from autoseg.run import Run

ORGANS = (Label(value=1, name="liver"), Label(value=2, name="spleen"))
SPARSE = LabelScheme(labels=ORGANS, ignored=255)
DICE_CE = LossPlan(kind="dice-ce", background=False, over="batch")
MM = (1.0, 1.0, 1.0)


def scheme_in(labels: dict[str, object]) -> LabelScheme:
    return scheme_of(Path("d.json"), {"labels": labels})


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "liver": 1, "spleen": 2, "ignore": 255}, {"1": "liver", "2": "spleen", "255": "ignore"}],
)
def test_the_name_ignore_is_no_organ_but_the_value_of_what_is_not_annotated(labels: dict[str, object]) -> None:
    assert scheme_in(labels) == SPARSE


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"liver": 1, "ignore": 1}, "labels 'liver' and 'ignore' both have the value 1"),
        ({"liver": 1, "ignore": 0}, "label 'ignore' has the value 0, which is background; give it another, as 255"),
        ({"background": 0, "ignore": 3}, "names 0 labels beside background; 1 to 254 are possible"),
    ],
)
def test_an_ignored_value_that_contradicts_another_is_told_in_one_line(labels: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError) as error:
        scheme_in(labels)
    assert str(error.value) == f"d.json: {message}"


def test_score_finds_the_ignored_value_in_a_dataset_file_and_in_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    file.write_text('{"labels": {"background": 0, "liver": 1, "ignore": 9}}')
    assert organ_names(file) == {1: "liver"}
    assert ignored_value(file) == 9
    file.write_text(made.plan(ignored=7).model_dump_json())
    assert (organ_names(file), ignored_value(file)) == ({1: "liver", 2: "spleen"}, 7)
    file.write_text(made.plan().model_dump_json())
    assert ignored_value(file) is None


def test_a_plan_names_the_ignored_value_only_where_there_is_one() -> None:
    assert "ignored" not in made.plan().model_dump_json()
    plan = made.plan(ignored=255)
    assert parse_plan(plan.model_dump_json(), "plan.json") == plan
    assert plan.scheme == SPARSE


def examined(tmp_path: Path, label: np.ndarray) -> list[tuple[str, str]]:
    """Return severity and text of what is found in a case with this label map."""
    grid = Grid(shape=label.shape, spacing_mm=MM)
    image = np.random.default_rng(0).normal(size=label.shape).astype(np.float32)
    write_array(tmp_path / "i.nii.gz", image, grid)
    write_array(tmp_path / "l.nii.gz", label.astype(np.uint8), grid)
    case = Case(id="a", images=(tmp_path / "i.nii.gz",), label=tmp_path / "l.nii.gz", patient="a")
    dataset = Dataset(name="d", root=tmp_path, channels=("MR",), labels=ORGANS, cases=(case,), ignored=255)
    examination = examine_case(case, dataset)
    findings = list(examination.findings)
    if examination.facts is not None:
        findings += organ_findings([examination.facts], dataset)
    return [(finding.severity, finding.found) for finding in findings]


def test_check_tells_the_annotated_share(tmp_path: Path) -> None:
    label = np.full((4, 4, 4), 255)
    label[1] = 0
    label[1, 1:3] = 1
    found = "25.0% of the voxels are annotated on average; 1 case of 1 in part, a with 25.0% the least"
    assert ("note", found) in examined(tmp_path, label)


def test_check_refuses_a_case_of_which_nothing_is_annotated(tmp_path: Path) -> None:
    assert examined(tmp_path, np.full((4, 4, 4), 255)) == [("fatal", "no voxel is annotated: all are 255, ignore")]


def sparse_facts(values: list[int]) -> tuple[np.ndarray, np.ndarray]:
    image = np.arange(8.0, dtype=np.float32).reshape(1, 1, 1, 8)
    return image, np.array([[values]])


def test_statistics_are_those_of_the_annotated_voxels() -> None:
    image, label = sparse_facts([255, 255, 1, 1, 0, 0, 255, 255])
    grid = Grid(shape=(1, 1, 8), spacing_mm=(10.0, 10.0, 10.0))
    facts = case_facts("a", Volume(array=image, grid=grid, stored=grid), label, SPARSE)
    (organ,) = facts.organs
    assert (facts.annotated, organ.voxels, list(organ.mean)) == (0.5, 2, [2.5])
    assert sorted(facts.sample[0]) == [2.0, 3.0]
    dataset = Dataset(name="d", root=Path(), channels=("MR",), labels=ORGANS, cases=(), ignored=255)
    numbers = fingerprint(dataset, [facts])
    liver = numbers.organs[0]
    assert (numbers.ignored, numbers.annotated) == (255, 0.5)
    assert (liver.mean_share, liver.median_voxels, liver.smallest_ml) == (0.5, 4.0, None)  # of 4 voxels; of 8; unknown


def test_only_wholly_annotated_organs_are_compared_by_volume_and_pieces(tmp_path: Path) -> None:
    grid = Grid(shape=(9, 4, 4), spacing_mm=MM)
    label = np.zeros(grid.shape, np.uint8)
    label[1:8, 1:3, 1:3] = 1
    sparse = label.copy()
    sparse[1::2] = 255
    image = Volume(array=np.ones((1, *grid.shape), np.float32), grid=grid, stored=grid)
    dataset = Dataset(name="d", root=tmp_path, channels=("MR",), labels=ORGANS[:1], cases=(), ignored=255)
    facts = [case_facts(f"c{n}", image, label, SPARSE) for n in range(9)]
    facts += [case_facts(f"s{n}", image, sparse, SPARSE) for n in range(2)]
    assert [finding.code for finding in organ_findings(facts, dataset)] == ["label-annotated"]


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 999))
def test_a_map_that_is_known_everywhere_is_resampled_as_before_and_an_unknown_one_stays_unknown(
    shape: tuple[int, int, int], new: tuple[int, int, int], seed: int
) -> None:
    label = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    assert (resample_label(label, new) < 4).all()
    assert (resample_label(np.full(shape, IGNORED, np.uint8), new) == IGNORED).all()
    label[0] = IGNORED
    found = resample_label(label, new)
    assert set(np.unique(found).tolist()) <= {*np.unique(label).tolist()}


def test_the_annotated_part_of_a_voxel_alone_votes() -> None:
    label = np.full((8, 1, 1), IGNORED, np.uint8)
    label[1], label[4:8] = 2, 1
    assert resample_label(label, (2, 1, 1)).ravel().tolist() == [2, 1]  # one slice of four speaks for all four
    assert resample_label(label, (4, 1, 1)).ravel().tolist() == [2, IGNORED, 1, 1]
    between = np.array([1, IGNORED], np.uint8).reshape(2, 1, 1)
    assert resample_label(between, (4, 1, 1)).ravel().tolist() == [1, 1, IGNORED, IGNORED]  # the nearer one


def test_an_ignored_label_is_none_of_the_organs_crops_are_centred_on(tmp_path: Path) -> None:
    label = np.full((20, 20, 20), IGNORED, np.uint8)
    label[8:12] = 0  # 1,600 annotated voxels, of which
    label[9, 5:15, 5:15] = 1  # 100
    label[10, 5:15, 5:15] = 2  # 100
    case = made.cached_case(tmp_path, "a", np.zeros((1, 20, 20, 20)), label)
    rng = np.random.default_rng(0)
    plan = made.plan(organ_share=0.4, crop_size=(2, 2, 2))
    drawn = np.array([label[tuple(int(v) for v in draw_centre(case, plan, rng))] for _ in range(2000)])
    assert IGNORED not in drawn
    # 0.6 anywhere that is annotated, 1400 : 100 : 100; 0.4 on the organs, half each
    expected = 2000 * np.array([0.6 * 0.875, 0.6 * 0.0625 + 0.2, 0.6 * 0.0625 + 0.2])
    assert chisquare(np.bincount(drawn, minlength=3), expected).pvalue > 0.01


def test_background_is_as_likely_as_where_all_is_annotated(tmp_path: Path) -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[:, 5:15, 5:15] = 1
    sparse = label.copy()
    sparse[np.arange(20) % 5 != 2] = IGNORED
    plan = made.plan(organ_share=0.5, crop_size=(2, 2, 2))
    shares = []
    for name, truth in (("all", label), ("sparse", sparse)):
        case = made.cached_case(tmp_path, name, np.zeros((1, 20, 20, 20)), truth)
        rng = np.random.default_rng(1)
        centres = [np.round(draw_centre(case, plan, rng)).astype(int) for _ in range(2000)]
        shares.append(float(np.mean([label[tuple(centre)] == 0 for centre in centres])))
    assert shares[0] == pytest.approx(0.5 * (1 - (10 / 18) ** 2), abs=0.04)  # centres keep half a crop from the border
    assert shares[1] == pytest.approx(0.5 * (1 - (10 / 20) ** 2), abs=0.04)


def test_no_loss_comes_from_what_is_not_annotated() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, 4, requires_grad=True)
    truth = torch.randint(0, 3, (2, 2, 3, 4))
    truth[:, 1] = IGNORED
    weights = torch.tensor([0.5, 1.0, 2.0])
    whole = segmentation_loss(logits, truth, DICE_CE, weights, None, SPARSE)
    half = segmentation_loss(logits[:, :, :1], truth[:, :1], DICE_CE, weights)
    assert whole.item() == pytest.approx(half.item(), abs=1e-6)
    whole.backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, 1].any()
    assert logits.grad[:, :, 0].any()


@pytest.mark.parametrize("loss", [DICE_CE, LossPlan(kind="dice", background=True, over="image")])
def test_a_batch_without_an_annotated_voxel_moves_nothing(loss: LossPlan) -> None:
    logits = torch.randn(1, 3, 2, 2, 2, requires_grad=True)
    segmentation_loss(logits, torch.full((1, 2, 2, 2), IGNORED), loss, None, None, SPARSE).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [DICE_CE, LossPlan(kind="dice", background=True, over="image")])
def test_where_all_is_annotated_the_loss_is_the_same_to_the_bit(loss: LossPlan) -> None:
    logits, truth = torch.randn(2, 3, 2, 3, 4), torch.randint(0, 3, (2, 2, 3, 4))
    weights = torch.tensor([0.5, 1.0, 2.0])
    found = segmentation_loss(logits, truth, loss, weights, None, SPARSE)
    assert found.item() == segmentation_loss(logits, truth, loss, weights).item()


def test_nothing_is_counted_where_the_truth_is_not_known() -> None:
    prediction = np.array([[[1, 1, 1, 0, 2]]], np.uint8)
    truth = np.array([[[255, 1, 0, 0, 255]]], np.uint8)
    assert dice(prediction, truth, (1, 2), ignored=255) == {1: pytest.approx(2 / 3), 2: None}
    pair = organ_pairs(prediction, truth, {1: (1,), 2: (2,)}, (10.0, 10.0, 10.0), ignored=255)
    assert (pair[1].overlap.prediction, pair[1].overlap.truth, pair[2].overlap.prediction) == (2, 1, 0)
    assert sum(pair[1].lost.values()) == pytest.approx(1 / 3)  # type: ignore[union-attr]
    assert pair[1].pieces is None


def test_a_surface_is_only_where_the_outside_is_known() -> None:
    truth = np.zeros((9, 12, 12), np.uint8)
    truth[:, 3:9, 3:9] = 1
    prediction = truth.copy()
    prediction[:, 3:9, 9] = 1  # one voxel too wide everywhere
    sparse = truth.copy()
    sparse[np.arange(9) % 3 != 1] = 255  # slices 1, 4, 7 are annotated
    (whole,) = organ_pairs(prediction[1:2], truth[1:2], {1: (1,)}, MM).values()
    (some,) = organ_pairs(prediction, sparse, {1: (1,)}, MM, ignored=255).values()
    assert some.distances is not None
    flat = truth[1:2].copy()  # in a volume of one slice every voxel is a border voxel; count those of the outline
    border = 36 - 16
    assert len(some.distances.to_prediction_mm) == 3 * border
    assert some.distances.hausdorff_mm() == 1.0
    assert whole.overlap.dice == some.overlap.dice
    assert flat.sum() == 36


def test_the_same_distances_where_all_is_known() -> None:
    rng = np.random.default_rng(0)
    prediction, truth = (rng.integers(0, 2, (4, 6, 6)).astype(np.uint8) for _ in range(2))
    far = np.concatenate([truth, np.full((2, 6, 6), 255, np.uint8)])  # unknown slices beyond a known background
    far[3], prediction[3] = 0, 0
    (known,) = organ_pairs(prediction, far[:4], {1: (1,)}, MM).values()
    padded = np.concatenate([prediction, np.ones((2, 6, 6), np.uint8)])
    (part,) = organ_pairs(padded, far, {1: (1,)}, MM, ignored=255).values()
    assert known.distances is not None
    assert part.distances is not None
    np.testing.assert_allclose(sorted(part.distances.to_truth_mm), sorted(known.distances.to_truth_mm))


def test_probabilities_count_only_where_the_truth_is_known() -> None:
    truth = np.array([[[0, 1, IGNORED, IGNORED]]], np.uint8)
    reliability = Reliability(SPARSE, truth)
    reliability.add(torch.full((3, 1, 1, 4), 0.45), 0)
    assert reliability.counts()[1].sum(axis=0).tolist() == pytest.approx([2, 1, 0.9])


def test_the_ceiling_of_annotated_slices_is_that_of_these_slices() -> None:
    label = np.zeros((8, 16, 16), np.uint8)
    label[:, 3:9, 3:9] = 1
    sparse = label.copy()
    sparse[np.arange(8) % 4 != 1] = 255
    (whole,), (some,) = (ceilings(one, SPARSE, [(8, 4, 4)]) for one in (label, sparse))
    assert some == whole
    assert ceilings(sparse, SPARSE, [(8, 16, 16)]) == [{1: 1.0}]
    (coarse,) = ceilings(sparse, SPARSE, [(4, 16, 16)])
    assert coarse == {1: 1.0}  # a slice speaks for the voxel that it lies in


def test_a_sparse_dataset_goes_through_all_steps(cohort: Path, tmp_path: Path, cli: Cli) -> None:
    data = copy_of(cohort, tmp_path / "data")
    for file in (*data.rglob("phantom_003*"), *data.rglob("phantom_004*")):  # three cases are enough
        file.unlink()
    meta = json.loads((data / "dataset.json").read_text())
    meta["labels"]["ignore"] = 200
    (data / "dataset.json").write_text(json.dumps(meta))
    for file in (data / "labelsTr").iterdir():
        label = read_label(file)
        label.array[np.arange(len(label.array)) % 3 != 1] = 200
        write_array(file, label.array.astype(np.uint8), label.grid)
    run = tmp_path / "RUN"
    code, _, err = cli("run", data, run, *SMALL)
    assert code == 0, err
    dataset = load_dataset(data)
    assert dataset.ignored == 200
    predictions = Run(run).fold(0).predictions
    masks = sorted(predictions.iterdir())
    assert all(read_label(mask).array.max() < 200 for mask in masks)
    scored = tmp_path / "again.csv"
    arguments = ("--labels", run / "plan.json", "--out", scored)
    assert cli("score", predictions, data / "labelsTr", *arguments)[0] == 0
    again, before = (read_scores(file) for file in (scored, run / "scores.csv"))
    before = before[(before["grid"] == "original") & (before["metric"] == "dice")].set_index(["case", "organ"])["value"]
    again = again[again["metric"] == "dice"].set_index(["case", "organ"])["value"]
    pd.testing.assert_series_equal(again.sort_index(), before.sort_index(), check_names=False)
    meta["labels"]["ignore"] = 1
    (data / "dataset.json").write_text(json.dumps(meta))
    assert_one_line(cli("check", data), "both have the value 1")
