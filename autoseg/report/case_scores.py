"""The scores of each case as the page lists them; of very many the numbers are held, and written as text one by one."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoseg.evaluation.cases import ORDER, own_folds
from autoseg.metrics.registry import METRICS, Metric, known_metric

CASE = ["case", "split", "fold"]  # columns that tell a case, of one fold
COLUMNS = sorted((m for m in METRICS.values() if m.case_column is not None), key=lambda m: m.case_column or 0)
METRIC_OF = {metric.family or metric.name: metric for metric in COLUMNS}
DICE, MISSED = "dice", "missed"
NEEDED = tuple(dict.fromkeys((*METRIC_OF, DICE, MISSED)))
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """The scores of one case, of the fold that tests it where there is one."""

    case: str
    split: str
    fold: int
    mean_dice: float | None  # 0 to 1, over the organs that have one; None where none has
    lowest: str  # organ of the lowest Dice; "" where there is none
    lowest_dice: float | None  # 0 to 1
    missed: tuple[str, ...]  # organs in the truth of which nothing was predicted
    organs: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: array[float]  # of each organ one after the other, one a metric; NaN where undefined
    others: tuple[str, ...]  # its mean Dice in each other fold, as text

    @property
    def columns(self) -> tuple[str, ...]:
        """The heads of the columns of `rows`."""
        return ("Organ", *(f"{metric.family.upper() or metric.title} ({metric.unit})" for metric in self.metrics))

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """An organ each, as text."""
        count = len(self.metrics)
        parts = [self.values[n * count : (n + 1) * count] for n in range(len(self.organs))]
        return tuple(
            (organ, *(_cell(value, metric) for value, metric in zip(part, self.metrics, strict=True)))
            for organ, part in zip(self.organs, parts, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class _Organs:
    """The organs of one case in one fold, by label."""

    names: tuple[str, ...]
    values: Numbers  # (organs, NEEDED), NaN where undefined
    scored: npt.NDArray[np.bool_]  # (NEEDED,): which of these metrics the scores have


def case_scores(scores: pd.DataFrame) -> tuple[CaseScores, ...]:
    """Return the scores of every case on its original grid: testing cases first, then by rising mean Dice."""
    rows = scores[scores["grid"] == "original"]
    chosen = set(own_folds(rows).itertuples(index=False, name=None))
    own: dict[tuple[str, str, int], _Organs] = {}
    others: dict[str, list[str]] = {}
    for key, organs in _organs_by_case(rows):
        if key in chosen:
            own[key] = organs
        else:
            others.setdefault(key[0], []).append(_fold_text(key, organs))
    cases = [_case(key, organs, others.get(key[0], ())) for key, organs in own.items()]
    return tuple(sorted(cases, key=lambda c: (ORDER.get(c.split, len(ORDER)), _worst_first(c), c.case)))


def _organs_by_case(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str, int], _Organs]]:
    """Yield case, side and fold with what the organs have there, in the order of `rows`."""
    if rows.empty:
        return
    keys = [*CASE, "label", "organ"]
    places = rows.groupby(keys, sort=False, observed=True).ngroup().to_numpy()  # organs of cases, as they come
    codes, names = pd.factorize(rows["metric"])
    column = np.array([_column_of(str(name)) for name in names], dtype=np.intp)[codes]
    needed = column >= 0
    values = np.full((places.max(initial=-1) + 1, len(NEEDED)), np.nan)
    scored = np.zeros(values.shape, dtype=np.bool_)
    values[places[needed], column[needed]] = rows["value"].to_numpy(dtype=np.float64)[needed]  # the last one counts
    scored[places[needed], column[needed]] = True
    organs = rows[keys].drop_duplicates().reset_index(drop=True)
    number = organs.groupby(CASE, sort=False, observed=True).ngroup()
    organs = organs.assign(number=number).sort_values(["number", "label", "organ"], kind="stable")
    order, numbers = organs.index.to_numpy(), organs["number"].to_numpy()
    texts = organs["organ"].astype(str).tolist()
    heads = list(organs[CASE].itertuples(index=False, name=None))
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        case, split, fold = heads[start]
        of_case, own = order[start:stop], tuple(texts[start:stop])
        organs_of_case = _Organs(
            names=shared.setdefault(own, own), values=values[of_case], scored=scored[of_case].any(axis=0)
        )
        yield (str(case), str(split), int(fold)), organs_of_case


def _column_of(metric: str) -> int:
    known = known_metric(metric)
    name = metric if known is None else known.family or metric
    return NEEDED.index(name) if name in NEEDED else -1


def _case(key: tuple[str, str, int], organs: _Organs, others: list[str] | tuple[()]) -> CaseScores:
    case, split, fold = key
    dice, missed = (organs.values[:, NEEDED.index(name)] for name in (DICE, MISSED))
    known = np.flatnonzero(~np.isnan(dice))
    lowest = known[dice[known].argmin()] if len(known) else None
    metrics = tuple(metric for name, metric in METRIC_OF.items() if organs.scored[NEEDED.index(name)])
    columns = [NEEDED.index(metric.family or metric.name) for metric in metrics]
    return CaseScores(
        case=case,
        split=split,
        fold=fold,
        mean_dice=_mean(dice[known]),
        lowest="" if lowest is None else organs.names[lowest],
        lowest_dice=None if lowest is None else float(dice[lowest]),
        missed=tuple(organs.names[place] for place in np.flatnonzero(missed > 0)),
        organs=organs.names,
        metrics=metrics,
        values=array("d", organs.values[:, columns].tobytes()),
        others=tuple(others),
    )


def _mean(values: Numbers) -> float | None:
    return float(values.sum()) / len(values) if len(values) else None


def _fold_text(key: tuple[str, str, int], organs: _Organs) -> str:
    dice = organs.values[:, NEEDED.index(DICE)]
    mean = _mean(dice[~np.isnan(dice)])
    return f"fold {key[2]}, {key[1]}: {100 * (math.nan if mean is None else mean):.1f}"


def _worst_first(case: CaseScores) -> float:
    return 2.0 if case.mean_dice is None else case.mean_dice


def _cell(value: float, metric: Metric) -> str:
    return "" if math.isnan(value) else f"{metric.factor * value:.{metric.decimals}f}"
