"""The limits of a run: what its numbers cannot show, in sentences, for the paragraph that a paper needs."""

from __future__ import annotations

from collections.abc import Iterator

from autoseg.dataset.split import TESTING
from autoseg.evaluation.cases import doubts
from autoseg.evaluation.intervals import FEWEST
from autoseg.evaluation.patients import patients_of
from autoseg.evaluation.power import detectable
from autoseg.evaluation.records import EDGE, SCANNER
from autoseg.evaluation.statistics import by_case, organs_of
from autoseg.evaluation.trust import case_pairs, has_spread
from autoseg.metrics.registry import NSD, known_metric
from autoseg.metrics.surface import ROUNDING_MM
from autoseg.planning.recipe import MANY_ITERATIONS
from autoseg.report.review import Evidence
from autoseg.words import counted, some

MOST_NAMED = 8  # organs in a sentence
STILL_RISING = 0.01  # of a Dice, over the last fifth of the training, from where on a longer one seems worth it
COSTS = 0.01  # of a Dice, from which the working grid is worth a word


def limits(evidence: Evidence) -> tuple[str, ...]:
    """Return a sentence for each limit that a run knows of itself; none before testing cases are scored."""
    scores = evidence.scores
    tested = set(scores.loc[scores["split"].isin(TESTING), "case"].astype(str))
    if not tested:
        return ()
    of_testing = (*_of_testing(evidence, tested), *_of_tolerance(evidence, tested))
    return (*of_testing, *_of_training(evidence), *_of_labels(evidence))


def _of_testing(evidence: Evidence, tested: set[str]) -> Iterator[str]:
    number = counted(len(patients_of(tested, evidence.patients)), evidence.unit)
    if evidence.unit == "case":
        yield (
            "The dataset names no patients, so each case counts as one; where a patient has several, the sides of the "
            "split share patients and the intervals are too narrow."
        )
    if evidence.externals:
        yield f"Internal testing: {number}; external testing: {', '.join(evidence.externals)}."
    else:
        yield (
            f"All {number} tested are of the dataset that the model learnt from; how it does at other sites, on other "
            "scanners and in other populations is not known."
        )
    rare = [name for name, count in _patients_by_organ(evidence).items() if count < FEWEST]
    if rare:
        yield f"Fewer than {FEWEST} testing {evidence.unit}s have {some(rare, MOST_NAMED)}: too few for an interval."
    smallest = detectable(evidence.scores, TESTING)
    if len(smallest):
        low, high = (f"{min(end, 100):.1f}" for end in smallest.iloc[:, -1].agg(["min", "max"]))
        points = low if low == high else f"{low} to {high}"
        yield f"Differences to another method of less than {points} points of Dice, by organ, would mostly stay unseen."
    scanners = evidence.records[SCANNER].dropna().nunique() if SCANNER in evidence.records else 0
    if scanners < 2:
        yield "All images are of one scanner." if scanners else "Scanners are not known, so they are not compared."


def _of_training(evidence: Evidence) -> Iterator[str]:
    if len(evidence.splits) > 1:
        yield (
            "Each case was tested once, by one of several networks whose training cases overlap: the intervals do not "
            "count that."
        )
    else:
        yield f"The {evidence.unit}s were divided once; another division would give other numbers."
    if 0 < evidence.iterations < MANY_ITERATIONS:
        done = counted(evidence.iterations, "iteration")
        yield f"The training was short: {done}, and plans aim at {MANY_ITERATIONS} or more."
    if evidence.late_gain is not None and evidence.late_gain >= STILL_RISING:
        yield (
            f"The validation Dice still rose by {100 * evidence.late_gain:.1f} points over the last fifth of the "
            "training: a longer one may give more."
        )
    if not evidence.repetitions:
        yield "The spread over seeds is not known, as each network was trained once."
    if evidence.stress.empty:
        yield "Images of less quality (noise, blur, thick slices, cut fields of view) were not tried."


def _of_tolerance(evidence: Evidence, tested: set[str]) -> Iterator[str]:
    metrics = filter(None, map(known_metric, evidence.scores["metric"].unique()))
    nsd = next((metric for metric in metrics if metric.family == NSD), None)
    if nsd is None or EDGE not in evidence.records:
        return
    tolerance_mm = float(nsd.title.removeprefix("NSD at ").removesuffix(" mm"))
    edges_mm = evidence.records.loc[evidence.records.index.isin(tested), EDGE]
    if coarse := int((edges_mm > tolerance_mm + ROUNDING_MM).sum()):
        yield (
            f"{nsd.title} is narrower than the longest edge of a voxel in {coarse} of {len(edges_mm)} testing cases: "
            "there, borders that lie one voxel apart count as missed."
        )


def _of_labels(evidence: Evidence) -> Iterator[str]:
    if evidence.readers is None:
        yield "There was one reference only: how far experts differ, and so what Dice can be reached, is not known."
    pairs = case_pairs(evidence.scores, TESTING)
    if len(pairs) > 1 and not has_spread(pairs["expected"]):
        yield (
            f"The model cannot tell good masks from bad ones: it expects the same Dice of all, "
            f"{100 * pairs['expected'].mean():.1f} %."
        )
    doubtful = doubts(evidence.scores)
    if doubtful:
        organs = counted(len(doubtful), "contour")
        yield f"The model contradicts {organs} that it learnt from; they are listed under reference labels to review."
    highest, names = by_case(evidence.scores, "ceiling_dice", TESTING), organs_of(evidence.scores)
    costs = {names[label]: 1 - float(values.mean()) for label, values in highest.items() if values.notna().any()}
    coarse = [f"{name} {100 * cost:.1f}" for name, cost in costs.items() if cost >= COSTS]
    if coarse:
        yield f"The working grid alone costs points of Dice, whatever the network: {some(coarse, MOST_NAMED)}."


def _patients_by_organ(evidence: Evidence) -> dict[str, int]:
    names, dice = organs_of(evidence.scores), by_case(evidence.scores, "dice", TESTING)
    cases = {name: dice[label].dropna().index.map(str) for label, name in names.items()}
    return {name: len(patients_of(list(of_organ), evidence.patients)) for name, of_organ in cases.items()}
