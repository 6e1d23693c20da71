"""Hold two checkouts against each other as a user sees them: `python -m tests.compare_checkouts OLD NEW --data=DIR`.

Both do the same work in folders of their own; then everything they have said and written is compared: plans, weights to
the bit, masks, scores, tables, pages, exit codes, messages, help. What tells the time or a digest is left out, and new
keys in JSON files may come. OLD and NEW are folders or revisions of this repository. Exit code 1: something differs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

ROOT = Path(__file__).parents[1]
STEP = ["--device", "cpu", "--set", "spacing_mm=[6,6,6]", "--set", "crop_size=[16,32,32]", "-j", "2"]
TIMED = {"seconds", "wait_share", "key"}  # columns that differ from run to run, or are digests
KEYS = {"files", "plan", "source_key", "plan_key", "made_of", "sha256"}  # of JSON: digests
DIGESTS = {"evaluated.jsonl", "drawn.json", "digests.json"}  # files of nothing else
VOLATILE = (
    (re.compile(r"\b[0-9a-f]{16,64}\b"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?[.,]?\d*)?( [A-Z]{3,4})?"), "TIME"),
    (re.compile(r"its steps took [^.<]*"), "its steps took TIME"),
    (re.compile(r"\d+(\.\d+)?( of the \d+(\.\d+)?)? (s|MiB|GiB)\b"), "SOME"),
    (re.compile(r"^(Traceback| {2,}(File|\S.*|[~^]+$)).*\n", re.MULTILINE), ""),  # of log.txt
    (re.compile(r"^(read|resample|network) .*$", re.MULTILINE), "TIMES"),
)
VERBS = (
    "check", "plan", "preprocess", "train", "predict", "evaluate", "score", "compare", "report", "view", "export",
    "show", "run", "demo",
)  # fmt: skip


class Checkout:
    """One checkout, with the folder that it works in."""

    def __init__(self, source: str, place: Path) -> None:
        """Lay out packages as an installation would; a revision is taken out of git."""
        folder = Path(source)
        if not folder.is_dir():
            folder = place / "source"
            folder.mkdir(parents=True)
            archive = subprocess.run(["git", "archive", source], cwd=ROOT, capture_output=True, check=True)
            subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
        self.work = place / "work"
        packages = place / "packages"
        packages.mkdir(parents=True)
        self.work.mkdir()
        (packages / "autoseg").symlink_to((folder / "autoseg").resolve())
        (packages / "autoseg_plans").symlink_to((folder / "plans").resolve())
        self.environment = os.environ | {"PYTHONPATH": str(packages), "COLUMNS": "100", "PYTHONHASHSEED": "0"}
        self.said: dict[str, str] = {}

    def call(self, *arguments: object) -> None:
        """Run a command of autoseg in the work folder, and keep its exit code and what it says."""
        words = [str(a) for a in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "autoseg", *words],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        text = f"exit {done.returncode}\n{done.stdout}{done.stderr}".replace(str(self.work), "WORK")
        self.said[" ".join(words).replace(str(self.work), "WORK")] = text


def do_phantom(checkout: Checkout) -> None:
    """Do everything on phantoms, small."""
    call = checkout.call
    call("demo", "RUN", "--cases", 6, "--iterations", 8, "--workers", 1, *STEP)
    call("run", "RUN/phantoms", "RUN", "--iterations", 8, *STEP)  # nothing is stale
    call("run", "RUN/phantoms", "FOLDS", "--iterations", 4, "--folds", 2, "--workers", 0, *STEP)
    call("plan", "RUN/phantoms", "PAPER", "--preset", "roth2018", *STEP[:2], "--set", "crop_size=[16,32,32]")
    call("preprocess", "PAPER", "-j", 2)
    call("train", "PAPER", "--iterations", 3, "--workers", 0)
    call("plan", "RUN/phantoms", "GPU", "--gpu-memory", 24)
    call("export", "RUN", "model.autoseg")
    call("export", "FOLDS", "ensemble.autoseg")
    call("export", "RUN", "model.onnx")
    call("show", "model.autoseg")
    image = "RUN/phantoms/imagesTr/phantom_000_0000.nii.gz"
    call("predict", "model.autoseg", image, "alone.nrrd", "--no-clean-up")
    call("predict", "ensemble.autoseg", "RUN/phantoms/imagesTr", "masks", "--per-organ", "--probabilities", "--preview")
    call("predict", "ensemble.autoseg", "RUN/phantoms/imagesTr", "masks", "--per-organ", "--probabilities", "--preview")
    call("score", "masks", "RUN/phantoms/labelsTr", "--labels", "RUN/plan.json", "--out", "scores.csv", "-j", 2)
    call("compare", "RUN", "FOLDS", "roth2018", "--out", "comparison")
    call("check", "RUN/phantoms", "--json", "check.json", "-j", 2)
    partly = checkout.work / "partly"
    shutil.copytree(checkout.work / "RUN" / "phantoms", partly)
    meta = json.loads((partly / "dataset.json").read_text())
    meta["labelled"] = {"phantom_001": ["liver", "spleen"], "phantom_004": ["stomach", "vein", "artery"]}
    meta["labels"] = {name: value and 3 * value for name, value in meta["labels"].items()}
    (partly / "dataset.json").write_text(json.dumps(meta))
    _times_three(partly / "labelsTr", meta)
    call("run", "partly", "PARTLY", "--iterations", 4, "--workers", 1, *STEP)


def _times_three(folder: Path, meta: Mapping[str, Any]) -> None:
    """Give the organs of label maps values that are not their places, and take away what is not labelled."""
    import SimpleITK as sitk

    for file in sorted(folder.iterdir()):
        label = sitk.ReadImage(str(file)) * 3
        named = meta["labelled"].get(file.name.removesuffix(".nii.gz"))
        gone = {value: 0 for name, value in meta["labels"].items() if named and value and name not in named}
        sitk.WriteImage(sitk.ChangeLabel(label, gone) if gone else label, str(file), True)


def do_mistakes(checkout: Checkout) -> None:
    """Say what a user's mistakes get."""
    call = checkout.call
    for verb in VERBS:
        call(verb, "--help")
    call("check", "nowhere")
    call("plan", "RUN/phantoms", "RUN", "--set", "crop=3")
    call("plan", "RUN/phantoms", "NEW", "--set", "batch_size=0", "--device", "cpu")
    call("plan", "RUN/phantoms", "NEW", "--preset", "nothing")
    call("plan", "RUN/phantoms", "NEW", "--gpu-memory", "-1")
    call("train", "RUN", "--fold", "x")
    call("train", "RUN", "--fold", "7")
    call("train", "RUN", "--time-budget", "5")
    call("train", "RUN", "--iterations", 5, "--time-budget", "5m")
    call("train", "nowhere")
    call("train", "RUN", "--gpus", "9")
    call("preprocess", "nowhere")
    call("evaluate", "PAPER")
    call("predict", "nowhere", "a", "b")
    call("predict", "RUN", "nowhere", "out")
    call("predict", "RUN", "RUN/phantoms/imagesTr", "one.nii.gz")
    call("predict", "RUN", "RUN/phantoms/imagesTr", "out", "--mirror")
    call("score", "RUN", "RUN")
    call("compare", "RUN")
    call("compare", "RUN", "FOLDS", "--metric", "volume_ml")
    call("view", "RUN", "nobody", "--no-open")
    call("export", "nowhere", "x.autoseg")
    call("show", "RUN")
    call("run", "RUN/phantoms", "RUN", "--iterations", 4, "--time-budget", "3m")
    call("nonsense")


def do_hippocampus(checkout: Checkout, data: Path) -> None:
    """Train on 20 real cases, alone and in a team of two processes."""
    cases = sorted((data / "hippocampus" / "labelsTr").glob("*.nii.gz"))[:20]
    rows = [f"{f.name.removesuffix('.nii.gz')},{_image_of(f)},{f}" for f in cases]
    table = checkout.work / "hippocampus" / "cases.csv"
    table.parent.mkdir()
    table.write_text("\n".join(["case,image,label", *rows]) + "\n")
    shutil.copy(data / "hippocampus" / "dataset.json", table.parent)
    options = ("--device", "cpu", "--seed", 3, "-j", 2, "--set", "iterations=40")
    checkout.call("run", table, "HIPPOCAMPUS", "--iterations", 40, "--workers", 1, *options[:6])
    checkout.call("plan", table, "TEAM", *options)
    checkout.call("preprocess", "TEAM", "-j", 2)
    checkout.call("train", "TEAM", "--gpus", 2, "--workers", 1)
    checkout.call("evaluate", "TEAM")


def _image_of(label: Path) -> Path:
    folder = label.parents[1] / "imagesTr"
    return next(
        file for file in (folder / label.name, folder / label.name.replace(".nii", "_0000.nii")) if file.exists()
    )


def do_head_and_neck(checkout: Checkout, data: Path, model: Path) -> None:
    """Predict real CT, of files and of a DICOM series, with a model that the old checkout has made."""
    images = checkout.work / "headneck"
    images.mkdir()
    for image in sorted((data / "headneck_ct" / "imagesTr").iterdir())[:2]:
        (images / image.name).symlink_to(image)
    checkout.call("predict", model, images, "headneck_masks")
    series = data / "dicom" / "thigh_rtstruct"
    checkout.call("predict", model, series, "series_masks", "--dicom-seg", "--rtstruct")


def make_model(checkout: Checkout, data: Path) -> Path:
    """Train a model of head and neck for a moment."""
    rows = ["case,image,label"]
    for label in sorted((data / "headneck_ct" / "labelsTr").glob("*.nii.gz"))[:6]:
        rows.append(f"{label.name.removesuffix('.nii.gz')},{_image_of(label)},{label}")
    folder = checkout.work / "model"
    folder.mkdir()
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(data / "headneck_ct" / "dataset.json", folder)
    checkout.call("plan", "model/cases.csv", "model/RUN", "--device", "cpu", "--set", "iterations=10", "-j", 2)
    checkout.call("preprocess", "model/RUN", "-j", 2)
    checkout.call("train", "model/RUN", "--workers", 1)
    return folder / "RUN" / "fold-0" / "model.autoseg"


def differences(old: Checkout, new: Checkout) -> Iterator[str]:
    """Yield a line for everything in which two checkouts differ."""
    for (command, text), said in zip(old.said.items(), new.said.values(), strict=True):
        one, other = _settled(text), _settled(said)
        if one != other:
            yield f"autoseg {command}: says {_first_difference(one, other)}"
    files, others = ({p.relative_to(c.work): p for p in _files(c.work)} for c in (old, new))
    for name in sorted(files.keys() ^ others.keys()):
        if name.name not in DIGESTS and name.parts[0] != "model":
            yield f"{name}: only in the {'old' if name in files else 'new'}"
    for name in sorted(files.keys() & others.keys()):
        if name.name in DIGESTS:
            continue
        one, other = _content(files[name], old.work), _content(others[name], new.work)
        if not _covers(one, other):
            yield f"{name}: differs, {_first_difference(one, other)}"


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]


def _settled(text: str) -> str:
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    return text


def _content(file: Path, work: Path) -> Any:
    """Return what of a file must be the same."""
    if file.suffix in (".autoseg", ".safetensors"):
        return _tensors(file)
    if file.suffix == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix == ".npy" or file.suffix in (".png", ".webp"):
        return file.read_bytes()
    if file.suffix == ".dcm":
        return _pixels_or_contours(file)
    if file.suffix == ".onnx":
        return _initializers(file)
    data = file.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    if file.suffix == ".json":
        return _without_keys(json.loads(text.replace(str(work), "WORK")))
    if file.suffix == ".csv":
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(io.StringIO(text))]
    return _settled(text.replace(str(work), "WORK"))


def _tensors(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="np") as opened:
        facts = json.loads((opened.metadata() or {}).get("autoseg", "{}"))
        texts = {key: json.loads(facts[key]) for key in ("plan", "facts") if key in facts}
        tensors = {name: opened.get_tensor(name).tobytes() for name in opened.keys()}  # noqa: SIM118
    card = texts.get("facts", {}).pop("card", None)
    texts.get("facts", {}).get("aftercare", {}).pop("learnt_from", None)
    return {"tensors": tensors, "card": card and _settled(card), **texts}


def _initializers(file: Path) -> Any:
    """Return the weights of an ONNX file, whatever its nodes are called."""
    import onnx

    return sorted(tensor.raw_data for tensor in onnx.load(str(file)).graph.initializer)


def _pixels_or_contours(file: Path) -> Any:
    import pydicom

    made = pydicom.dcmread(file)
    if "PixelData" in made:
        return made.PixelData
    return [[str(c.ContourData) for c in roi.ContourSequence] for roi in made.ROIContourSequence]


def _without_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_keys(inner) for key, inner in value.items() if key not in KEYS}
    return [_without_keys(inner) for inner in value] if isinstance(value, list) else value


def _covers(old: Any, new: Any) -> bool:
    """Return whether the new says all that the old said; of objects it may say more."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and _covers(inner, new[key]) for key, inner in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_covers, old, new))
    return bool(old == new)


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, bytes) or isinstance(other, bytes):
        return "in its bytes"
    texts = [str(v) if isinstance(v, str) else json.dumps(v, default=str, indent=0) for v in (one, other)]
    lines = [t.splitlines() for t in texts]
    for number, pair in enumerate(zip(*lines, strict=False), start=1):
        if pair[0] != pair[1]:
            return f"line {number}: {pair[0][:200]!r} became {pair[1][:200]!r}"
    return f"{len(lines[0])} lines became {len(lines[1])}"


def main() -> int:
    """Compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default=str(ROOT))
    parser.add_argument("--data", type=Path, default=None, help="folder of real datasets")
    parser.add_argument("--keep", type=Path, default=None, help="folder to work in; an old side that is there is kept")
    asked = parser.parse_args()
    place = asked.keep or Path(tempfile.mkdtemp())
    known = place / "old" / "said.json"
    shutil.rmtree(place / "new", ignore_errors=True)
    if not known.is_file():
        shutil.rmtree(place / "old", ignore_errors=True)
    is_known = known.is_file()
    if is_known:
        old = Checkout.__new__(Checkout)
        old.work, old.said = place / "old" / "work", json.loads(known.read_text())
    else:
        old = Checkout(asked.old, place / "old")
    new = Checkout(asked.new, place / "new")
    data = asked.data and asked.data.resolve()
    model = old.work / "model" / "RUN" / "fold-0" / "model.autoseg"
    if data and not is_known:
        model = make_model(old, data)
        old.said.clear()
    for checkout in ([] if is_known else [old]) + [new]:
        do_phantom(checkout)
        do_mistakes(checkout)
        if data:
            do_hippocampus(checkout, data)
            do_head_and_neck(checkout, data, model)
    known.write_text(json.dumps(old.said))
    (place / "new" / "said.json").write_text(json.dumps(new.said))
    found = list(differences(old, new))
    print(*found, sep="\n")
    print(f"{len(found)} differences; {len(old.said)} commands, {len(_files(new.work))} files")
    if asked.keep is None:
        shutil.rmtree(place)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
