"""Select the cases to look at: worst, median and best Dice, and training labels that the model doubts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from autoseg.dataset.split import SIDES

ORDER = {side: place for place, side in enumerate(reversed(SIDES))}  # testing cases first
SURE_GAP = 0.05  # Dice below what the model expects, from which a label is doubted
SAME = 1e-4  # Dice: what a model expects of cases differs by less where it cannot tell them apart
SPREADS = 3.0  # robust standard deviations of the organ's gaps
MAD_TO_STD = 1.4826


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An organ of a training case whose label a confident model disagrees with."""

    case: str
    organ: str
    dice: float
    expected: float | None  # None: the model found nothing of the organ, though it learnt from this label


def own_folds(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row a case: case, split and fold, of the fold that it tests, else validates, else any."""
    pairs = scores[["case", "split", "fold"]].drop_duplicates()
    pairs = pairs.assign(place=pairs["split"].astype(str).map(ORDER).fillna(len(ORDER)))
    return pairs.sort_values(["place", "fold"], kind="stable").drop_duplicates("case")[["case", "split", "fold"]]


def doubts(scores: pd.DataFrame, sides: Collection[str] = ("training",)) -> tuple[Doubt, ...]:
    """Return the organs of the cases of some sides whose labels should be looked at, the most doubtful first.

    The model finds nothing of the organ, though it learnt from this label (if it is of a training case); or its Dice is
    below the one it expects of itself, by more than `SURE_GAP` and by more than `SPREADS` robust standard deviations of
    that organ's gaps. A model that expects the same of all cases doubts no label.
    """
    training = scores[(scores["grid"] == "original") & scores["split"].isin(list(sides))]
    training = training[training["metric"].isin(["dice", "expected_dice", "missed"])]
    training = training.astype(dict.fromkeys(("organ", "case", "metric"), str))
    wide = training.groupby(["organ", "case", "metric"])["value"].mean().unstack("metric")
    if not {"dice", "expected_dice"} <= set(wide.columns):
        return ()
    missed = wide[wide["missed"] > 0] if "missed" in wide else wide.iloc[:0]
    sure = wide.dropna(subset=["dice", "expected_dice"])
    expected = sure.groupby("organ")["expected_dice"]
    sure = sure[expected.transform("max") - expected.transform("min") > SAME]
    gap = sure["expected_dice"] - sure["dice"]
    middle = gap.groupby("organ").transform("median")
    spread = MAD_TO_STD * (gap - middle).abs().groupby("organ").transform("median")
    odd = sure.assign(gap=gap)[(gap > SURE_GAP) & (gap - middle > SPREADS * spread)]
    odd = odd.sort_values("gap", ascending=False, kind="stable")
    unpredicted = [Doubt(case=str(case), organ=str(organ), dice=0.0, expected=None) for organ, case in missed.index]
    values = odd.reset_index()[["organ", "case", "dice", "expected_dice"]].to_numpy()
    return (
        *unpredicted,
        *(Doubt(case=str(c), organ=str(o), dice=float(dice), expected=float(sure)) for o, c, dice, sure in values),
    )


def chosen_cases(dice_of_cases: Sequence[tuple[str, float]]) -> dict[str, str]:
    """Return which of some (case, Dice) to show: "Worst", "Median" and "Best" to case; fewer where there are fewer.

    >>> chosen_cases([("a", 0.9), ("b", 0.5), ("c", 0.7)])
    {'Worst': 'b', 'Median': 'c', 'Best': 'a'}
    """
    ranked = [case for case, _ in sorted(dice_of_cases, key=lambda pair: (pair[1], pair[0]))]
    places = {"Worst": 0, "Median": len(ranked) // 2, "Best": len(ranked) - 1}
    if len(ranked) < len(places):
        places = {"Worst": 0, "Best": 1} if len(ranked) == 2 else {"Only": 0} if ranked else {}
    return {which: ranked[place] for which, place in places.items()}
