"""Fuzz the parsers of strangers' files: whatever a file holds, only declared errors come out.

The long form, of RUNS files a parser: PYTHONPATH=tests python -X faulthandler -m faults.fuzz RUNS [FIRST_SEED [NAME …]]
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import made
import numpy as np
import torch
from dicom_files import voxels, write_ct

from autoseg.dataset.load import load_dataset
from autoseg.dataset.split_file import load_splits
from autoseg.digests import file_digest, noted_sources, remembered
from autoseg.errors import AutosegError
from autoseg.evaluation.foreign import read_nnunet, read_table
from autoseg.evaluation.freshness import ScoreJournal
from autoseg.evaluation.scores import read_scores
from autoseg.imaging.grid import Grid
from autoseg.imaging.volumes import read_image, write_array
from autoseg.inference.statistics import Statistics
from autoseg.network.weights import MODEL, load_networks, read_facts, save_tensors
from autoseg.plan import load_plan
from autoseg.planning.presets import load_preset
from autoseg.training.checkpoint import CHECKPOINT
from autoseg.training.log import read_rows

ODD = (
    b"[" * 2000, b"1" * 5000, b"\xff", b"\x00", b"\\ud800", b"-1", b"1e999", b"NaN", b"null", b'"', b"{}", b"[]", b",",
    b";", b"\n", b"=1+1", b"\x1b[2J", b"..\\", b"/", b"a" * 300, b"true", b"18446744073709551616", b"'", b'"a":1,',
)  # fmt: skip


def change(sound: bytes, draw: random.Random) -> bytes:
    """Return a file's content with a few bytes removed, doubled, flipped or replaced by what is odd."""
    data = bytearray(sound)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(data) + 1)
        stop = min(len(data), start + draw.randint(0, 12))
        kind = draw.randrange(4)
        if kind == 0:
            data[start:stop] = draw.choice(ODD)
        elif kind == 1:
            data[start:start] = data[start:stop]
        elif kind == 2 and start < len(data):
            data[start] ^= 1 << draw.randrange(8)
        else:
            del data[start:stop]
    return bytes(data)


def sound_files(folder: Path) -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    """Return sound files by name, each with what reads it."""
    from safetensors.numpy import save

    import autoseg.planning.presets as presets

    described = {"name": "a", "labels": {"background": 0, "liver": 1, "b": [2]}, "channel_names": {"0": "CT"}}
    listed = described | {"training": [{"image": "./a/i.mha", "label": "l.mha", "patient": "p"}]}
    keyed = described | {"file_ending": ".mha", "dataset": {"c": {"images": ["i.mha"], "label": "l.mha"}}}
    metrics = {"metric_per_case": [{"prediction_file": "a.nii.gz", "metrics": {"1": {"Dice": 0.5, "IoU": 0.4}}}]}
    split = [{"training": ["a"], "validation": ["b"], "testing": ["c"]}]
    preset = load_preset(presets.preset_names()[0])
    own = {"name": "a", "channels": ["CT"], "labels": [{"value": 1, "name": "liver"}], "device": "cpu"}
    own |= {"intensity": [{"kind": "ct", "low": -100, "high": 200, "mean": 50, "std": 60}]}
    images = {suffix: folder / f"sound{suffix}" for suffix in (".nii", ".nii.gz", ".mha", ".nrrd")}
    for image in images.values():
        write_array(image, np.zeros((3, 3, 3), np.uint8), Grid(shape=(3, 3, 3), spacing_mm=(1.0, 1.0, 1.0)))
    write_ct(folder / "series", voxels())
    slices = sorted((folder / "series").iterdir())
    facts = json.dumps({"kind": MODEL, "plan": "{}", "facts": "{}"})
    model = save({"a": np.zeros(2, np.float32)}, {"autoseg": facts})
    plan = made.plan().model_dump_json()
    checkpoint = save({"a": np.zeros(2, np.float32)}, {"autoseg": facts.replace(MODEL, CHECKPOINT)})
    noted = {"scores": {"plan.json": "0a"}, "files": {"/a": "1 2 3 4 0b"}}
    scored = {"case": "a", "sources": "0c", "mask": "0d", "rows": []}
    predictions = "case,organ,label,volume_ml,expected_dice,key,image,place\na,liver,1,2.5,0.9,k,i,p\n"
    scores = "fold,case,split,organ,label,metric,value,grid\n0,a,testing,liver,1,dice,0.5,original\n"
    log = "iteration,loss,dice_testing_liver\n1,0.5,0.2\n2,0.4,\n"
    return {
        "dataset.json": (json.dumps(listed).encode(), load_dataset),
        "keyed/dataset.json": (json.dumps(keyed).encode(), load_dataset),
        "csv/cases.csv": (b"case,image,label,patient\na,i.mha,l.mha,p\nb,j.mha;k.mha,m.mha,\n", load_dataset),
        "split.json": (json.dumps(split).encode(), lambda file: load_splits(file, {"a", "b", "c"}, {})),
        "split.csv": (b"case,split,fold\na,training,0\nb,testing,0\n", lambda file: load_splits(file, None)),
        "plan.json": (json.dumps(preset | own).encode(), load_plan),
        "preset.json": (json.dumps(preset).encode(), lambda file: load_preset(str(file))),
        "summary.json": (json.dumps(metrics).encode(), lambda file: read_nnunet(file, "dice")),
        "table.csv": (b"case,liver,spleen\na,0.5,0.7\nb,0.9,\n", read_table),
        "scores.csv": (scores.encode(), read_scores),
        "log.csv": (log.encode(), read_rows),
        "model.autoseg": (model, lambda file: read_facts(file, MODEL)),
        "facts.json": (b'{"networks": 1, "trained_on": ["a"]}', lambda file: _load_model(file, plan, file)),
        "model/plan.json": (plan.encode(), lambda file: _load_model(file, file, None)),
        "checkpoint.safetensors": (checkpoint, lambda file: read_facts(file, CHECKPOINT)),
        "digests.json": (json.dumps(noted).encode(), _remember),
        "evaluated.jsonl": (json.dumps(scored).encode() + b"\n", lambda file: ScoreJournal(file).rows("a", "0c", file)),
        "predictions.csv": (predictions.encode(), Statistics),
        f"series/{slices[0].name}": (slices[0].read_bytes(), lambda file: read_image((file.parent,))),
        **{f"image{suffix}": (file.read_bytes(), lambda file: read_image((file,))) for suffix, file in images.items()},
    }


def _load_model(file: Path, plan: str | Path, facts: Path | None) -> None:
    """Load a model whose checksum is right, whatever its plan and facts say."""
    plan, about = (
        part.read_text("latin-1") if isinstance(part, Path) else part
        for part in (plan, "{}" if facts is None else facts)
    )
    model = file.with_suffix(".autoseg")
    save_tensors(model, MODEL, {"a": torch.zeros(2)}, {"plan": plan, "facts": about})
    load_networks(model, "cpu")


def _remember(file: Path) -> None:
    with remembered(file):
        file_digest(file)
    noted_sources(file, "scores")


def fuzz(folder: Path, runs: int, first_seed: int = 0, names: Collection[str] = ()) -> list[str]:
    """Read `runs` changed files of each parser, or of some; return a line for each error that is not declared."""
    failures = []
    for name, (sound, read) in sound_files(folder).items():
        if names and name not in names:
            continue
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        for seed in range(first_seed, first_seed + runs):
            file.write_bytes(change(sound, random.Random(f"{name} {seed}")))
            try:
                read(file)
            except (AutosegError, OSError) as error:
                if "\n" in str(error) or len(str(error)) > 2000:
                    failures.append(f"{name} {seed}: not one line: {str(error)[:200]!r}")
            except Exception as error:  # noqa: BLE001 - what the whole is about
                failures.append(f"{name} {seed}: {type(error).__name__}: {str(error)[:200]}")
    return failures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        runs, first_seed, *names = [*sys.argv[1:], *(["0"] if len(sys.argv) == 2 else [])]
        undeclared = fuzz(Path(place), int(runs), int(first_seed), names)
    sys.stdout.write("\n".join([*undeclared, f"{len(undeclared)} undeclared errors\n"]))
    sys.exit(bool(undeclared))
