"""The verdict on a comparison: sentences on what the differences show, caveats, and tables as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoseg.evaluation.compare import ALPHA, FEWEST_PAIRS, Comparison, Difference
from autoseg.evaluation.published import TITLE, published_note
from autoseg.evaluation.statistics import OVER_ORGANS
from autoseg.metrics.registry import Metric
from autoseg.report.formats import TextTable
from autoseg.report.tables import beside_table
from autoseg.words import counted

SMALL_POINTS = 0.5  # a difference below this is called so, shown or not
MINUS = "−"


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Return one sentence a row of the comparison, that over the organs first; and one a published table."""
    sentences: list[str] = []
    for other in _others(comparison):
        rows = [row for row in comparison.differences if row.other == other]
        over = [row for row in rows if row.organ == OVER_ORGANS]
        organs = [row for row in rows if row.organ != OVER_ORGANS]
        tally = f" {_tally(other, organs)}" if any(row.p is not None for row in organs) else ""
        sentences += [f"{_sentence(comparison, row)}{tally}" for row in over]
        sentences += [_sentence(comparison, row) for row in organs]
    published = [
        f"No test of {own} against {TITLE}: the paper's cases are other patients and only their averages are known; "
        "the tables lie side by side, and a difference may come from the patients."
        for own in comparison.beside
    ]
    return (*sentences, *published)


def caveats(comparison: Comparison) -> tuple[str, ...]:
    """Return the caveats of a comparison: what was left out, then how it was tested."""
    if not comparison.differences:
        return (*comparison.notes, *([published_note("testing")] if comparison.beside else []))
    notes = [
        *comparison.notes,
        *(_left_out(row, comparison) for row in comparison.differences if row.one_sided and row.organ != OVER_ORGANS),
        *_unknown(comparison),
        *_too_few(comparison),
        "Each source is one training: the spread over seeds and over other training cases is not in the intervals.",
        *_how_tested(comparison),
    ]
    return (*notes, *([published_note("testing")] if comparison.beside else []))


def _how_tested(comparison: Comparison) -> list[str]:
    """Return what is taken as independent, cases or patients, and the test."""
    of_patients = any(row.patients < len(row.cases) for row in comparison.differences)
    one, pairs = ("patients", "the patients' means") if of_patients else ("cases", "the pairs")
    assumed = [] if of_patients else [
        "Cases are taken as independent; several scans of one patient make intervals and p too small."
    ]  # fmt: skip
    return [
        *assumed,
        f"Interval: bootstrap over {one}, 95 % for each row alone. p: two-sided Wilcoxon signed-rank test over {pairs} "
        f"(from {FEWEST_PAIRS} on){_corrected(comparison.tests)}.",
    ]


def _corrected(tests: int) -> str:
    return f", Holm-corrected over the comparison's {counted(tests, 'test')}" if tests else "; there are none here"


def difference_table(comparison: Comparison, other: str, name: str) -> TextTable:
    """Return the rows of one other source as text, as shown and written."""
    metric, base = comparison.metric, comparison.baseline
    columns = (
        "Organ", "N", f"{base} ({metric.unit})", f"{other} ({metric.unit})", f"Difference ({metric.difference_unit})",
        "95 % interval", "p", "p (Holm)",
    )  # fmt: skip
    rows = [
        [
            row.organ,
            str(len(row.cases)),
            number(row.baseline_mean * metric.factor),
            number(row.other_mean * metric.factor),
            signed(row.mean * metric.factor),
            _interval(row, metric, 1),
            "" if row.p is None else p_value(row.p),
            "" if row.p_holm is None else p_value(row.p_holm),
        ]
        for row in comparison.differences
        if row.other == other
    ]
    title = f"{metric.title} by case, {other} minus {base}, over the held-out cases that both have."
    return TextTable(name=name, title=title, note="", columns=columns, rows=rows, last_is_total=False)


def tables(comparison: Comparison) -> tuple[TextTable, ...]:
    """Return every table as text."""
    differences = [
        difference_table(comparison, other, f"comparison{place}")
        for place, other in enumerate(_others(comparison), start=1)
    ]
    beside = [
        beside_table(table, f"Dice (%) of the testing cases of {own} beside {TITLE}.", "", f"published{place}")
        for place, (own, table) in enumerate(comparison.beside.items(), start=1)
    ]
    return (*differences, *beside)


def number(value: float) -> str:
    """Return a value with two decimals, "" where undefined."""
    return "" if math.isnan(value) else f"{value:.2f}".replace("-", MINUS)


def signed(value: float) -> str:
    """Return a difference with its sign.

    >>> signed(-0.704), signed(0.0001), signed(2.5)
    ('−0.70', '0.00', '+2.50')
    """
    text = number(value)
    if text in ("", "0.00", f"{MINUS}0.00"):
        return text.removeprefix(MINUS)
    return text if text.startswith(MINUS) else f"+{text}"


def p_value(p: float) -> str:
    """Return p with three decimals, more where rounding would hide the side of `ALPHA` it is on.

    >>> p_value(0.0004), p_value(0.03125), p_value(0.04996), p_value(1.0)
    ('< 0.001', '0.031', '0.04996', '1.000')
    """
    if p < 0.001:
        return "< 0.001"
    text = f"{p:.3f}"
    return text if (float(text) < ALPHA) == (p < ALPHA) else f"{p:.5f}"


def _others(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(row.other for row in comparison.differences))


def _tally(other: str, organs: Sequence[Difference]) -> str:
    higher, lower = (sum(row.standing == side for row in organs) for side in ("higher", "lower"))
    return f"Of {counted(len(organs), 'organ')} {other} is shown to be higher on {higher} and lower on {lower}."


def _sentence(comparison: Comparison, row: Difference) -> str:
    metric, base, organ = comparison.metric, comparison.baseline, row.organ
    where = "the mean over organs" if organ == OVER_ORGANS else organ
    is_grouped = row.patients < len(row.cases)
    count = counted(len(row.cases), "case") + (f" of {counted(row.patients, 'patient')}" if is_grouped else "")
    by = f"{signed(row.mean * metric.factor)} {metric.difference_unit}"
    if row.standing == "none":
        return f"{where}: no case has a value in both {row.other} and {base}."
    if row.standing == "equal":
        return f"{where}: {row.other} and {base} have the same values in all {count}."
    if row.standing == "few":
        return (
            f"Too few {'patients' if is_grouped else 'cases'} for a test on {where}: {row.other} minus {base} is {by} "
            f"over {count}, {FEWEST_PAIRS} are needed."
        )
    if row.standing == "open":
        facts = _facts(comparison, row, 1, count)
        return (
            f"No difference shown on {where}: {row.other} minus {base} is {by} {facts}; that is not proof of equality."
        )
    if row.standing == "mixed":
        above, below = (sum(1 for value in row.differences if sign * value > 0) for sign in (1, -1))
        sides = f"{row.other} is higher in {above}, equal in {len(row.cases) - above - below}, lower in {below}"
        return (
            f"Mixed on {where}: by rank the cases lie to one side ({sides}), but the mean difference is {by} "
            f"{_facts(comparison, row, 1, count)}: look at the single cases."
        )
    if row.standing == "survivors":
        side, missing = ("lower", row.only_baseline) if row.mean < 0 else ("higher", row.only_other)
        lacking, having = (row.other, base) if row.mean < 0 else (base, row.other)
        by = f"{number(abs(row.mean * metric.factor))} {metric.difference_unit}"
        facts = _facts(comparison, row, -1 if row.mean < 0 else 1, count)
        return (
            f"Not decided on {where}: {row.other} is {side} than {base} where both have a value, by {by} {facts}, "
            f"but {lacking} has none in {counted(missing, 'case')} where {having} has one: it missed the organ there."
        )
    return _shown(comparison, row, where, count)


def _shown(comparison: Comparison, row: Difference, where: str, count: str) -> str:
    metric = comparison.metric
    higher = row.standing == "higher"
    side = row.standing if metric.higher_is_better else f"{row.standing} ({'worse' if higher else 'better'})"
    amount = abs(row.mean * metric.factor)
    text = (
        f"{row.other} is {side} than {comparison.baseline} by {number(amount)} {metric.difference_unit} on {where} "
        f"{_facts(comparison, row, 1 if higher else -1, count)}."
    )
    if metric.difference_unit == "points" and amount < SMALL_POINTS:
        text += f" That is less than {SMALL_POINTS:g} points."
    return text


def _facts(comparison: Comparison, row: Difference, side: int, count: str) -> str:
    """Return interval, p and number of cases in brackets; `side` -1 turns the interval over."""
    interval = _interval(row, comparison.metric, side)
    p = p_value(row.p_holm if row.p_holm is not None else math.nan)
    after = " after Holm" if comparison.tests > 1 else ""
    spread = f"95 % interval {interval}" if interval else "no interval: every case differs by the same"
    return f"({spread}, p {p if p.startswith('<') else f'= {p}'}{after}, {count})"


def _interval(row: Difference, metric: Metric, side: int) -> str:
    if row.interval is None:
        return ""
    low, high = sorted(side * end * metric.factor for end in row.interval)
    return f"{number(low)} to {number(high)}"


def _left_out(row: Difference, comparison: Comparison) -> str:
    why = "a missed organ has no distance" if not comparison.metric.higher_is_better else "nothing to score in one"
    return (
        f"{row.organ}: left out, with a value in only one of {row.other} and {comparison.baseline} ({why}): "
        f"{counted(row.one_sided, 'common case')}."
    )


def _unknown(comparison: Comparison) -> list[str]:
    names = [source.name for source in comparison.sources if source.values is not None and source.trained_on is None]
    if not names:
        return []
    return [
        f"{', '.join(names)}: a file of scores does not tell training cases; if of a model, none may be among these."
    ]


def _too_few(comparison: Comparison) -> list[str]:
    """Return a warning where even cases that all lie to one side could show nothing."""
    rows = comparison.differences
    most = max((row.patients for row in rows), default=0)
    what = "patient" if any(row.patients < len(row.cases) for row in rows) else "case"
    lowest = comparison.tests * 2.0 ** (1 - most)
    if not comparison.tests or lowest < ALPHA:
        return []
    return [
        f"With {counted(most, what)} and {counted(comparison.tests, 'test')} no p can fall below "
        f"{min(1.0, lowest):.3f}: nothing could be shown here, whatever the difference."
    ]
