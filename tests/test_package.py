"""What is installed and passed on: the distribution's name, its wheel, its source archive, its page on an index."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from autoseg.version import DISTRIBUTION

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
EXTRAS = dict(SETUP["options.extras_require"])
SOURCES = (
    "autoseg",
    "plans",
    "docs",
    "tests",
    ".ci",
    "*.md",
    "*.cfg",
    "*.toml",
    "*.in",
    "*.cff",
    "LICENSE",
    "Dockerfile",
    ".dockerignore",
)
REQUIREMENT = re.compile(r"^[\w.-]+", re.MULTILINE)
DEPENDENCIES = {
    name.lower()
    for text in (SETUP["options"]["install_requires"], *EXTRAS.values())
    for name in REQUIREMENT.findall(text)
}
TEXTS = [
    *ROOT.glob("*.md"),
    *(file for folder in ("docs", "autoseg", "plans", ".ci") for file in (ROOT / folder).rglob("*")),
]
INSTALLS = re.compile(r"pip3? install ((?:[\w./'\[\],<>=-]+ ?)+)")
WITH_EXTRA = re.compile(r"'?\.\[([\w,]+)\]'?")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source archive of this checkout."""
    folder = tmp_path_factory.mktemp("built")
    for source in (path for pattern in SOURCES for path in ROOT.glob(pattern)):
        if source.is_dir():
            shutil.copytree(source, folder / "checkout" / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / "checkout")
    build(folder / "checkout", folder)
    return folder


def build(checkout: Path, out: Path) -> None:
    code = (
        "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_sdist(out); b.build_wheel(out)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def wheel_of(folder: Path) -> Path:
    return next(folder.glob("*.whl"))


def wheel_files(folder: Path) -> set[str]:
    with zipfile.ZipFile(wheel_of(folder)) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


def readable(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.suffix in {".md", ".py", ".jinja", ".cfg", ""} else ""


def is_ours(target: str) -> bool:
    """Return whether a target of pip install is this checkout, an extra of it, or a package it depends on."""
    extras = WITH_EXTRA.fullmatch(target)
    if extras:
        return set(extras[1].split(",")) <= set(EXTRAS)
    return target == "." or target.lower() in {DISTRIBUTION, *DEPENDENCIES}


def test_no_doc_and_no_message_installs_what_is_not_ours() -> None:
    targets = {
        (file.name, target)
        for file in TEXTS
        if file.is_file()
        for listed in INSTALLS.findall(readable(file))
        for target in listed.split()
        if not target.startswith("-")
    }
    assert targets
    assert {(file, target) for file, target in targets if not is_ours(target.rstrip(".,") or ".")} == set()


@pytest.mark.parametrize("target", ["autoseg", "autoseg[onnx]", "'autoseg[dicom]'", "'.[cuda]'", "nnunetv2"])
def test_another_projects_distribution_is_not_ours(target: str) -> None:
    assert not is_ours(target)


def test_no_text_names_an_extra_of_a_distribution_called_autoseg() -> None:
    assert [file.name for file in TEXTS if file.is_file() and re.search(r"\bautoseg\[\w", readable(file))] == []


def test_the_version_is_looked_up_under_the_name_that_is_installed(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        wheel.extractall(tmp_path)
    metadata = PathDistribution(next(tmp_path.glob("*.dist-info"))).metadata
    assert metadata["Name"] == DISTRIBUTION == SETUP["metadata"]["name"]
    code = "from importlib.metadata import version; import autoseg; print(autoseg.__file__, autoseg.__version__)"
    told = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(tmp_path / "autoseg" / "__init__.py"), SETUP["metadata"]["version"]]


def test_the_page_on_an_index_has_no_link_or_image_that_leads_nowhere_there() -> None:
    page = (ROOT / SETUP["metadata"]["long_description"].removeprefix("file: ")).read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https://)[^)]*\)", page) == []
    assert "<img" not in page
    labels = re.findall(r"^(.+?) = https://", SETUP["metadata"]["project_urls"], re.MULTILINE)
    assert labels
    assert all(len(label) <= 32 for label in labels)  # an index refuses longer ones


def test_every_package_of_the_checkout_is_in_the_wheel(built: Path) -> None:
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "autoseg").rglob("*.py")}
    assert modules <= wheel_files(built)


def test_the_viewer_works_from_the_wheel_and_loads_nothing_from_outside(
    built: Path, finished: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel_of(built)) as wheel:
        wheel.extractall(tmp_path / "installed")
    assert {f"autoseg/report/niivue/{name}" for name in ("niivue.umd.js", "NIIVUE-LICENSE.txt")} <= wheel_files(built)
    case = next((finished / "fold-0" / "predictions").glob("*.nii.gz")).name.removesuffix(".nii.gz")
    page = tmp_path / "page.html"
    view = [sys.executable, "-m", "autoseg", "view", finished, case, "--no-open", "--out", page]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(view, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert (tmp_path / "installed" / "autoseg/report/niivue/niivue.umd.js").stat().st_size < len(text)
    assert "default-src 'none'" in text  # the browser itself refuses all that is outside
    assert re.findall(r"""<[^>]*\s(?:src|href)\s*=\s*["']?(?:https?:)?//""", text) == []


def test_the_source_archive_holds_docs_and_tests_and_gives_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(tmp_path.iterdir())
    for folder in ("docs", "tests", "plans", "autoseg", ".ci"):
        before = {file.relative_to(ROOT).as_posix() for file in (ROOT / folder).rglob("*") if file.is_file()}
        before = {name for name in before if "__pycache__" not in name}
        assert before <= {file.relative_to(source).as_posix() for file in source.rglob("*")}
    assert all((source / name).is_file() for name in ("README.md", "CHANGELOG.md", "CITATION.cff", "Dockerfile"))
    build(source, tmp_path / "again")
    assert wheel_files(tmp_path / "again") == wheel_files(built)
