"""Tests of autoseg.inference.model as a Python program uses it."""

from __future__ import annotations

import re
from pathlib import Path

import made
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import autoseg
from autoseg.errors import ModelError, VolumeError
from autoseg.imaging.grid import Grid
from autoseg.imaging.itk import image_of
from autoseg.imaging.volumes import Volume, read_label, write_array
from autoseg.inference.calibration import Calibration
from autoseg.inference.model import Model
from autoseg.inference.opening import open_fold
from autoseg.inference.postprocess import PostprocessRule
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.network.build import build
from autoseg.network.weights import save_model
from autoseg.run import Run

PLAN = made.plan(tile_depth=None, spacing_mm=(2.0, 2.0, 2.0))
TURNED = (0.0, 0.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # x to the front, y to the head, z to the right
GRID = Grid(shape=(12, 16, 20), spacing_mm=(3.0, 2.0, 1.5), origin_mm=(5.0, -7.0, 9.0), direction=TURNED)
VOXELS = np.kron(np.random.default_rng(0).normal(0, 300, (3, 4, 5)), np.ones((4, 4, 4))).astype(np.int16)
HOW_TO = (Path(__file__).parents[2] / "docs" / "how-to.md").read_text(encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, made the working directory, with a RUN of one fold and an image scan.nii.gz."""
    torch.manual_seed(0)
    save_model(tmp_path / "RUN" / "fold-0" / "model.autoseg", PLAN, build(PLAN).state_dict(), {})
    write_array(tmp_path / "scan.nii.gz", VOXELS, GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(files: Path) -> Model:
    return autoseg.load_model(str(files / "RUN"), "cpu")


def test_the_mask_of_an_image_is_the_same_in_whatever_form_it_comes(model: Model) -> None:
    prediction = model.predict("scan.nii.gz")
    assert isinstance(prediction.mask, Volume)
    autoseg.write_label("mask.nii.gz", prediction.mask)
    expected = sitk.GetArrayFromImage(sitk.ReadImage("mask.nii.gz"))  # on the axes of the file
    assert len(np.unique(expected)) > 1
    volume = model.predict(autoseg.read_image("scan.nii.gz")).mask
    np.testing.assert_array_equal(volume.array, prediction.mask.array)
    array = autoseg.array_image(VOXELS, GRID.spacing_mm, GRID.origin_mm, GRID.direction)
    np.testing.assert_array_equal(model.predict(array).mask, expected)
    mask = model.predict(image_of(VOXELS, GRID)).mask
    assert mask.GetDirection() == TURNED
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), expected)


def test_the_mask_of_a_nibabel_image_is_one_with_its_affine(model: Model, files: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.load("scan.nii.gz")
    nibabel.save(model.predict(image).mask, "mask.nii.gz")
    found, expected = read_label(files / "mask.nii.gz"), model.predict(files / "scan.nii.gz").mask
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.stored.matrix(), expected.stored.matrix(), atol=1e-5)


def test_folds_whose_outputs_are_scaled_differently_are_refused(tmp_path: Path) -> None:
    for fold, scale in enumerate((None, 4.0)):
        plan = made.plan(regions=((1, 2), (2,)), logit_scale=scale)
        save_model(tmp_path / f"fold-{fold}" / "model.autoseg", plan, build(plan).state_dict(), {})
    with pytest.raises(ModelError, match="its folds were trained under different plans"):
        autoseg.load_model(str(tmp_path), "cpu")


def test_folds_that_are_not_ready_are_named_and_teach_an_ensemble_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rule = PostprocessRule(label=1, largest=True)
    line = Calibration(slope=2.0, intercept=-1.0, low=0.6, high=0.9, scatter=0.1)
    steep = line.model_copy(update={"slope": 4.0})
    evaluated = [Postprocessing(cleanup=(rule,), calibration=one, learnt_from="x") for one in (line, steep)]
    few = Postprocessing(cleanup=(rule,), learnt_from="x")  # cases, so no line was fitted
    folds = [(Postprocessing(), PLAN.iterations), *((one, PLAN.iterations) for one in evaluated), (few, 1)]
    for fold, (after, done) in enumerate(folds):
        facts = {"iteration": done, "aftercare": after.model_dump(mode="json", by_alias=True)}
        save_model(tmp_path / f"fold-{fold}" / "model.autoseg", PLAN, build(PLAN).state_dict(), facts)
    learnt = autoseg.load_model(str(tmp_path), "cpu").postprocessing
    assert learnt.cleanup == (rule,)
    assert learnt.calibration == line.model_copy(update={"slope": 3.0})
    told = "\n".join(caplog.messages)
    assert len(caplog.messages) == 2
    assert "fold-0: is not evaluated, so clean-up and expected Dice are those of the other folds" in told
    assert f"fold-3: has 1 of its {PLAN.iterations} iterations, and counts as much as the other folds" in told


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"iteration": 1}, f"has 1 of its {PLAN.iterations} iterations: it is still being trained, or was ended early"),
        ({"iteration": PLAN.iterations}, "is not evaluated, so its masks are not cleaned up"),
        ({"iteration": PLAN.iterations, "aftercare": {"learnt_from": "x"}}, ""),
        ({"iteration": PLAN.iterations, "aftercare": {"learnt_from": "x"}, "stages": 2}, "is the first of two stages"),
    ],
)
def test_a_single_fold_that_is_not_ready_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, facts: dict[str, object], told: str
) -> None:
    file = tmp_path / "fold-0" / "model.autoseg"
    save_model(file, PLAN, build(PLAN).state_dict(), facts)
    autoseg.load_model(file, "cpu")
    assert [message.startswith(f"{file}: {told}") for message in caplog.messages] == [True] * bool(told)
    caplog.clear()
    open_fold(Run(tmp_path), 0, "cpu")  # to be evaluated, as one may be in parts
    assert not caplog.messages


def test_an_image_of_too_many_channels_is_refused(model: Model) -> None:
    with pytest.raises(VolumeError, match="channel"):
        model.predict(["scan.nii.gz", "scan.nii.gz"])


def test_what_is_odd_in_an_image_is_told_in_python_too(
    model: Model, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (files / "scan.nii.gz").write_bytes((files / "scan.nii.gz").read_bytes() + b"x" * 1000)
    model.predict("scan.nii.gz")
    assert "scan.nii.gz: " in caplog.text
    assert "after the end of the packed data are ignored" in caplog.text


@pytest.mark.usefixtures("files")
def test_the_python_of_the_how_to_runs() -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL) if "load_model" in block)
    names: dict[str, object] = {}
    exec(compile(code, "how-to.md", "exec"), names)
    assert read_label(Path("mask.nii.gz")).stored.shape == GRID.shape
    assert np.shape(names["values"]) == GRID.shape  # type: ignore[arg-type]
