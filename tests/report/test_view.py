"""view: a page with a case's own voxels and places, which opens without a network."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import made
import numpy as np
import numpy.typing as npt
import pytest

from autoseg.errors import DatasetError
from autoseg.figures.colours import organ_colour
from autoseg.files import write_text
from autoseg.imaging.grid import Grid, corner_distance_mm
from autoseg.imaging.volumes import Volume, read_image, read_label, write_array
from autoseg.labels import Label
from autoseg.plan import Intensity
from autoseg.report import view, view_volumes, viewer
from autoseg.report.view import write_view, write_views
from autoseg.report.viewer import Organ, ViewContent, Window, view_page
from autoseg.run import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><script>alert(1)</script>"
OBLIQUE = Grid(
    shape=(6, 8, 10),
    spacing_mm=(5.0, 0.8, 0.7),
    origin_mm=(12.5, -80.0, 33.25),
    direction=(0.0, 0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, -0.6),  # x runs to the back, y to the left and head
)


class Page(HTMLParser):
    """The elements of a page, and what its scripts hold."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.seen: list[str] = []
        self.text = file.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem:
            self.scripts[-1] += data
        else:
            self.seen.append(data)

    def inside(self, name: str) -> str | None:
        scripts = [attributes for tag, attributes in self.elements if tag == "script"]
        return next((held for held, at in zip(self.scripts, scripts, strict=True) if at.get("id") == name), None)

    def volume(self, name: str, folder: Path) -> Volume:
        file = folder / f"{name}.nii.gz"
        file.write_bytes(base64.b64decode(self.inside(f"volume-{name}") or ""))
        return read_image([file]) if name == "image" else read_label(file)


def run_of(
    folder: Path, image: npt.NDArray[np.generic], truth: npt.NDArray[np.uint8], stored: Grid = OBLIQUE, kind: str = "ct"
) -> Run:
    """Return a run of one case, "case_1"; organs 1 and 5."""
    data, run = folder / "data", Run(folder / "run")
    write_array(data / "imagesTr" / "case_1_0000.nii.gz", image, stored)
    write_array(data / "labelsTr" / "case_1.nii.gz", truth, stored)
    meta = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, HOSTILE: 5}, "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(meta), encoding="utf-8")
    labels = (Label(value=1, name="liver"), Label(value=5, name=HOSTILE))
    of_kind = made.CT if kind == "ct" else Intensity(kind="per-image", low=0.5, high=99.5)
    write_text(run.plan_file, made.plan(labels=labels, intensity=(of_kind,)).model_dump_json())
    run.dataset_file.write_text(json.dumps({"dataset": str(data)}), encoding="utf-8")
    split = [{"training": ["other"], "validation": [], "testing": ["case_1"]}]
    run.split_file.write_text(json.dumps(split), encoding="utf-8")
    return run


def small_case(seed: int = 0) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    draw = np.random.default_rng(seed)
    image = draw.integers(-1000, 2000, OBLIQUE.shape).astype(np.int16)
    return image, draw.choice(np.array([0, 1, 5], np.uint8), OBLIQUE.shape)


def predict(run: Run, mask: npt.NDArray[np.uint8], stored: Grid = OBLIQUE, fold: int = 0) -> None:
    write_array(run.fold(fold).prediction("case_1"), mask, stored)


def content_of(**changes: object) -> ViewContent:
    settings: dict[str, object] = {
        "title": "Data & <co>",
        "case": "case_1",
        "notes": (HOSTILE,),
        "image": b"image",
        "slope": 1.0,
        "intercept": 0.0,
        "unit": "HU",
        "windows": (Window(name="Soft tissue", low=-160.0, high=240.0),),
        "truth": b"truth",
        "prediction": b"prediction",
        "organs": (Organ(name=HOSTILE, truth_ml=1.5, prediction_ml=0.0, dice=0.0),),
    }
    return ViewContent(**(settings | changes))  # type: ignore[arg-type]


def test_the_page_needs_nothing_else_and_runs_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, script, notice = (tmp_path / name for name in ("case.html", "niivue.js", "notice.txt"))
    script.write_text("const hint = `</script><!-- <script>`; const slash = /[<]\\/x/;", encoding="utf-8")
    notice.write_text("Licence & notice", encoding="utf-8")
    monkeypatch.setattr(viewer, "SCRIPT", script)
    monkeypatch.setattr(viewer, "NOTICE", notice)
    file.write_text(view_page(content_of()), encoding="utf-8")
    page = Page(file)
    for tag, attributes in page.elements:
        assert not any((attributes.get(name) or "data:").split(":")[0] != "data" for name in ("src", "href")), tag
        assert not [name for name in attributes if name.startswith("on")]
    assert len(page.scripts) == 7  # facts, three volumes, shader, NiiVue, the page's own
    assert page.scripts[-2] == "const hint = `\\x3C/script>\\x3C!-- \\x3Cscript>`; const slash = /[<]\\/x/;"
    assert json.loads(page.inside("facts") or "")["organs"] == [{"name": HOSTILE, "colour": organ_colour(0)}]
    assert HOSTILE in "".join(page.seen)
    assert "default-src 'none'" in page.text
    assert not {"fetch(", "XMLHttpRequest", "import("} & set(page.scripts[-1].split())


def test_a_page_without_a_prediction_has_no_control_for_it(tmp_path: Path) -> None:
    file = tmp_path / "case.html"
    file.write_text(view_page(content_of(prediction=None)), encoding="utf-8")
    ids = {attributes.get("id") for _, attributes in Page(file).elements}
    assert {"truth-shown", "volume-truth"} <= ids
    assert not [name for name in ids if name and name.startswith(("prediction", "volume-prediction"))]


def test_voxels_and_places_are_those_of_the_files(tmp_path: Path) -> None:
    image, truth = small_case()
    run = run_of(tmp_path, image, truth)
    predict(run, small_case(seed=1)[1])
    file = write_view(run, "case_1")
    assert file == run.report.views / "case_1.html"
    page, original = Page(file), read_image([tmp_path / "data" / "imagesTr" / "case_1_0000.nii.gz"])
    shown = page.volume("image", tmp_path)
    assert np.array_equal(shown.array, original.array)
    for name, source in (("truth", truth), ("prediction", small_case(seed=1)[1])):
        mask = page.volume(name, tmp_path)
        write_array(tmp_path / "expected.nii.gz", source, OBLIQUE)
        expected = read_label(tmp_path / "expected.nii.gz").array
        assert np.array_equal(mask.array, np.where(expected == 5, 2, expected))  # places in label order
        assert corner_distance_mm(mask.grid, original.grid) < 1e-3
    assert corner_distance_mm(shown.grid, original.grid) < 1e-3
    head = gzip.decompress(base64.b64decode(page.inside("volume-image") or ""))[:352]
    srow = np.frombuffer(head[280:328], "<f4").reshape(3, 4)
    assert all(srow[axis, axis] > 0 for axis in range(3))  # axes to the right, front and head: NiiVue turns nothing
    assert "A testing case of fold 0" in "".join(page.seen)


def test_volumes_and_dice_are_told(tmp_path: Path) -> None:
    image, truth = small_case()
    truth[:] = 0
    truth[0, 0, :4] = 1  # voxels of 2.8 mm³
    run = run_of(tmp_path, image, truth)
    predicted = np.zeros_like(truth)
    predicted[0, 0, 2:8] = 1
    predict(run, predicted)
    organ = view._content(run, run.plan(), view._case_of(view.dataset_of(run), "case_1")).organs[0]
    assert organ.truth_ml == pytest.approx(4 * 2.8e-3)
    assert organ.prediction_ml == pytest.approx(6 * 2.8e-3)
    assert organ.dice == pytest.approx(2 * 2 / (4 + 6))


@pytest.mark.parametrize("case", ["case_2", "../case_1", ""])
def test_an_unknown_case_is_told_with_near_ones(tmp_path: Path, case: str) -> None:
    run = run_of(tmp_path, *small_case())
    with pytest.raises(DatasetError, match=r"has no case .* among its 1; give one as in case_1"):
        write_view(run, case)


def test_without_a_prediction_the_truth_is_shown_and_it_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(tmp_path, *small_case())
    page = Page(write_view(run, "case_1", tmp_path / "pages"))
    assert caplog.messages == [f"there is no prediction of case_1 to show; `autoseg evaluate {run.folder}` makes one"]
    assert page.inside("volume-truth")
    assert page.inside("volume-prediction") is None
    assert "There is no prediction of this case" in "".join(page.seen)


def test_a_prediction_of_another_grid_and_values_without_a_name_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, truth = small_case()
    truth[0, 0, 0] = 9
    run = run_of(tmp_path, image, truth)
    predict(run, np.zeros((2, 2, 2), np.uint8), Grid(shape=(2, 2, 2), spacing_mm=(1, 1, 1)))
    text = "".join(Page(write_view(run, "case_1", tmp_path / "a.html")).seen)
    (told,) = caplog.messages
    assert told.startswith("the prediction is not shown: it has (2, 2, 2) voxels")
    assert told.endswith(f"`autoseg evaluate {run.folder}` makes a new one")
    assert f"T{told[1:]}." in text
    assert "Not shown: 1 voxel of the truth with values that are no organ's." in text


def test_a_damaged_prediction_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_of(tmp_path, *small_case())
    predict(run, small_case()[1])
    file = run.fold(0).prediction("case_1")
    file.write_bytes(file.read_bytes()[:30])
    page = Page(write_view(run, "case_1", tmp_path / "a.html"))
    assert page.inside("volume-prediction") is None
    (told,) = caplog.messages
    assert "damaged, 30 bytes" in told
    assert told.endswith(f"`autoseg evaluate {run.folder}` makes a new one")


def test_the_fold_that_tests_the_case_is_shown(tmp_path: Path) -> None:
    image, truth = small_case()
    run = run_of(tmp_path, image, truth)
    splits = [{"training": ["case_1"], "testing": []}, {"training": ["other"], "testing": ["case_1"]}]
    run.split_file.write_text(json.dumps(splits), encoding="utf-8")
    for fold in (0, 1):
        predict(run, truth, fold=fold)
    assert "A testing case of fold 1" in "".join(Page(write_view(run, "case_1")).seen)


def test_the_pages_of_all_predicted_cases_are_linked_in_their_order(tmp_path: Path) -> None:
    image, truth = small_case()
    run = run_of(tmp_path, image, truth)
    data = tmp_path / "data"
    for case in ("case_2", "case_3", "unpredicted"):
        shutil.copy(data / "imagesTr" / "case_1_0000.nii.gz", data / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copy(data / "labelsTr" / "case_1.nii.gz", data / "labelsTr" / f"{case}.nii.gz")
    for case in ("case_1", "case_2", "case_3"):
        write_array(run.fold(0).prediction(case), truth, OBLIQUE)
    (data / "imagesTr" / "case_3_0000.nii.gz").write_bytes(b"damaged")
    first, failed = write_views(run, tmp_path / "pages")
    assert (first.name, list(failed)) == ("case_1.html", ["case_3"])

    def links(page: Path) -> dict[str | None, str | None]:
        return {one.get("rel"): one.get("href") for tag, one in Page(page).elements if tag == "a"}

    assert links(first) == {"next": "case_2.html"}
    assert links(first.with_name("case_2.html")) == {"prev": "case_1.html", "next": "case_3.html"}
    assert links(write_view(run, "case_2", tmp_path / "pages")) == {"prev": "case_1.html"}  # the third is not there


def test_a_large_case_is_reduced_in_plane_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_volumes, "MOST_VOXELS", 6 * 4 * 5)
    image = np.arange(6 * 8 * 9, dtype=np.int16).reshape(6, 8, 9)
    stored = Grid(shape=(6, 8, 9), spacing_mm=(5.0, 1.0, 1.0))
    page = Page(write_view(run_of(tmp_path, image, (image % 2).astype(np.uint8), stored), "case_1"))
    shown = page.volume("image", tmp_path)
    assert shown.grid.shape == (6, 4, 5)  # 9 columns: the last pair is one, repeated
    assert shown.grid.spacing_mm == pytest.approx((5.0, 2.0, 2.0))
    assert shown.grid.origin_mm == pytest.approx((0.5, 0.5, 0.0))
    assert shown.array[0, 0, 0, 0] == round((0 + 1 + 9 + 10) / 4)
    assert page.volume("truth", tmp_path).array.max() == 1
    assert "9 × 8 × 6 voxels (x, y, z); shown it is reduced by 2 × 2 × 1" in "".join(page.seen)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_intensities_of_mr_come_back_as_nearly_as_16_bits_can(tmp_path: Path, scale: float) -> None:
    image = (scale * np.random.default_rng(0).gamma(2.0, size=OBLIQUE.shape)).astype(np.float32)
    page = Page(write_view(run_of(tmp_path, image, small_case()[1], kind="per-image"), "case_1"))
    facts, original = (
        json.loads(page.inside("facts") or ""),
        read_image([tmp_path / "data/imagesTr/case_1_0000.nii.gz"]),
    )
    back = page.volume("image", tmp_path).array * facts["slope"] + facts["intercept"]
    assert np.abs(back - original.array).max() <= 0.51 * (image.max() - image.min()) / 65535
    assert [window["name"] for window in facts["windows"]] == ["Automatic", "Full range"]


@pytest.mark.parametrize("low", [-5, 40_000])
def test_whole_numbers_of_mr_stay_exact(low: int) -> None:
    image = np.array([[[low, low + 30_000]]], np.int32)
    raw, slope, intercept = view_volumes.as_int16(image, ct=False)
    assert (raw.astype(np.float64) * slope + intercept).tolist() == image.tolist()


PROBE = """
<pre id="probe"></pre>
<script>
const halves = ({leftTopWidthHeight: [l, t, w, h]}) => { // mean colour of the left and the right half of a tile
  const pixels = new Uint8Array(4 * Math.floor(w) * Math.floor(h)), means = [[0, 0, 0], [0, 0, 0]];
  nv.gl.readPixels(l, canvas.height - t - h, w, h, nv.gl.RGBA, nv.gl.UNSIGNED_BYTE, pixels);
  for (let i = 0; i < pixels.length; i += 4) {
    const half = means[Number((i / 4) % Math.floor(w) >= w / 2)];
    for (let c = 0; c < 3; c++) half[c] += 8 * pixels[i + c] / pixels.length;
  }
  return means;
};
const text = (...ids) => ids.map(id => $(id).textContent);
const report = result => { $("probe").textContent = JSON.stringify(result); };
const waiting = setInterval(() => {
  const result = {state: $("state").textContent};
  if (result.state.startsWith("Loading")) return;
  clearInterval(waiting);
  if (result.state) return report(result);
  slow = false;
  $("crosshair").click();
  show(0);
  requestAnimationFrame(() => { // the page has drawn, in the same frame
    for (const tile of nv.screenSlices) result[tile.axCorSag] = halves(tile);
    goTo([1, 20, 10]); // of an array whose axes run to the right, front and head
    result.here = text("mm", "intensity", "truth-here");
    document.querySelector(".find").click();
    result.found = text("truth-here", "slice-0-text");
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowUp", bubbles: true}));
    result.found.push(...text("slice-0-text"));
    report(result);
  });
}, 50);
</script>
"""


def probed(file: Path, profile: Path) -> dict[str, Any]:
    """Open a page; return what its probe tells. On a busy machine the browser may end before the page has drawn."""
    browser = [str(CHROMIUM), "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    options = [f"--user-data-dir={profile}", "--disable-background-networking", "--enable-logging=stderr"]
    for _ in range(5):
        opened = subprocess.run(
            [*browser, *options, "--virtual-time-budget=30000", "--dump-dom", file.as_uri()],
            capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        assert not [line for line in opened.stderr.splitlines() if "CONSOLE" in line and "ReadPixels" not in line]
        told = opened.stdout.split('<pre id="probe">')[1].split("</pre>")[0]
        if told:
            return dict(json.loads(told))
    raise AssertionError("the page has not drawn")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_opens_and_draws_the_patients_right_on_the_left(tmp_path: Path) -> None:
    image = np.full((20, 40, 30), -160, np.int16)  # black; LPS: x grows to the patient's left
    image[:, :, 15:] = 240  # the patient's left half is white
    truth = np.zeros(image.shape, np.uint8)
    truth[6:14, 10:30, 2:10] = 1  # the liver, in the right half
    run = run_of(tmp_path, image, truth, Grid(shape=image.shape, spacing_mm=(3.0, 1.0, 1.0)))
    file = write_view(run, "case_1")
    page, end = file.read_text(encoding="utf-8").rsplit("</body>", 1)
    file.write_text(f"{page}{PROBE}</body>{end}", encoding="utf-8")
    probe = probed(file, tmp_path / "profile")
    assert probe["state"] == ""
    for plane in ("0", "1"):  # axial, coronal: white is on the right, the coloured outline on the left
        left, right = probe[plane]
        assert sum(right) > 600
        assert 0 < max(left) < 100
        assert max(left) - min(left) > 0.2
    assert max(probe["4"][0]) > 0  # 3D shows a surface
    assert probe["here"] == ["L 28.0, P 19.0, H 30.0 mm", "240 HU", ""]
    assert probe["found"] == ["liver", "7 / 20", "8 / 20"]
