"""Single slices from end to end: pictures of discs are planned in 2D, learnt, scored, shown and predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from command_line import Cli, assert_one_line

from autoseg.plan import load_plan

QUICK = ("--device", "cpu", "--iterations", "4", "-j", "1")


def write_discs(folder: Path, cases: int = 4, value: int = 1) -> Path:
    """Write pictures of a bright disc in noise, and masks of 0 and `value`, in nnU-Net's raw layout."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for case in range(cases):
        disc = (y - rng.uniform(15, 25)) ** 2 + (x - rng.uniform(18, 30)) ** 2 < rng.uniform(7, 10) ** 2
        image = np.clip(60 + 100 * disc + rng.normal(0, 10, disc.shape), 0, 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"disc{case}_0000.png"))
        mask = sitk.GetImageFromArray(disc.astype(np.uint8) * value)
        sitk.WriteImage(mask, str(folder / "labelsTr" / f"disc{case}.png"))
    about = {"channel_names": {"0": "US"}, "labels": {"background": 0, "disc": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps({**about, "spacing": [0.5, 0.5]}), encoding="utf-8")
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("discs") / "data")


def test_pictures_go_from_end_to_end(discs: Path, tmp_path: Path, cli: Cli) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert cli("run", discs, run, *QUICK)[0] == 0
    plan = load_plan(run / "plan.json")
    assert (plan.flat_axis, plan.crop_size[0], plan.spacing_mm) == ("z", 1, (1.0, 0.5, 0.5))
    assert "**Slices** along z are seen one by one, as there is one" in (run / "plan.md").read_text(encoding="utf-8")
    scores = pd.read_csv(run / "scores.csv")
    assert scores["case"].nunique() == 4
    assert not [
        row for row in json.loads((run / "check.json").read_text(encoding="utf-8")) if row["code"] == "organ-cut"
    ]
    assert not list((run / "report" / "surfaces").glob("*"))
    assert list((run / "report" / "organs").glob("*.webp"))
    assert cli("predict", run, discs / "imagesTr", out)[0] == 0
    mask = sitk.ReadImage(str(out / "disc0.png"))
    assert mask.GetSize() == (48, 40)
    film = tmp_path / "film.tif"
    frame = sitk.ReadImage(str(discs / "imagesTr" / "disc0_0000.png"))
    sitk.WriteImage(sitk.JoinSeries([frame] * 2), str(film))
    (tmp_path / "film.json").write_text('{"spacing": [1, 0.5, 0.5]}', encoding="utf-8")
    assert cli("predict", run, film, tmp_path / "film_mask.tif")[0] == 0
    assert_one_line(cli("predict", run, film, tmp_path / "film_mask.png"), "a PNG holds one slice, and the mask has 2")
    first, second = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "film_mask.tif")))
    np.testing.assert_array_equal(first, second)  # each frame by itself
    assert np.mean(first != sitk.GetArrayFromImage(mask)) < 0.02  # as alone, but for the rounding of a raw network
    assert cli("score", out, discs / "labelsTr", "--out", tmp_path / "scores.csv", "-j", "1")[0] == 0
    of_files = pd.read_csv(tmp_path / "scores.csv").query("metric == 'hd95_mm'").set_index("case")["value"]
    of_run = scores.query("metric == 'hd95_mm' and grid == 'original'").set_index("case")["value"]
    assert of_files["disc0"] == pytest.approx(of_run["disc0"])


def test_a_picture_without_spacing_is_told_with_the_way_out(tmp_path: Path, cli: Cli) -> None:
    data = write_discs(tmp_path / "data", cases=2)
    meta = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    del meta["spacing"]
    (data / "dataset.json").write_text(json.dumps(meta), encoding="utf-8")
    cli("check", data, "--json", tmp_path / "rows.json")
    found = [row for row in rows(tmp_path) if row["case"] == "disc0" and row["code"] == "image-unusable"]
    assert found[0]["found"].startswith("does not say how large a pixel is")


def test_masks_of_0_and_255_are_told_with_the_way_out(tmp_path: Path, cli: Cli) -> None:
    data = write_discs(tmp_path / "data", cases=2, value=255)
    cli("check", data, "--json", tmp_path / "rows.json")
    found = [row for row in rows(tmp_path) if row["code"] == "label-values"]
    assert "write 255 as the value of its label in dataset.json" in found[0]["fix"]


def test_a_picture_in_colour_where_one_channel_is_named_is_told(tmp_path: Path, cli: Cli) -> None:
    data = write_discs(tmp_path / "data", cases=2)
    colours = np.zeros((40, 48, 3), np.uint8)
    colours[..., 0] = np.arange(48)
    file = data / "imagesTr" / "disc0_0000.png"
    sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(file))
    cli("check", data, "--json", tmp_path / "rows.json")
    found = [row for row in rows(tmp_path) if row["code"] == "channels"]
    assert "3 channels" in found[0]["found"]
    assert "in colour" in found[0]["fix"]


def test_a_volume_among_single_slices_is_told(tmp_path: Path, cli: Cli) -> None:
    data = write_discs(tmp_path / "data", cases=3)
    for part, name in (("imagesTr", "disc0_0000"), ("labelsTr", "disc0")):
        one = sitk.ReadImage(str(data / part / f"{name}.png"))
        (data / part / f"{name}.png").unlink()
        sitk.WriteImage(sitk.JoinSeries([one] * 4), str(data / part / f"{name}.nii.gz"))
    cli("check", data, "--json", tmp_path / "rows.json")
    found = [row for row in rows(tmp_path) if row["code"] == "slices"]
    assert [row["case"] for row in found] == ["disc0"]
    assert "4 slices" in found[0]["found"]
