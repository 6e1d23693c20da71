"""Regions that lie within each other: read, learnt, painted, cleaned, scored and written, each as its own mask."""

from __future__ import annotations

import json
from pathlib import Path

import made
import numpy as np
import pytest
import torch
from command_line import SMALL, Cli, assert_one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn
from torch.nn.functional import binary_cross_entropy, interpolate

from autoseg.dataset.check_organs import organ_findings
from autoseg.dataset.facts import case_facts
from autoseg.dataset.fingerprint import fingerprint
from autoseg.dataset.load import Dataset, load_dataset
from autoseg.dataset.metadata import organ_names, regions_in, scheme_of
from autoseg.errors import DatasetError
from autoseg.evaluation.scores import read_scores
from autoseg.imaging.grid import Grid, Voxels
from autoseg.imaging.volumes import Volume, read_label, write_array
from autoseg.inference.postprocess import PostprocessRule, apply_rules, choose_region_rules, with_region, without_region
from autoseg.inference.tiles import Ensemble, choose_tiling, probability_slabs
from autoseg.inference.upsample import Upsampler
from autoseg.labels import IGNORED, Label, LabelScheme
from autoseg.metrics.overlap import dice
from autoseg.network.losses import segmentation_loss
from autoseg.network.memory import training_bytes
from autoseg.network.outputs import activate
from autoseg.network.weights import load_networks
from autoseg.plan import Level, LossPlan, NetworkPlan, Plan, parse_plan
from autoseg.planning import rules
from autoseg.planning.ceiling import ceilings
from autoseg.run import FoldFolder, Run
from autoseg.training import loop
from autoseg.training.loop import Fold, train
from autoseg.training.validate import examine

BRATS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
WHOLE, CORE, ENHANCING = (Label(value=n, name=name) for n, name in enumerate(("whole", "core", "enhancing"), 1))
TUMOUR = LabelScheme(labels=(WHOLE, CORE, ENHANCING), regions=((1, 2, 3), (2, 3), (3,)))
DICE_BCE = LossPlan(kind="dice-ce", background=False, over="batch")
MM = (1.0, 1.0, 1.0)
seeds = st.integers(0, 999)


def scheme_in(labels: dict[str, object], order: object) -> LabelScheme:
    return scheme_of(Path("d.json"), {"labels": labels} | ({} if order is None else {"regions_class_order": order}))


def test_a_label_that_is_a_list_makes_regions_of_all_in_the_order_of_the_file() -> None:
    assert scheme_in(BRATS, [1, 2, 3]) == TUMOUR
    reverse = scheme_in({"enhancing": [3], "ignore": 9, "whole": [1, 2, 3]}, [3, 1])
    assert reverse.labels == (Label(value=3, name="enhancing"), Label(value=1, name="whole"))
    assert (reverse.regions, reverse.ignored) == (((3,), (1, 2, 3)), 9)
    assert scheme_in({"liver": [2], "spleen": [1]}, None).regions is None  # one value each: disjoint


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [
        (BRATS, None, 'regions need "regions_class_order", the value that each is painted as: whole, core, enhancing'),
        (BRATS, [1, 2], r"regions_class_order has 2 values for 3 regions \(whole, core, enhancing\); correct it"),
        (BRATS, [1, 1, 3], r"paints 'core' as 1, which is none of its values \[2, 3\]; correct it"),
        (BRATS, [2, 2, 3], "paints two regions as 2; give each its own value"),
        ({"whole": [1, 2], "core": [2, 2]}, [1, 2], "region 'core' holds 2 twice; list every value once"),
        ({"whole": [1, 2], "core": []}, [1, 2], "region 'core' is empty; list its values, or leave it out"),
        ({"whole": [0, 1, 2], "core": 2}, [1, 2], "region 'whole' holds 0, which is background; leave it out"),
        ({"a": [1, 2], "b": [2, 1]}, [1, 2], "regions 'a' and 'b' hold the same values; leave one out"),
        ({"a": [1, 2], "A ": [2]}, [1, 2], "regions 'a' and 'A' differ only in capitals; give each its own name"),
        ({"a": [1, 9], "b": 1, "ignore": 9}, [9, 1], "region 'a' holds 9, which is to be ignored; leave it out"),
        ({"a": [1, "x"], "b": 1}, [1, 1], "label 'a': 'x' is no value; beside regions every label is a whole number"),
    ],
)
def test_a_region_that_does_not_fit_is_told_in_one_line(labels: dict[str, object], order: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as error:
        scheme_in(labels, order)
    assert str(error.value).startswith("d.json: ")
    assert "\n" not in str(error.value)


def test_a_plan_holds_regions_only_where_there_are_some() -> None:
    plan = region_plan()
    assert parse_plan(plan.model_dump_json(), "plan.json") == plan
    assert plan.scheme == TUMOUR
    assert "regions" not in made.plan().model_dump_json()


def test_score_reads_regions_from_a_dataset_and_from_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    for text in (json.dumps({"labels": BRATS, "regions_class_order": [1, 2, 3]}), region_plan().model_dump_json()):
        file.write_text(text)
        assert regions_in(file) == TUMOUR
        assert organ_names(file) == TUMOUR.names
    file.write_text(made.plan().model_dump_json())
    assert regions_in(file) is None


def region_plan(**changes: object) -> Plan:
    labels = {"labels": TUMOUR.labels, "regions": TUMOUR.regions, "loss": DICE_BCE}
    return made.plan(**(labels | changes))


def nested(shape: Voxels, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (1, Z, Y, X) that is easy to segment, and its atoms: a block, a block in it, and one in that."""
    label = np.zeros(shape, dtype=np.uint8)
    for value, inset in ((1, 1), (2, 2), (3, 4)):
        label[tuple(slice(inset, n - inset) for n in shape)] = value
    noise = np.random.default_rng(seed).normal(0, 0.1, shape)
    return (label - 1.5 + noise).astype(np.float32)[None], label


def test_facts_are_those_of_whole_regions() -> None:
    image, label = nested((12, 12, 12))
    grid = Grid(shape=(12, 12, 12), spacing_mm=(10.0, 10.0, 10.0))
    facts = case_facts("a", Volume(array=image, grid=grid, stored=grid), label, TUMOUR)
    assert [(organ.value, organ.voxels, organ.islands) for organ in facts.organs] == [
        (1, 10**3, 1), (2, 8**3, 1), (3, 4**3, 1)
    ]  # fmt: skip
    dataset = Dataset(name="d", root=Path(), channels=("MR",), labels=TUMOUR.labels, cases=(), regions=TUMOUR.regions)
    numbers = fingerprint(dataset, [facts])
    assert numbers.regions == TUMOUR.regions
    assert numbers.organs[0].mean_share == pytest.approx(1000 / 1728)
    assert rules.class_weights(numbers)[0] == pytest.approx((728 / 1000) ** 0.5, abs=1e-4)
    core = np.where(label == 3, 2, label)
    without = case_facts("b", Volume(array=image, grid=grid, stored=grid), core, TUMOUR)
    texts = [finding.found for finding in organ_findings([without], dataset) if finding.code == "region-value-never"]
    assert texts == [f"no case has the value 3 of region {name}" for name in ("whole", "core", "enhancing")]


@pytest.mark.parametrize("weights", [None, (2.0, 3.0, 5.0)])
def test_the_loss_is_dice_and_binary_cross_entropy_of_each_region(weights: tuple[float, ...] | None) -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 2, 3, 4), torch.randint(0, 4, (2, 2, 3, 4))
    probabilities = logits.sigmoid()
    terms, entropies = [], []
    for place, values in enumerate(TUMOUR.regions or ()):
        p, r = probabilities[:, place], torch.isin(truth, torch.tensor(values)).float()
        terms.append(-2 * (p * r).sum() / (p.sum() + r.sum()))
        w = torch.ones_like(r) if weights is None else 1 + (weights[place] - 1) * r
        entropies.append((binary_cross_entropy(p, r, reduction="none") * w).sum() / w.sum())
    expected = torch.stack(terms).mean() + torch.stack(entropies).mean()
    given_weights = None if weights is None else torch.tensor(weights)
    found = segmentation_loss(logits, truth, DICE_BCE, given_weights, None, TUMOUR)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    sparse = LabelScheme(labels=TUMOUR.labels, regions=TUMOUR.regions, ignored=9)
    more = torch.cat((truth, torch.full_like(truth, IGNORED)), dim=1)
    padded = torch.cat((logits, torch.randn_like(logits)), dim=2)
    part = segmentation_loss(padded, more, DICE_BCE, given_weights, None, sparse)
    assert part.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("ignored", [None, 9])
def test_the_gradient_is_that_of_the_same_loss_written_with_torch(ignored: int | None) -> None:
    torch.manual_seed(1)
    scheme = LabelScheme(labels=TUMOUR.labels, regions=TUMOUR.regions, ignored=ignored, logit_scale=4.0)
    truth, weights = torch.randint(0, 4, (2, 2, 3, 4)), torch.tensor((2.0, 3.0, 5.0))
    known = torch.rand(truth.shape) < 0.7 if ignored else torch.ones(truth.shape, dtype=torch.bool)
    truth[~known] = IGNORED
    gradients = []
    for own in (True, False):
        torch.manual_seed(2)
        logits = torch.randn(2, 3, 2, 3, 4, requires_grad=True)
        if own:
            value = segmentation_loss(logits, truth, DICE_BCE, weights, None, scheme)
        else:
            terms, entropies = [], []
            for place, values in enumerate(TUMOUR.regions or ()):
                p, r = (4 * logits[:, place]).sigmoid()[known], torch.isin(truth, torch.tensor(values)).float()[known]
                terms.append(-2 * (p * r).sum() / (p.sum() + r.sum()))
                w = 1 + (weights[place] - 1) * r
                entropies.append((binary_cross_entropy(p, r, reduction="none") * w).sum() / w.sum())
            value = torch.stack(terms).mean() + torch.stack(entropies).mean()
        value.backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_outputs_of_regions_are_scaled_where_the_plan_says_so() -> None:
    logits = torch.tensor([[[[0.5]]], [[[-0.25]]], [[[0.0]]]])
    assert activate(region_plan().scheme, logits, 0).ravel().tolist() == pytest.approx(
        logits.sigmoid().ravel().tolist()
    )
    scaled = region_plan(logit_scale=4.0)
    expected = torch.tensor([2.0, -1.0, 0.0]).sigmoid().tolist()
    assert activate(scaled.scheme, logits, 0).ravel().tolist() == pytest.approx(expected)
    assert parse_plan(scaled.model_dump_json(), "plan.json") == scaled
    assert "logit_scale" not in region_plan().model_dump_json()


class Sure(nn.Module):
    """Tells each region of `nested`, or each part, from its brightness, with logits far from 0."""

    def __init__(self, *, by_parts: bool) -> None:
        super().__init__()
        self.factor, self.by_parts = nn.Parameter(torch.tensor(1e4)), by_parts

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        brightness = image + 1.5
        if self.by_parts:
            return torch.cat([-self.factor * (brightness - part).square() for part in range(4)], dim=1)
        return torch.cat([self.factor * (brightness - border) for border in (0.5, 1.5, 2.5)], dim=1)


@pytest.mark.parametrize("by_parts", [False, True])
def test_a_network_that_is_sure_has_a_validation_loss(tmp_path: Path, *, by_parts: bool) -> None:
    case = made.cached_case(tmp_path / "cache", "c", *nested((12, 12, 12), 0))
    of_outputs = {"region_parts": True} if by_parts else {"logit_scale": 4.0}
    plan = region_plan(crop_size=(12, 12, 12), tile_depth=8, precision="float32", **of_outputs)
    examined = examine(Sure(by_parts=by_parts), plan, [case])
    assert examined.loss == pytest.approx(-1.0, abs=1e-3)
    assert set(examined.dice.values()) == {1.0}


def test_eight_regions_need_hardly_more_memory_than_eight_classes() -> None:
    labels = tuple(Label(value=value, name=f"organ {value}") for value in range(1, 9))
    network = NetworkPlan(stages=tuple(Level(features=(width, width)) for width in (16, 32, 64, 128)), up="skip")
    same = {"loss": DICE_BCE, "network": network, "crop_size": (64, 64, 64)}
    nested_in_each_other = tuple(tuple(range(value, 9)) for value in range(1, 9))
    regions = training_bytes(
        made.plan(labels=labels, regions=nested_in_each_other, region_parts=True, **same), bfloat16=True
    )
    assert regions < 1.05 * training_bytes(made.plan(labels=labels[:7], **same), bfloat16=True)


@pytest.mark.parametrize("dense", [0.0, 1.0])
@settings(max_examples=30)
@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.booleans(), seeds)
def test_upsampling_is_that_of_every_region_by_itself(
    dense: float, shape: Voxels, full: Voxels, smooth: bool, seed: int
) -> None:
    noise = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(seed))
    if smooth:
        noise = interpolate(interpolate(noise, (2, 2, 2), mode="area"), shape, mode="trilinear") * 9
    probabilities = noise[0].sigmoid()
    upsampler = Upsampler(TUMOUR, shape, full)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoseg.inference.upsample.DENSE", dense)
        for z in range(shape[0]):
            upsampler.add(probabilities[:, z : z + 1])
    whole = interpolate(probabilities[None], full, mode="trilinear", align_corners=False)[0]
    clear = ((whole - 0.5).abs() > 1e-6).all(dim=0).numpy()
    expected = TUMOUR.decide(whole).numpy()
    np.testing.assert_array_equal(upsampler.mask[clear], expected[clear])


@given(seeds)
@settings(max_examples=30)
def test_fed_with_the_truth_the_label_map_comes_back_voxel_for_voxel(seed: int) -> None:
    atoms = np.random.default_rng(seed).integers(0, 4, (3, 5, 4)).astype(np.uint8)
    truth = torch.from_numpy(TUMOUR.membership[atoms].astype(np.float32)).permute(3, 0, 1, 2)
    upsampler = Upsampler(TUMOUR, atoms.shape, atoms.shape)
    upsampler.add(truth)
    np.testing.assert_array_equal(TUMOUR.decode(upsampler.mask), atoms)
    assert upsampler.certainty.estimates() == tuple(
        pytest.approx(1.0) if (atoms >= n).any() else None for n in (1, 2, 3)
    )


def test_what_a_region_loses_becomes_the_region_around_it() -> None:
    assert without_region(TUMOUR, 2)[:4].tolist() == [0, 1, 2, 2]  # enhancing, to core
    assert without_region(TUMOUR, 1)[:4].tolist() == [0, 1, 1, 1]  # core with enhancing, to whole
    assert without_region(TUMOUR, 0)[:4].tolist() == [0, 0, 0, 0]
    assert with_region(TUMOUR, 1)[:4].tolist() == [2, 2, 2, 3]
    mask = np.zeros((1, 5, 12), np.uint8)
    mask[0, 1:4, 1:9] = 1
    mask[0, 2, 2], mask[0, 2, 4:7], mask[0, 2, 5], mask[0, 2, 11] = 2, 2, 3, 1
    apply_rules(mask, [PostprocessRule(label=2, largest=True)], MM, TUMOUR)
    assert (mask[0, 2, 2], mask[0, 2, 11], mask[0, 2, 5]) == (1, 1, 3)
    apply_rules(mask, [PostprocessRule(label=1, largest=True)], MM, TUMOUR)
    assert mask[0, 2].tolist() == [0, 1, 1, 1, 2, 3, 2, 1, 1, 0, 0, 0]
    mask[0, 2, 1:9] = [1, 2, 1, 2, 1, 2, 1, 1]
    ring = np.zeros((3, 5, 5), np.uint8)
    ring[:, 1:4, 1:4] = 1
    ring[1, 2, 2] = 0
    apply_rules(ring, [PostprocessRule(label=1, holes=True)], MM, TUMOUR)
    assert ring[1, 2, 2] == 1


def test_rules_are_chosen_for_regions_by_their_places() -> None:
    _, truth = nested((14, 14, 14))
    mask = truth.copy()
    mask[2, 2, 2] = 1
    mask[2, 2, 11], mask[11, 2, 2] = 3, 3  # stray enhancing, which is stray core, too, in no larger piece
    mask[mask == 3] = np.where(ndimage.label(mask == 3)[0][mask == 3] >= 1, 3, 0)
    chosen = choose_region_rules([mask] * 2, [truth] * 2, TUMOUR, [MM] * 2)
    assert [rule.label for rule in chosen] == [3]
    apply_rules(mask, chosen, MM, TUMOUR)
    assert not (mask[truth < 3] == 3).any()


def test_the_ceiling_of_a_region_is_that_of_its_own_mask() -> None:
    truth = np.zeros((8, 16, 16), np.uint8)
    truth[:, 2:14, 2:14], truth[:, 4:12, 4:12], truth[:, 6:9, 6:9] = 1, 2, 3
    assert ceilings(truth, TUMOUR, [(8, 16, 16)]) == [{1: 1.0, 2: 1.0, 3: 1.0}]
    (found,) = ceilings(truth, TUMOUR, [(8, 8, 8)])
    for organ in (WHOLE, CORE):  # whose borders lie between working voxels: the vote is theirs alone
        alone = TUMOUR.mask(truth, organ).astype(np.uint8)
        (expected,) = ceilings(alone, made.scheme(2), [(8, 8, 8)])
        assert found[organ.value] == pytest.approx(expected[1])
    assert found[3] < 1.0


def test_regions_reach_the_dice_of_the_same_organs_learnt_disjointly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "draw_curves", lambda *_: [])
    cases = tuple(made.cached_case(tmp_path / "cache", f"c{n}", *nested((12, 12, 12), n)) for n in range(5))
    image, truth = cases[4].image(), np.array(cases[4].label())
    disjoint = LossPlan(kind="dice-ce", background=False, over="batch")
    settings = {"iterations": 80, "crop_size": (12, 12, 12), "learning_rate": 0.02, "tile_depth": 12}
    means = {}
    for name, plan in (
        ("regions", region_plan(region_parts=True, **settings)),
        ("organs", made.plan(labels=TUMOUR.labels, loss=disjoint, **settings)),
    ):
        fold = Fold(plan=plan, training=cases[:4], validation=cases[4:], files=FoldFolder(tmp_path / name), workers=0)
        assert train(fold, lambda _: None, lambda: False)
        networks, _, _ = load_networks(fold.files.model, "cpu")
        tiling = choose_tiling((12, 12, 12), plan)
        mask = np.concatenate(
            [plan.scheme.decide(slab).numpy() for slab in probability_slabs(Ensemble(networks, plan), image, tiling)]
        )
        means[name] = np.mean([value or 0.0 for value in dice(mask, truth, TUMOUR.atoms_of).values()])
    assert means["regions"] > 0.9
    assert means["regions"] > means["organs"] - 0.01


def write_region_cohort(folder: Path, count: int = 5) -> Path:
    """Write a cohort of a liver with a lesion in it, and a core in that; brighter inwards, at varying places."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    grid = Grid(shape=(24, 40, 40), spacing_mm=(3.0, 3.0, 3.0))
    z, y, x = np.indices(grid.shape)
    for n in range(count):
        rng = np.random.default_rng(n)
        centre = np.array([12, 20, 20]) + rng.uniform(-2, 2, 3)
        far = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
        label = sum((far < radius).astype(np.uint8) for radius in (11, 7, 4))
        image = -100.0 + 80.0 * label + rng.normal(0, 15, grid.shape)
        write_array(folder / "imagesTr" / f"c{n}_0000.nii.gz", image.astype(np.float32), grid)
        write_array(folder / "labelsTr" / f"c{n}.nii.gz", np.asarray(label, dtype=np.uint8), grid)
    meta = {"name": "Liver", "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    meta |= {"labels": {"background": 0, "liver": [1, 2, 3], "lesion": [2, 3], "core": 3}}
    (folder / "dataset.json").write_text(json.dumps(meta | {"regions_class_order": [1, 2, 3]}))
    return folder


def test_a_region_cohort_goes_through_all_steps(tmp_path: Path, cli: Cli) -> None:
    data, folder = write_region_cohort(tmp_path / "data"), tmp_path / "RUN"
    code, _, err = cli("run", data, folder, *SMALL)
    assert code == 0, err
    run = Run(folder)
    scheme = run.plan().scheme
    assert (scheme.names, scheme.regions) == ({1: "liver", 2: "lesion", 3: "core"}, ((1, 2, 3), (2, 3), (3,)))
    scores = read_scores(run.scores_file)
    case = next(case for case in load_dataset(data).cases if case.id == "c1")
    mask, truth = read_label(run.fold(0).prediction(case.id)).array, read_label(case.label).array
    own = scores[(scores["case"] == "c1") & (scores["grid"] == "original")].set_index(["organ", "metric"])["value"]
    for organ, value in dice(mask, truth, {organ.name: scheme.values_of(organ) for organ in scheme.labels}).items():
        assert own[organ, "dice"] == pytest.approx(value)  # type: ignore[index]
    assert {"expected_dice", "ceiling_dice", "hd95_mm"} <= set(scores["metric"])
    out = tmp_path / "out"
    code, _, err = cli("predict", folder, case.images[0], out, "--per-organ", "--probabilities", "--device", "cpu")
    assert code == 0, err
    masks = {file.name: read_label(file).array for file in out.rglob("*.nii.gz") if "percent" not in file.name}
    np.testing.assert_array_equal(masks["lesion.nii.gz"] > 0, mask >= 2)
    assert (cli("view", folder, "c1", "--no-open", "--out", tmp_path / "c1.html")[0]) == 0
    again = tmp_path / "again.csv"
    arguments = (run.fold(0).predictions, data / "labelsTr", "--labels", data / "dataset.json", "--out", again)
    assert cli("score", *arguments)[0] == 0
    rescored = read_scores(again).set_index(["case", "organ", "metric"])["value"]
    assert rescored["c1", "lesion", "dice"] == pytest.approx(own["lesion", "dice"])  # type: ignore[index]
    meta = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(meta | {"regions_class_order": [1, 2]}))
    assert_one_line(cli("check", data), "regions_class_order has 2 values for 3 regions")
