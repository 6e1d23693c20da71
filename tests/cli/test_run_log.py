"""Tests of autoseg.cli.run_log: what stands in RUN/log.txt, and that it stands there once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from autoseg.cli.run_log import logging_to
from autoseg.run import Run

logger = logging.getLogger("autoseg.somewhere")


def lines_of(run: Run) -> list[str]:
    return [line.split(" ", 2)[2] for line in run.log_file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("sys.argv", ["/opt/bin/autoseg", "run", "my data", "RUN"])
    (tmp_path / "plan.json").touch()
    return Run(tmp_path)


def test_a_command_of_several_steps_is_written_once(run: Run) -> None:
    with logging_to(run):
        for step in ("plan", "train"):
            with logging_to(run):
                logger.info("%s is done", step)
    assert lines_of(run) == ["INFO autoseg run 'my data' RUN", "INFO plan is done", "INFO train is done"]


def test_a_warning_that_comes_with_every_fold_is_written_once_a_command(run: Run) -> None:
    for _ in range(2):
        with logging_to(run):
            for _ in range(3):
                logger.warning("the voxels are %s", "large")
    assert lines_of(run) == 2 * ["INFO autoseg run 'my data' RUN", "WARNING the voxels are large"]


def test_what_was_said_while_a_folder_becomes_a_run_is_written_then(run: Run) -> None:
    run.plan_file.unlink()
    with logging_to(run):
        logger.warning("few cases")
        assert not run.log_file.exists()
        run.plan_file.touch()
        logger.info("planned")
    assert lines_of(run) == ["INFO autoseg run 'my data' RUN", "WARNING few cases", "INFO planned"]


def test_a_folder_that_does_not_become_a_run_stays_as_it_is(run: Run) -> None:
    run.plan_file.unlink()
    with logging_to(run):
        logger.warning("few cases")
    assert list(run.folder.iterdir()) == []


def test_a_failure_is_written_once_with_its_traceback(run: Run) -> None:
    with pytest.raises(ZeroDivisionError), logging_to(run), logging_to(run):
        1 / 0  # noqa: B018
    text = run.log_file.read_text(encoding="utf-8")
    assert text.count("ERROR failed") == text.count("Traceback") == text.count("ZeroDivisionError") == 1


def test_nothing_is_left_behind(run: Run) -> None:
    autoseg = logging.getLogger("autoseg")
    before = [*autoseg.handlers], autoseg.level
    with logging_to(run):
        pass
    assert ([*autoseg.handlers], autoseg.level) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
def test_what_the_disk_does_not_take_is_left_out_and_hides_no_error(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.log_file.symlink_to("/dev/full")
    with pytest.raises(OSError, match="the model's own"), logging_to(run):
        raise OSError("the model's own")
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_opened_hides_no_error(run: Run) -> None:
    run.log_file.mkdir()
    with pytest.raises(OSError, match="the model's own"), logging_to(run):
        raise OSError("the model's own")
