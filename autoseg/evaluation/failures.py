"""Failures: where Dice is lost, by kind of error and by organ; distances with misses counted; pieces of organs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from autoseg.dataset.names import side_pairs
from autoseg.evaluation.cases import doubts
from autoseg.evaluation.statistics import by_case, organs_of
from autoseg.labels import Label
from autoseg.metrics.loss_kinds import KINDS

FAILURES = ("What went wrong", "Cases", "Organs", "Share of the lost Dice (%)")
DISTANCES = ("Organ", "N", "HD95 (mm)", "Median", "In one only", "With misses (mm)", "Median with misses")
PIECES = ("Organ", "Cases", "Pieces", "Found", "Missed", "Invented", "F1 (%)", "Lesion-wise Dice (%)")
SEVERAL = 2  # pieces that an organ has in half of the cases or more, to be told of piece by piece
NA = float("nan")
NOTHING: pd.Series[float] = pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []]))
LEAST = 0.01  # of a Dice: what costs an organ less is no failure worth counting


def failures(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return what each kind of error costs, over all organs; columns `FAILURES`, a row a kind.

    Cases and organs (of a case) count where the kind costs at least `LEAST` of a Dice. The shares of the kinds add up
    to 100; organs whose label is doubtful, as the model is sure of itself, are counted again in a last row. A kind that
    cannot occur, as wrong side where no organ has one, has no row.
    """
    lost = _lost(scores, splits)
    whole = float(lost.to_numpy().sum())
    if not whole:
        return pd.DataFrame(columns=list(FAILURES))
    shares = 100 * lost.sum() / whole
    rows: list[list[str | int | float]] = []
    for kind, share in shares.sort_values(ascending=False, kind="stable").items():
        rows.append([KINDS[str(kind)].capitalize(), *_counts(lost[lost[kind] >= LEAST]), float(share)])
    doubtful = [(doubt.organ, doubt.case) for doubt in doubts(scores, splits) if doubt.expected is not None]
    again = lost[lost.index.isin(doubtful)]
    share = 100 * float(again.to_numpy().sum()) / whole
    if len(again):
        rows.append(["Of all, where the label is doubtful", *_counts(again), share])
    return pd.DataFrame(rows, columns=list(FAILURES))


def _counts(lost: pd.DataFrame) -> tuple[int, int]:
    """Return how many cases and how many organs of cases there are."""
    return lost.index.get_level_values("case").nunique(), len(lost)


def failures_by_organ(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return the mean Dice that each organ loses, in points, and that by each kind of error; a row an organ."""
    lost = _lost(scores, splits)
    if lost.empty:
        return pd.DataFrame()
    means = 100 * lost.groupby("organ", sort=False).mean()
    table = means.rename(columns=lambda kind: kind.replace("_", " ").capitalize())
    table.insert(0, "Lost Dice", means.sum(axis=1))
    table = table.reindex([name for name in organs_of(scores).values() if name in table.index])
    return table.rename_axis("Organ").reset_index()


def distances(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return HD95 where truth and prediction have the organ, beside HD95 with misses counted; columns `DISTANCES`.

    An organ that is in only one of the two counts as the diagonal of the image: it is missed, or invented. No row
    where there is none such.
    """
    found, every = by_case(scores, "hd95_mm", splits), by_case(scores, "hd95_all_mm", splits)
    rows: list[list[Any]] = []
    for label, organ in organs_of(scores).items():
        values, with_misses = (by[label].dropna() for by in (found, every))
        if len(with_misses):
            in_one = len(with_misses) - len(values)
            numbers = (values.mean(), values.median(), in_one, with_misses.mean(), with_misses.median())
            rows.append([organ, len(values), *numbers])
    is_told = any(row[DISTANCES.index("In one only")] for row in rows)
    return pd.DataFrame(rows if is_told else [], columns=list(DISTANCES))


def pieces(scores: pd.DataFrame, splits: Collection[str], least: int = SEVERAL) -> pd.DataFrame:
    """Return how many pieces were found, missed and invented, over all cases; columns `PIECES`, a row an organ.

    Args:
        scores: As in scores.csv.
        splits: Sides of the split that count.
        least: Median of the pieces of the truth by case below which an organ has no row.
    """
    true, missed, invented, dice = (
        by_case(scores, f"pieces_{what}", splits) for what in ("true", "missed", "invented", "dice")
    )
    rows: list[list[Any]] = []
    for label, organ in organs_of(scores).items():
        counts = true[label].dropna()
        if not len(counts) or counts.median() < least:
            continue
        sums = [counts.sum(), missed[label].sum(), invented[label].sum()]
        matched = sums[0] - sums[1]
        f1 = 100 * 2 * matched / (2 * matched + sums[1] + sums[2])
        by_piece = 100 * (dice[label] * (counts + invented[label])).sum() / (sums[0] + sums[2]) if label in dice else NA
        whole = (round(n) for n in (sums[0], matched, sums[1], sums[2]))
        rows.append([organ, len(counts), *whole, float(f1), float(by_piece)])
    return pd.DataFrame(rows, columns=list(PIECES))


def _lost(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return the Dice that each kind of error costs, 0 to 1: a row a case and organ, a column a kind."""
    names, kinds = organs_of(scores), {}
    for kind in KINDS:
        by_organ = {names[label]: values for label, values in by_case(scores, f"lost_{kind}", splits).items()}
        if by_organ:  # scores of an earlier version do not have all kinds
            kinds[kind] = pd.concat(by_organ)
    lost = pd.DataFrame(kinds or {"side": NOTHING}).rename_axis(["organ", "case"]).dropna()
    labels = _labels(scores)
    impossible = ([] if side_pairs(labels) else ["side"]) + (["other_organ"] if len(labels) < 2 else [])
    return lost.drop(columns=impossible, errors="ignore")


def _labels(scores: pd.DataFrame) -> list[Label]:
    return [Label(value=value, name=name) for value, name in organs_of(scores).items()]
