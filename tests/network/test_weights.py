"""Tests of autoseg.network.weights: files of a wrong shape, and file systems that map no files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import made
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from two_stages import FIRST, second

from autoseg.errors import AutosegError, ModelError
from autoseg.network import weights
from autoseg.network.build import build
from autoseg.network.weights import FACTS, MODEL, load_networks, load_tensors, read_facts, save_model, save_tensors
from autoseg.run import Run
from autoseg.steps.export import export, read_card

DEEP = "[" * 100_000


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "sound.autoseg"
    plan = made.plan()
    save_model(file, plan, build(plan).state_dict(), {"trained_on": ["a"], "card": "# tiny"})
    return file


@pytest.mark.parametrize(
    "facts",
    [
        "{",
        "5",
        "null",
        DEEP,
        '{"networks": "abc", "card": "x"}',
        '{"networks": 0, "card": "x"}',
        '{"networks": 1.5, "card": "x"}',
        '{"networks": 1000000000000, "card": "x"}',
        '{"trained_on": 5, "card": "x"}',
        '{"trained_on": [5], "card": "x"}',
        '{"aftercare": 7, "card": "x"}',
        '{"card": ["x"]}',
    ],
)
def test_facts_of_a_wrong_shape_are_refused_in_one_line(model: Path, facts: str) -> None:
    tensors, texts = load_tensors(model, MODEL)
    save_tensors(model, MODEL, tensors, {"plan": texts["plan"], "facts": facts})
    for read in (read_card, lambda file: load_networks(file, "cpu")):
        with pytest.raises(ModelError, match=r"sound\.autoseg: not a sound model file") as caught:
            read(model)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "header", ["null", "5", "[]", '"x"', "{", DEEP, '{"kind": 5}', '{"kind": ["autoseg model 1"]}']
)
def test_a_header_of_a_wrong_shape_is_refused_in_one_line(model: Path, header: str) -> None:
    tensors, _ = load_tensors(model, MODEL)
    save_file(tensors, model, metadata={FACTS: header})
    with pytest.raises(ModelError, match=r"sound\.autoseg: damaged or not a model file") as caught:
        read_facts(model, MODEL)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("plan", ["", "5", "null", DEEP, '{"network": 0}'])
def test_a_plan_of_a_wrong_shape_is_refused_in_one_line(model: Path, plan: str) -> None:
    tensors, texts = load_tensors(model, MODEL)
    save_tensors(model, MODEL, tensors, {"plan": plan, "facts": texts["facts"]})
    with pytest.raises(AutosegError, match=r"sound\.autoseg[:,] ") as caught:
        load_networks(model, "cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_on_a_file_system_without_maps_is_read_whole(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, facts = load_tensors(model, MODEL)

    def refuse(file: Path, framework: str) -> None:
        raise SafetensorError("Error while deserializing: I/O error: No such device (os error 19)")

    monkeypatch.setattr(weights, "safe_open", refuse)
    tensors, texts = load_tensors(model, MODEL)
    assert texts == facts
    assert json.loads(texts["facts"])["trained_on"] == ["a"]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    model.write_bytes(model.read_bytes()[:-8])  # damaged, it is refused there, too
    with pytest.raises(ModelError, match="damaged or not a model file"):
        load_tensors(model, MODEL)


def test_opening_a_model_does_not_load_the_compiler_of_torch(model: Path) -> None:
    """It would take two seconds and 80 MB, to draw weights that are then replaced."""
    code = f"""import sys, pathlib, autoseg.network.weights as weights
print(len(weights.load_networks(pathlib.Path({str(model)!r}), "cpu")[0]), "torch._dynamo" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_a_disk_that_fails_within_a_model_is_told_in_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        """A file that opens, and is refused afterwards."""

        def __init__(self, file: Path, framework: str) -> None:
            self.opened = safe_open(file, framework=framework)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            del self.opened

        def keys(self) -> list[str]:
            return list(self.opened.keys())

        def metadata(self) -> dict[str, str]:
            return self.opened.metadata()

        def get_tensor(self, name: str) -> None:
            raise SafetensorError(f"{name}: Permission denied (os error 13)")

    monkeypatch.setattr(weights, "safe_open", Failing)
    with pytest.raises(ModelError, match=r"sound\.autoseg: damaged or not a model file .*os error 13"):
        load_tensors(model, MODEL)


def test_a_model_names_no_folder_and_an_exported_one_no_case(finished: Path, tmp_path: Path) -> None:
    exported = tmp_path / "for_others.autoseg"
    export(Run(finished), exported)
    cases = set(pd.read_csv(Run(finished).scores_file)["case"])
    own = Run(finished).fold(0).model
    assert any(case in json.dumps(read_facts(own, MODEL)) for case in cases)
    for file in (own, exported):
        text = json.dumps(read_facts(file, MODEL))
        assert str(finished.parent.parent) not in text
    assert not any(case in text for case in cases)


def test_a_model_in_a_folder_whose_name_is_not_utf_8_is_the_same(model: Path, tmp_path: Path) -> None:
    tensors, facts = load_tensors(model, MODEL)
    copy = tmp_path / os.fsdecode(b"caf\xe9") / "m.autoseg"
    save_tensors(copy, MODEL, tensors, facts)
    assert copy.read_bytes() == model.read_bytes()
    again, texts = load_tensors(copy, MODEL)
    assert texts == facts
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def test_a_second_stage_behind_another_first_stage_is_refused_in_one_line(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.plan_file.write_text(FIRST.model_copy(update={"finer": second()}).model_dump_json(), encoding="utf-8")
    first, later = run.fold(0).model, run.stage(1).fold(0).model
    save_model(first, FIRST, build(FIRST).state_dict(), {})
    save_model(later, second(), build(second()).state_dict(), {"first_stage": weights.weights_digest(first)})
    assert weights.second_files(run, (0,)) == (later,)
    tensors, texts = load_tensors(first, MODEL)
    save_tensors(first, MODEL, tensors, texts | {"facts": '{"aftercare": {}}'})  # as `evaluate` does
    assert weights.second_files(run, (0,)) == (later,)
    with torch.no_grad():
        next(iter(tensors.values())).add_(1)  # trained on
    save_tensors(first, MODEL, tensors, texts)
    with pytest.raises(ModelError, match=r"trained behind another first stage than .*autoseg train") as caught:
        weights.second_files(run, (0,))
    assert len(str(caught.value).splitlines()) == 1
