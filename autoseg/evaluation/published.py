"""Published tables: averages over other patients, shown beside a run's own and never tested against it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from autoseg.errors import RunError
from autoseg.evaluation.statistics import NUMBERS, TOTAL
from autoseg.labels import organ_key

PUBLISHED = "roth2018"  # what the user types
TITLE = "Roth et al. 2018"
SHOWN = (*NUMBERS, "N")
PAPER = "Paper "  # before the names of the paper's columns
Which = Literal["training", "testing"]

_FILE = Path(__file__).with_name("published.csv")


def require_published(name: str) -> None:
    """Refuse what no published table is called.

    Raises:
        RunError: If it is another name.
    """
    if name != PUBLISHED:
        raise RunError(f"--beside {name}: is no published table; give {PUBLISHED}")


def published_table(which: Which) -> pd.DataFrame:
    """Return the paper's Table 1 (training) or 2 (testing) as printed: columns Organ and `SHOWN`, Dice in %."""
    rows = _rows(which).rename(
        columns={"organ": "Organ", "avg": "Avg.", "std": "Std.", "min": "Min.", "max": "Max.", "cases": "N"}
    )
    return rows[["Organ", *SHOWN]].astype(dict.fromkeys(SHOWN, float)).reset_index(drop=True)


def published_note(which: Which) -> str:
    """Return the source of the table and the notes on it."""
    rows = _rows(which)
    notes = [note for note in rows["note"] if note]
    return " ".join([f"Paper: {rows['source'].iloc[0]}; other patients, so no test.", *notes])


def published_beside(table: pd.DataFrame, which: Which) -> pd.DataFrame | None:
    """Return the rows of `table` whose organ is also in the paper, with the paper's numbers beside them.

    Args:
        table: From `tables.dice_table`: Dice in %, with or without its row `TOTAL`.
        which: Cases that `table` counts.

    Returns:
        Columns Organ, `SHOWN`, then the paper's under "Paper Avg." and so on; a row an organ in the order of `table`,
        and from two organs on a last row with the mean of each column over these organs: `TOTAL` where they are all
        the organs of both, else "Mean of 3 organs". Organs without a scored case are left out. Not rounded. None
        where no organ is left.
    """
    own = table[table["Organ"] != TOTAL]
    paper = published_table(which)
    paper = paper[paper["Organ"] != TOTAL].set_index("Organ")
    keys = own["Organ"].astype(str).map(organ_key)
    matched = own[keys.isin(paper.index) & (own["N"] > 0)]
    if matched.empty:
        return None
    published = paper.loc[list(keys[matched.index])].add_prefix(PAPER).reset_index(drop=True)
    beside = pd.concat([matched[["Organ", *SHOWN]].reset_index(drop=True), published], axis=1)
    if len(beside) > 1:
        every = len(beside) == len(own) == len(paper)
        means = beside.drop(columns="Organ").mean()
        beside.loc[len(beside)] = [TOTAL if every else f"Mean of {len(beside)} organs", *means]
    return beside


def _rows(which: Which) -> pd.DataFrame:
    rows = pd.read_csv(_FILE, keep_default_na=False, encoding="utf-8")
    return rows[rows["split"] == which]
