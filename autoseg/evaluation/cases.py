"""The cases one by one, the worst first; and those whose labels the model doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from autoseg.dataset.split import SIDES
from autoseg.metrics.registry import METRICS, Metric, known_metric

ORDER = {side: place for place, side in enumerate(reversed(SIDES))}  # testing cases first
COLUMNS = sorted((m for m in METRICS.values() if m.case_column is not None), key=lambda metric: metric.case_column or 0)
SURE_GAP = 0.05  # Dice below what the model expects, from which a label is doubted
SPREADS = 3.0  # robust standard deviations of the organ's gaps
MAD_TO_STD = 1.4826


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """One case as the report tells it: as the fold scored it that it tests."""

    case: str
    split: str
    fold: int
    mean_dice: float | None  # 0 to 1, over the organs that have one; None where none has
    lowest: str  # organ of the lowest Dice, with it; "" where there is none
    missed: tuple[str, ...]  # organs in the truth of which nothing was predicted
    columns: tuple[str, ...]  # of `rows`
    rows: tuple[tuple[str, ...], ...]  # an organ each, as text
    others: tuple[str, ...]  # what it reached in other folds, in words


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An organ of a training case whose label differs from what the model is sure of."""

    case: str
    organ: str
    dice: float
    expected: float | None  # None: the model found nothing of the organ, though it learnt from this label


def own_folds(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row a case: case, split and fold, of the fold that it tests, else validates, else any."""
    pairs = scores[["case", "split", "fold"]].drop_duplicates()
    pairs = pairs.assign(place=pairs["split"].map(ORDER).fillna(len(ORDER)))
    return pairs.sort_values(["place", "fold"], kind="stable").drop_duplicates("case")[["case", "split", "fold"]]


def case_scores(scores: pd.DataFrame) -> tuple[CaseScores, ...]:
    """Return every case on its own grid: testing cases first, then the lowest mean Dice first."""
    own = scores[scores["grid"] == "original"].copy()
    families = {name: metric.family for name in own["metric"].unique() if (metric := known_metric(name)) is not None}
    own["metric"] = [families.get(name) or name for name in own["metric"]]
    chosen = set(own_folds(own).itertuples(index=False, name=None))
    of_case: dict[str, list[pd.DataFrame]] = {}
    told = []
    for (case, split, fold), frame in own.groupby(["case", "split", "fold"], sort=False):
        if (case, split, fold) in chosen:
            told.append(frame)
        else:
            of_case.setdefault(str(case), []).append(frame)
    cases = [_told(frame, of_case.get(str(frame["case"].iloc[0]), [])) for frame in told]
    return tuple(sorted(cases, key=lambda c: (ORDER.get(c.split, len(ORDER)), _worst_first(c), c.case)))


def doubts(scores: pd.DataFrame) -> tuple[Doubt, ...]:
    """Return the organs of training cases whose labels should be looked at, the most doubtful first.

    The model learnt from these labels and still disagrees: it finds nothing of the organ; or its Dice is below the one
    it expects of itself, by more than `SURE_GAP` and by more than `SPREADS` robust standard deviations of that organ's
    gaps.
    """
    own = scores[(scores["grid"] == "original") & (scores["split"] == "training")]
    own = own[own["metric"].isin(["dice", "expected_dice", "missed"])]
    wide = own.groupby(["organ", "case", "metric"])["value"].mean().unstack("metric")
    if not {"dice", "expected_dice"} <= set(wide.columns):
        return ()
    gone = wide[wide["missed"] > 0] if "missed" in wide else wide.iloc[:0]
    sure = wide.dropna(subset=["dice", "expected_dice"])
    gap = sure["expected_dice"] - sure["dice"]
    middle = gap.groupby("organ").transform("median")
    spread = MAD_TO_STD * (gap - middle).abs().groupby("organ").transform("median")
    odd = sure.assign(gap=gap)[(gap > SURE_GAP) & (gap - middle > SPREADS * spread)]
    odd = odd.sort_values("gap", ascending=False, kind="stable")
    missed = [Doubt(case=str(case), organ=str(organ), dice=0.0, expected=None) for organ, case in gone.index]
    values = odd.reset_index()[["organ", "case", "dice", "expected_dice"]].to_numpy()
    return (
        *missed,
        *(Doubt(case=str(c), organ=str(o), dice=float(dice), expected=float(sure)) for o, c, dice, sure in values),
    )


def chosen_cases(told: Sequence[tuple[str, float]]) -> dict[str, str]:
    """Return which of some (case, Dice) to show: "Worst", "Median" and "Best" to case; fewer where there are fewer.

    >>> chosen_cases([("a", 0.9), ("b", 0.5), ("c", 0.7)])
    {'Worst': 'b', 'Median': 'c', 'Best': 'a'}
    """
    ranked = [case for case, _ in sorted(told, key=lambda pair: (pair[1], pair[0]))]
    places = {"Worst": 0, "Median": len(ranked) // 2, "Best": len(ranked) - 1}
    if len(ranked) < len(places):
        places = {"Worst": 0, "Best": 1} if len(ranked) == 2 else {"Only": 0} if ranked else {}
    return {which: ranked[place] for which, place in places.items()}


def _worst_first(case: CaseScores) -> float:
    return 2.0 if case.mean_dice is None else case.mean_dice


def _told(frame: pd.DataFrame, others: Sequence[pd.DataFrame]) -> CaseScores:
    keys = ["label", "organ", "metric"]
    wide = frame.drop_duplicates(keys, keep="last").set_index(keys)["value"].unstack("metric")
    wide = wide.reset_index("label", drop=True)
    columns = {metric.family or metric.name: metric for metric in COLUMNS}
    columns = {column: metric for column, metric in columns.items() if column in wide.columns}
    cells = [[_number(value, metric) for value in wide[column]] for column, metric in columns.items()]
    organs = [str(organ) for organ in wide.index]
    dice = wide["dice"].dropna() if "dice" in wide else pd.Series(dtype=float)
    missed = wide.index[wide["missed"] > 0] if "missed" in wide else ()
    return CaseScores(
        case=str(frame["case"].iloc[0]),
        split=str(frame["split"].iloc[0]),
        fold=int(frame["fold"].iloc[0]),
        mean_dice=float(dice.mean()) if len(dice) else None,
        lowest=f"{dice.idxmin()} {100 * dice.min():.1f}" if len(dice) else "",
        missed=tuple(str(organ) for organ in missed),
        columns=("Organ", *(f"{metric.family.upper() or metric.title} ({metric.unit})" for metric in columns.values())),
        rows=tuple(zip(organs, *cells, strict=True)),
        others=tuple(_in_words(other) for other in others),
    )


def _in_words(frame: pd.DataFrame) -> str:
    mean = frame.loc[frame["metric"] == "dice", "value"].mean()
    return f"fold {frame['fold'].iloc[0]}, {frame['split'].iloc[0]}: {100 * mean:.1f}"


def _number(value: float, metric: Metric) -> str:
    return "" if pd.isna(value) else f"{metric.factor * value:.{metric.decimals}f}"
