"""What all tests share: the option that gives real data, and a small run on phantoms."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import SimpleITK as sitk
from command_line import SMALL, Cli, Outcome, copy_of
from hypothesis import HealthCheck, settings

from autoseg.cli.app import main
from autoseg.locks import lock
from autoseg.phantom.cohort import write_cohort
from autoseg.processes import ENDING
from autoseg.report import pictures
from autoseg.training import validate

# time says nothing about a property, and other work on the machine makes it long
unhindered = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("untimed", deadline=None, suppress_health_check=unhindered)
settings.load_profile("untimed")

MAKING_S = 1200.0  # at most, that another process needs to make what all share


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data", type=Path, default=None, metavar="DIR", help="folder of real datasets (write it with =)"
    )
    parser.addoption(
        "--report", type=Path, action="append", default=[], metavar="FILE", help="a run's report.html to open, too"
    )
    parser.addoption("--axe", type=Path, default=None, metavar="FILE", help="axe.min.js, the accessibility checker")
    parser.addoption(
        "--rewrite-docs", action="store_true", help="write the lists in the docs anew that the code decides"
    )
    parser.addoption("--rewrite-plans", action="store_true", help="write the reference plans anew, to be read by eye")


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real datasets; tests that need it skip without it."""
    folder: Path | None = request.config.getoption("--real-data")
    if folder is None or not (folder / "hippocampus").is_dir():
        pytest.skip("needs --real-data=DIR")
    return folder.absolute()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "real_report" in metafunc.fixturenames:
        files = metafunc.config.getoption("--report")
        none = pytest.param(None, marks=pytest.mark.skip(reason="needs --report=FILE"))
        metafunc.parametrize("real_report", [file.absolute() for file in files] or [none])


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> str:
    """The script of axe-core; tests that need it skip without it."""
    file: Path | None = request.config.getoption("--axe")
    if file is None or not file.is_file():
        pytest.skip("needs --axe=FILE (axe.min.js of the npm package axe-core)")
    return file.read_text(encoding="utf-8")


@pytest.fixture
def often_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examine as often as in a long training, though a tiny one is little work beside the examinations."""
    monkeypatch.setattr(validate, "EXAMINED_SHARE", 1e6)


@pytest.fixture(autouse=True, scope="session")
def few_pictures() -> Iterator[None]:
    """Draw as few pictures as of a large dataset, of two cases and organs: drawing all takes half of a small run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MOST_CASES", "MOST_ORGANS", "MANY_ORGANS"):
            patch.setattr(pictures, name, 2)
        yield


@contextmanager
def own_signals() -> Iterator[None]:
    """Give the tests back what they heed, which the command line changes for as long as its process lives."""
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["autoseg", *map(str, arguments)])
        with own_signals(), pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run see."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first process to ask for it has made; the others wait for it."""
    with lock(folder.parent, "pytest", MAKING_S, f"{folder.name}.lock"):
        if not folder.exists():
            make(beside := folder.with_name(f"{folder.name} unfinished"))
            beside.rename(folder)
    return folder


def make_cohort(folder: Path) -> None:
    write_cohort(folder, cases=5, seed=0, jobs=1)
    for file in folder.rglob("*.nii.gz"):
        sitk.WriteImage(sitk.ReadImage(file)[::2, ::2], file)


@pytest.fixture(scope="session")
def cohort(shared: Path) -> Path:
    """Five phantoms, of every other row and column, as most of a run's time goes by voxels."""
    return made_once(shared / "phantoms", make_cohort)


@pytest.fixture(scope="session")
def finished(cohort: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN on which all verbs were run."""

    def make(run: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["autoseg", "run", str(cohort), str(run), *SMALL])
            with own_signals(), pytest.raises(SystemExit) as stopped:
                main()
        assert not stopped.value.code

    return copy_of(made_once(shared / "RUN", make), tmp_path_factory.mktemp("run") / "RUN")
