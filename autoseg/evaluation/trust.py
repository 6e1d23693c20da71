"""Trust: the Dice that a model expects of itself against the true one, and what leaving out doubtful cases gains."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from autoseg.evaluation.cases import SAME
from autoseg.evaluation.intervals import FEWEST
from autoseg.evaluation.statistics import OVER_ORGANS, by_case, organs_of

EXPECTED = (
    "Organ", "N", "Expected Dice (%)", "Dice (%)", "Expected − true (points)", "MAE (points)", "Spearman's ρ",
    "95 % CI of ρ",
)  # fmt: skip
COVERAGE = ("Cases kept (%)", "Cases", "Mean Dice (%)", "Lowest Dice (%)")
SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)


def expected_dice(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return how far the expected Dice lies from the true one in each organ; columns `EXPECTED`.

    Only predicted organs have an expected Dice. No row where none has. The rank correlation tells whether the model
    knows good masks from bad ones; blank where it expects the same of all. In the last row it is that of cases, by
    `case_pairs`; the other numbers there are means over the organs.
    """
    expected, true = by_case(scores, "expected_dice", splits), by_case(scores, "dice", splits)
    rows: list[list[Any]] = []
    for label, organ in organs_of(scores).items():
        pair = pd.DataFrame({"e": expected[label], "d": true[label]}, dtype=float).dropna()
        if len(pair):
            off = 100 * (pair["e"] - pair["d"])
            dice = 100 * pair["e"].mean(), 100 * pair["d"].mean(), off.mean(), off.abs().mean()
            rows.append([organ, len(pair), *dice, *_rank_correlation(pair)])
    if len(rows) > 1:
        cases = case_pairs(scores, splits).rename(columns={"expected": "e", "dice": "d"})
        means = np.mean([row[2:6] for row in rows], axis=0).tolist()
        rows.append([OVER_ORGANS, len(cases), *means, *_rank_correlation(cases)])
    return pd.DataFrame(rows, columns=list(EXPECTED))


def _rank_correlation(pair: pd.DataFrame) -> tuple[float, str]:
    """Return Spearman's rank correlation of two columns and its 95 % interval; NaN and "" where it says nothing.

    Source: Bonett and Wright 2000, Sample size requirements for estimating Pearson, Kendall and Spearman correlations.
    """
    count = len(pair)
    if count < FEWEST or not has_spread(pair["e"]) or not has_spread(pair["d"]):
        return math.nan, ""
    rho = float(stats.spearmanr(pair["e"], pair["d"]).statistic)
    middle, far = math.atanh(np.clip(rho, -0.9999, 0.9999)), 1.96 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    low, high = (f"{math.tanh(middle + sign * far):.2f}".replace("-", "−") for sign in (-1, 1))
    return rho, f"{low} to {high}"


def has_spread(expected: pd.Series[float]) -> bool:
    """Return whether a model expects more of some cases than of others: else it ranks none.

    >>> has_spread(pd.Series([0.8, 0.8])), has_spread(pd.Series([0.8, 0.7]))
    (False, True)
    """
    return bool(len(expected)) and float(expected.max() - expected.min()) > SAME


def case_pairs(scores: pd.DataFrame, splits: Collection[str]) -> pd.DataFrame:
    """Return the expected and the true Dice of each case, means over its organs; the most trusted case first.

    An organ that was not found has no expected Dice, and its Dice of 0 counts in the true one.
    """
    expected, true = (pd.DataFrame(by_case(scores, metric, splits)) for metric in ("expected_dice", "dice"))
    expected = expected.reindex_like(true).astype(float).where(true.notna())
    pairs = pd.DataFrame({"expected": expected.mean(axis=1), "dice": true.mean(axis=1)}).dropna()
    return pairs.sort_values("expected", ascending=False, kind="stable")


def coverage(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the Dice of the cases that are kept when the least trusted are left to a human; columns `COVERAGE`.

    No row where the model expects the same of all cases, as any order is then as good.

    Args:
        pairs: From `case_pairs`.
    """
    if not has_spread(pairs["expected"]):
        return pd.DataFrame(columns=list(COVERAGE))
    rows = []
    for share in SHARES:
        kept = pairs["dice"].iloc[: max(1, round(share * len(pairs)))]
        rows.append([f"{100 * share:.0f}", len(kept), 100 * kept.mean(), 100 * kept.min()])
    return pd.DataFrame(rows if len(pairs) > 1 else [], columns=list(COVERAGE))


def risks(dice: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the risk at each coverage, from one case to all: the mean of 1 − Dice of the most trusted ones.

    Its mean is the area under the risk-coverage curve (AURC).

    Args:
        dice: 0 to 1, the most trusted case first.

    Source: Geifman & El-Yaniv 2017, Selective classification for deep neural networks.

    >>> risks(np.array([1.0, 0.5])).tolist()
    [0.0, 0.25]
    """
    return np.asarray(np.cumsum(1 - dice) / np.arange(1, len(dice) + 1))
