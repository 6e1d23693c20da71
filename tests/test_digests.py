"""Tests of autoseg.digests."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg import digests
from autoseg.data import preprocess
from autoseg.digests import (
    PACKAGE,
    code_digest,
    digest,
    file_digest,
    files_digest,
    note_sources,
    noted_sources,
    remembered,
    text_digest,
)
from autoseg.evaluation import evaluate, external, postprocessing
from autoseg.inference.model import MASK_CODE
from autoseg.inference.predict import PREVIEW_CODE
from autoseg.locks import lock
from autoseg.report import case_pictures
from autoseg.version import VERSION

# what can change while a product stays: texts, files, processes, records, and how those values came about that a digest
# of the product holds itself (of the plan, the split, the fingerprint)
EXEMPT = {
    "words.py", "errors.py", "files.py", "digests.py", "machine.py", "pool.py", "hands.py", "parts.py",
    "part_notes.py", "notations.py", "run.py", "version.py", "options.py", "dataset/load.py", "dataset/survey.py",
    "dataset/names.py", "dataset/split.py", "dataset/check_images.py", "dataset/examine.py", "dataset/facts.py",
    "dataset/organ_facts.py",
    "planning/rules.py", "evaluation/freshness.py", "json_file.py", "sheet.py", "locks.py", "processes.py",
    "flags.py", "timings.py", "report_folder.py",
}  # fmt: skip
FIGURES = {
    f"figures/{name}.py" for name in ("canvas", "colours", "errors", "overlays", "planes", "windows")
}  # of previews and legends
LISTS = {
    "mask": (MASK_CODE, FIGURES),
    "preview": (PREVIEW_CODE, set[str]()),
    "clean-up": (postprocessing.CODE, FIGURES),
    "scores": (  # postprocessing is noted in the model file, which counts; where a second stage looked is no score
        evaluate.CODE,
        {*FIGURES, "evaluation/postprocessing.py", "evaluation/two_stages.py"},
    ),
    "external scores": (external.CODE, {*FIGURES, "evaluation/postprocessing.py"}),
    "cached case": (preprocess.CODE, {"plan.py"}),
    "picture": (case_pictures.CODE, {"plan.py"}),
}
LONG_AGO = (10**18, 10**18)  # ns


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read to be digested, in a process that knows none."""
    names: list[str] = []
    read_digest = digests._read_digest

    def counted(file: Path, size: int) -> str:
        names.append(file.name)
        return read_digest(file, size)

    monkeypatch.setattr(digests, "_read_digest", counted)
    monkeypatch.setattr(digests, "_known", {})
    monkeypatch.setattr(digests, "SETTLED_S", -1.0)  # as if every file were old
    return names


def test_a_file_has_the_sha256_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / "a") == text_digest("abc") == known
    (tmp_path / "b").write_bytes(large := b"abc" * digests.SMALL_BYTES)
    assert file_digest(tmp_path / "b") == text_digest(large.decode())


def test_only_content_counts_not_times_names_or_places(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"scan")
    (tmp_path / "copies").mkdir()
    shutil.copyfile(tmp_path / "a", tmp_path / "copies" / "b")
    os.utime(tmp_path / "copies" / "b", ns=LONG_AGO)
    assert files_digest([tmp_path / "a"]) == files_digest([tmp_path / "copies" / "b"])


@pytest.mark.parametrize("content", [b"label B", b"label AB"])
def test_an_edit_that_keeps_the_time_is_seen(tmp_path: Path, content: bytes, reads: list[str]) -> None:
    file = tmp_path / "label"
    file.write_bytes(b"label A")
    os.utime(file, ns=LONG_AGO)
    before = file_digest(file)
    file.write_bytes(content)
    os.utime(file, ns=LONG_AGO)
    assert file_digest(file) != before
    file.write_bytes(b"label A")
    assert file_digest(file) == before
    assert reads == ["label"] * 3


def test_a_folder_is_all_its_files_with_their_names(tmp_path: Path) -> None:
    series = tmp_path / "series"
    (series / "deep").mkdir(parents=True)
    (series / "deep" / "1.dcm").write_bytes(b"slice 1")
    (series / "2.dcm").write_bytes(b"slice 2")
    shutil.copytree(series, tmp_path / "copy")
    found = [file_digest(series)]
    assert found == [file_digest(tmp_path / "copy")]
    (series / "deep" / "1.dcm").write_bytes(b"slice I")  # the folder itself looks the same
    found.append(file_digest(series))
    (series / "2.dcm").rename(series / "3.dcm")
    found.append(file_digest(series))
    (series / "3.dcm").unlink()
    found.append(file_digest(series))
    assert len(set(found)) == len(found)


def test_a_digest_changes_with_every_file_and_setting(tmp_path: Path) -> None:
    mask, label = tmp_path / "mask", tmp_path / "label"
    mask.write_text("1")
    found = [digest(files_digest((mask, label)), "overlay", 3)]
    assert digest(files_digest((mask, label)), "overlay", 3) == found[0]
    found += [digest(files_digest((mask, label)), "overlay", 4), digest(files_digest((mask,)), "overlay", 3)]
    label.write_text("1")
    found.append(digest(files_digest((mask, label)), "overlay", 3))
    assert len(set(found)) == len(found)


def test_a_missing_file_has_a_digest_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert file_digest(tmp_path / "none") != file_digest(tmp_path / "empty")


def test_a_file_is_read_once_as_long_as_it_is_the_same(tmp_path: Path, reads: list[str]) -> None:
    file, memo = tmp_path / "scan", tmp_path / "RUN" / "digests.json"
    file.write_bytes(b"scan")
    memo.parent.mkdir()
    for _ in range(2):  # as two processes
        digests._known.clear()
        with remembered(memo):
            assert file_digest(file) == file_digest(file) == text_digest("scan")
    assert reads == ["scan"]
    memo.unlink()
    digests._known.clear()
    with remembered(memo):
        assert file_digest(file) == text_digest("scan")
    assert reads == ["scan", "scan"]


def test_a_file_written_a_moment_ago_is_read_again(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED_S", 3600.0)
    (tmp_path / "scan").write_bytes(b"scan")
    assert file_digest(tmp_path / "scan") == file_digest(tmp_path / "scan")
    assert reads == ["scan", "scan"]


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", '{"files": {"/scan": [1]}, "scores": 3}', '{"files": {"/scan": "x"}}', '{"files": 1}']
)
def test_a_damaged_memory_is_as_none(tmp_path: Path, text: str, reads: list[str]) -> None:
    memo = tmp_path / "digests.json"
    memo.write_text(text)
    (tmp_path / "scan").write_bytes(b"scan")
    assert noted_sources(memo, "scores") is None
    with remembered(memo):
        assert file_digest(tmp_path / "scan") == text_digest("scan")
    assert list(json.loads(memo.read_text())["files"]) == [str(tmp_path / "scan")]


def test_notes_and_what_is_remembered_share_a_file(tmp_path: Path, reads: list[str]) -> None:
    memo = tmp_path / "digests.json"
    (tmp_path / "scan").write_bytes(b"scan")
    with remembered(memo):
        file_digest(tmp_path / "scan")
        note_sources(memo, "scores", {"plan.json": "a"})
    assert noted_sources(memo, "scores") == {"plan.json": "a"}
    assert len(json.loads(memo.read_text())["files"]) == 1


def test_code_that_changes_changes_its_digest_and_other_code_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "PACKAGE", tmp_path)
    (tmp_path / "room").mkdir()
    module = tmp_path / "room" / "module.py"
    module.write_text("def f(x):\n    return 2 * x\n")
    doubled = [code_digest.__wrapped__("room"), code_digest.__wrapped__("room/module.py")]
    (tmp_path / "other.py").write_text("x = 1\n")
    assert [code_digest.__wrapped__("room"), code_digest.__wrapped__("room/module.py")] == doubled
    module.write_text("def f(x):\n    return 3 * x\n")
    assert code_digest.__wrapped__("room") not in doubled
    assert code_digest.__wrapped__("room/module.py") not in doubled


def test_code_without_sources_is_told_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "PACKAGE", tmp_path)
    assert code_digest.__wrapped__("gone.py") == digest(VERSION, ("gone.py",))


def test_every_product_names_modules_that_are_there() -> None:
    places = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("CODE", "MASK_CODE", "PREVIEW_CODE"):
                places += [str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
    assert len(places) > 10
    assert [place for place in places if not list(PACKAGE.glob(place if "." in place else f"{place}/*.py"))] == []


def modules_of(places: Iterable[str]) -> set[str]:
    """Return the files of modules and rooms, as in "data/cache.py"."""
    files = [
        file for place in places for file in ([PACKAGE / place] if "." in place else (PACKAGE / place).rglob("*.py"))
    ]
    return {file.relative_to(PACKAGE).as_posix() for file in files}


def imported(module: str) -> set[str]:
    """Return the modules of autoseg that a module imports, those inside functions too."""
    nodes = [
        node
        for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == PACKAGE.name
    ]
    names = {name for node in nodes for name in (node.module, *(f"{node.module}.{one.name}" for one in node.names))}
    files = {f"{str(name).partition('.')[2].replace('.', '/')}.py" for name in names}
    return {file for file in files if (PACKAGE / file).is_file()}


@pytest.mark.parametrize("product", LISTS)
def test_every_module_that_the_code_of_a_product_imports_is_listed_or_exempt(product: str) -> None:
    code, exempt = LISTS[product]
    listed = modules_of(code)
    needed = set[str]().union(*map(imported, listed))
    assert needed - listed - EXEMPT - exempt == set()
    assert len(needed & listed) > 3


def test_a_preview_is_drawn_again_when_the_code_of_figures_changes() -> None:
    assert set(PREVIEW_CODE) - set(MASK_CODE) == {"figures"}


def test_processes_that_note_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "digests.json"
    code = (
        "import sys; from pathlib import Path; from autoseg.digests import note_sources\n"
        "for n in range(20): note_sources(Path(sys.argv[1]), f'{sys.argv[2]} {n}', {'a': str(n)})"
    )
    team = [subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in ("first", "second")]
    assert [process.wait(60) for process in team] == [0, 0]
    assert all(noted_sources(file, f"{name} {n}") == {"a": str(n)} for name in ("first", "second") for n in range(20))
    assert [entry.name for entry in tmp_path.iterdir()] == ["digests.json"]


def test_what_cannot_be_noted_as_others_note_too_long_is_lost_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan").write_bytes(b"voxels")
    os.utime(tmp_path / "scan", ns=(1, 1))
    monkeypatch.setattr(digests, "NOTE_WAIT_S", 0.1)
    monkeypatch.setattr(digests, "SETTLED_S", -1e9)
    file = tmp_path / "digests.json"

    def remember() -> str:
        with digests.remembered(file):
            return digests.file_digest(tmp_path / "scan")

    with lock(tmp_path, "autoseg preprocess", name="digests.json.lock"), ThreadPoolExecutor(1) as other:
        assert other.submit(remember).result() == hashlib.sha256(b"voxels").hexdigest()
    assert not file.exists()
    remember()
    assert file.exists()
