"""Compare methods case by case: mean difference, confidence interval, and signed-rank test with Holm correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from autoseg.errors import RunError
from autoseg.evaluation.intervals import case_interval
from autoseg.evaluation.patients import Patients, patients_of
from autoseg.evaluation.published import published_beside
from autoseg.evaluation.sources import ScoreSource, is_numbered, match_organs, organs_in
from autoseg.evaluation.statistics import OVER_ORGANS
from autoseg.labels import organ_key
from autoseg.metrics.registry import Metric, comparable_metric
from autoseg.words import counted

FEWEST_PAIRS = 6  # of 5 no signed-rank test can be below 0.05: 2 / 2^5 = 0.0625
ALPHA = 0.05
_DIGITS = 9  # to which differences are rounded, so that ties are ties and zeros are zeros


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One organ, one method minus the baseline, over the cases that both have a value for; as in scores.csv's units."""

    other: str
    organ: str
    cases: tuple[str, ...]
    differences: tuple[float, ...]  # other minus baseline, one a case
    patients: int  # that the cases are of: what is independent
    baseline_mean: float
    other_mean: float
    interval: tuple[float, float] | None  # 95 %, of the mean difference
    p: float | None  # two-sided signed-rank test; None: not tested
    p_holm: float | None  # corrected over all tests of the comparison
    only_baseline: int = 0  # common cases with a value in the baseline only, left out
    only_other: int = 0  # common cases with a value in the other only, left out
    missing_is_worst: bool = False  # a distance has no value where the organ was missed

    @property
    def one_sided(self) -> int:
        """The common cases with a value in only one of the two, left out."""
        return self.only_baseline + self.only_other

    @property
    def mean(self) -> float:
        """The mean difference; NaN without a case."""
        return float(np.mean(self.differences)) if self.differences else float("nan")

    @property
    def median(self) -> float:
        """The median difference; NaN without a case."""
        return float(np.median(self.differences)) if self.differences else float("nan")

    @property
    def standing(self) -> str:
        """What the numbers allow to say.

        "none": no case. "equal": no case differs. "few": too few patients for a test. "open": the test shows nothing.
        "higher", "lower": the test and the interval of the mean show it. "mixed": the test shows that cases lie to
        one side of 0, and the mean does not go with it. "survivors": the one with the shorter distances has none in
        some cases, where it missed the organ, so that its worst cases are left out.
        """
        if not self.differences:
            return "none"
        if not any(self.differences):
            return "equal"
        if self.p_holm is None:
            return "few"
        if self.p_holm >= ALPHA:
            return "open"
        low, high = self.interval or (self.mean, self.mean)  # no interval: every case differs by the same
        side = np.sign(_rank_sum(np.asarray(self.differences)))
        if low > 0 and side > 0:
            return "survivors" if self.missing_is_worst and self.only_other else "higher"
        if high < 0 and side < 0:
            return "survivors" if self.missing_is_worst and self.only_baseline else "lower"
        return "mixed"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of sources with the first of them, and its results."""

    baseline: str
    metric: Metric
    differences: tuple[Difference, ...]  # a row an organ, from two organs on one over them, for each other source
    beside: Mapping[str, pd.DataFrame]  # per-case source to its table beside the published one, from `published_beside`
    sources: tuple[ScoreSource, ...]
    notes: tuple[str, ...]  # what was left out or assumed

    @property
    def tests(self) -> int:
        """Number of tests."""
        return sum(row.p is not None for row in self.differences)


def compare(baseline: ScoreSource, others: Sequence[ScoreSource], metric: str) -> Comparison:
    """Compare every other source with the baseline.

    Args:
        baseline: What the differences are taken from.
        others: By case, or published; a published table is set beside and never tested.
        metric: That the sources hold, as in scores.csv.

    Raises:
        RunError: If two sources have no organ or no case in common, the metric has no better side, or there is
            nothing by case.
    """
    compared = comparable_metric(metric)
    rows: list[Difference] = []
    beside: dict[str, pd.DataFrame] = {}
    notes = [note for source in (baseline, *others) for note in source.notes]
    for other in others:
        if baseline.values is None and other.values is None:
            raise RunError(f"{baseline.name} and {other.name}: both are published tables; give a source by case")
        if baseline.values is None or other.values is None:
            own = other if baseline.values is None else baseline
            beside[own.name] = _beside(own)
            alone = [organ for organ in organs_in(own) if organ not in set(beside[own.name]["Organ"])]
            notes += (
                [f"Not in the published table or without a case: {', '.join(alone)} of {own.name}."] if alone else []
            )
        else:
            differences, left_out = _paired(baseline, other, baseline.values, other.values)
            rows += differences
            notes += left_out
    corrected = holm([row.p for row in rows])
    return Comparison(
        baseline=baseline.name,
        metric=compared,
        differences=tuple(
            replace(row, p_holm=p, missing_is_worst=not compared.higher_is_better)
            for row, p in zip(rows, corrected, strict=True)
        ),
        beside=beside,
        sources=(baseline, *others),
        notes=tuple(notes),
    )


def signed_rank_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test; None for fewer than `FEWEST_PAIRS` or only zeros.

    Zeros are ranked and then left out (Pratt). Exact for up to 50 differences without zeros and ties and for up to
    13 with them, else by the normal distribution.

    >>> signed_rank_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])  # all to one side: 2 of the 2^6 ways to give out signs
    0.03125
    """
    numbers = np.round(np.asarray(differences, dtype=float), _DIGITS)
    if len(numbers) < FEWEST_PAIRS or not numbers.any():
        return None
    return float(min(1.0, stats.wilcoxon(numbers, zero_method="pratt").pvalue))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number; None stays and does not count.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    corrected: list[float | None] = list(values)
    ranked = sorted((p, place) for place, p in enumerate(values) if p is not None)
    highest = 0.0
    for rank, (p, place) in enumerate(ranked):
        highest = max(highest, min(1.0, p * (len(ranked) - rank)))
        corrected[place] = highest
    return corrected


def _paired(
    baseline: ScoreSource, other: ScoreSource, one: pd.DataFrame, two: pd.DataFrame
) -> tuple[list[Difference], list[str]]:
    """Return the differences of two sources by case, not yet corrected, and what was left out."""
    matched = match_organs(baseline, other)
    if not matched:
        names = f"{', '.join(organs_in(baseline)[:5])} and {', '.join(organs_in(other)[:5])}"
        way_out = "name the organs alike (`autoseg score` takes names with --labels)"
        raise RunError(f"{baseline.name} and {other.name}: have no organ in common ({names}); {way_out}")
    trained_on = (baseline.trained_on or frozenset()) | (other.trained_on or frozenset())
    cases = sorted((set(one.index) & set(two.index)) - trained_on)
    notes = [*_cases_left_out(baseline, other, cases), *_organs_left_out(baseline, other, matched)]
    patients = {**other.patients, **baseline.patients}
    people = patients_of(cases, patients)
    if len(people) < len(cases):
        notes.append(
            f"{baseline.name} and {other.name}: {counted(len(cases), 'case')} of {counted(len(people), 'patient')}; "
            "intervals and p are of patients."
        )
    if not cases:
        raise RunError(
            f"{baseline.name} and {other.name}: have no case in common that neither was trained on "
            f"({min(one.index)} and {min(two.index)} are cases); name the cases alike, or test on the same ones"
        )
    values = one.loc[cases, list(matched)]
    other_values = two.loc[cases, list(matched.values())].set_axis(values.columns, axis=1)
    both = values.notna() & other_values.notna()
    titles = {organ: match if is_numbered(organ) else organ for organ, match in matched.items()}
    rows = [
        _difference(other.name, titles[organ], values[organ][both[organ]], other_values[organ][both[organ]], patients)
        for organ in matched
    ]
    only = (values.notna() & other_values.isna(), values.isna() & other_values.notna())
    rows = [
        replace(row, only_baseline=int(only[0][organ].sum()), only_other=int(only[1][organ].sum()))
        for row, organ in zip(rows, matched, strict=True)
    ]
    if len(matched) > 1:
        means = (values[both].mean(axis=1).dropna(), other_values[both].mean(axis=1).dropna())
        in_cases = [int(one_only.any(axis=1).sum()) for one_only in only]
        over = _difference(other.name, OVER_ORGANS, *means, patients)
        rows.append(replace(over, only_baseline=in_cases[0], only_other=in_cases[1]))
    return rows, notes


def _difference(other: str, organ: str, one: pd.Series[float], two: pd.Series[float], patients: Patients) -> Difference:
    """Return one row from values by case, the same cases in the same order.

    What is independent are patients: they are resampled, and the test takes the mean over the cases of each.
    """
    by_case = (two - one).round(_DIGITS)
    differences = [float(d) for d in by_case]
    people = [patients.get(str(case), str(case)) for case in by_case.index]
    return Difference(
        other=other,
        organ=organ,
        cases=tuple(str(case) for case in one.index),
        differences=tuple(differences),
        patients=len(set(people)),
        baseline_mean=float(one.mean()),
        other_mean=float(two.mean()),
        interval=case_interval(by_case, patients),
        p=signed_rank_p(list(by_case.groupby(people).mean())),
        p_holm=None,
    )


def _cases_left_out(baseline: ScoreSource, other: ScoreSource, cases: Sequence[str]) -> list[str]:
    notes = []
    for own, their in ((baseline, other), (other, baseline)):
        if own.values is None:
            continue
        alone = set(map(str, own.values.index)) - set(cases)
        training = alone & (their.trained_on or frozenset())
        if training:
            count = counted(len(training), "case")
            notes.append(f"Left out: {count} of {own.name} that {their.name} was trained or validated on.")
        if alone - training:
            count = counted(len(alone - training), "case")
            notes.append(f"Left out: {count} of {own.name} for which {their.name} has no held-out value.")
    return notes


def _organs_left_out(baseline: ScoreSource, other: ScoreSource, matched: Mapping[str, str]) -> list[str]:
    by_label = [f"{organ} is {match}" for organ, match in matched.items() if organ_key(organ) != organ_key(match)]
    notes = [f"{baseline.name} and {other.name}: by label value, {', '.join(by_label)}."] if by_label else []
    for own, compared in ((baseline, set(matched)), (other, set(matched.values()))):
        alone = [organ for organ in organs_in(own) if organ not in compared]
        if alone:
            notes.append(f"Only in {own.name}, not compared: {', '.join(alone)}.")
    return notes


def _beside(own: ScoreSource) -> pd.DataFrame:
    """Return the table of a source by case beside the published one."""
    percent = (own.values if own.values is not None else pd.DataFrame()) * 100
    table = pd.DataFrame(
        {
            "Organ": [str(organ) for organ in percent.columns],
            "Avg.": percent.mean().to_numpy(),
            "Std.": percent.std(ddof=1).to_numpy(),
            "Min.": percent.min().to_numpy(),
            "Max.": percent.max().to_numpy(),
            "N": percent.count().to_numpy(dtype=float),
        }
    )
    beside = published_beside(table, "testing")
    if beside is None:
        raise RunError(f"{own.name}: has no organ of the published table ({', '.join(table['Organ'][:5])}); name alike")
    return beside


def _rank_sum(differences: npt.NDArray[np.float64]) -> float:
    """Return the sum of the ranks of the positive differences less that of the negative ones."""
    return float(np.sum(np.sign(differences) * stats.rankdata(np.abs(differences))))
