"""What an exported model says of the RUN's scores: all that hold, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from command_line import Cli, copy_of

from autoseg.evaluation.freshness import note_score_sources, score_sources
from autoseg.run import Run


def test_one_case_that_could_not_be_scored_leaves_the_other_scores_in_the_card(
    finished: Path, cli: Cli, tmp_path: Path
) -> None:
    run = Run(copy_of(finished, tmp_path / "RUN"))
    scores = pd.read_csv(run.scores_file)
    scores[scores["case"] != scores["case"][0]].to_csv(run.scores_file, index=False)
    note_score_sources(run, score_sources(run))
    code, _, err = cli("export", run.folder, tmp_path / "m.autoseg")
    assert code == 0
    assert "1 case not scored, so the tables of the card are without" in " ".join(err.split())
    assert "## Dice (%)" in cli("show", tmp_path / "m.autoseg")[1]


def test_scores_of_before_a_change_are_left_out_and_clean_up_and_calibration_are_not_said_to_be(
    finished: Path, cli: Cli, tmp_path: Path
) -> None:
    run = Run(copy_of(finished, tmp_path / "RUN"))
    run.scores_file.unlink()
    code, _, err = cli("export", run.folder, tmp_path / "m.autoseg")
    assert code == 0
    assert "was not evaluated after its last change, so the card has no scores; run" in " ".join(err.split())
    assert "## Dice (%)" not in cli("show", tmp_path / "m.autoseg")[1]
