"""The charts of a report: curves, Dice by organ, ceilings of the grid, agreement of volumes, trust, flow of cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from autoseg.dataset.split import TESTING, TRAINING
from autoseg.dataset.split_file import load_splits
from autoseg.errors import AutosegError
from autoseg.evaluation.flow import FOR, LEFT_OUT, USED
from autoseg.evaluation.reliability import curve, read_reliability
from autoseg.evaluation.statistics import by_case, dice_by_organ, organs_of
from autoseg.evaluation.trust import case_pairs, has_spread, risks
from autoseg.figures.agreement import FEWEST, agreement_figure
from autoseg.figures.boxes import boxes_figure
from autoseg.figures.canvas import PRINTED, save_drawing
from autoseg.figures.ceilings import ceilings_figure
from autoseg.figures.colours import colours_by_name
from autoseg.figures.flow import flow_figure
from autoseg.figures.trust import trust_figure
from autoseg.network.losses import LOSSES
from autoseg.plan import Plan
from autoseg.report.page import Picture
from autoseg.run import Run
from autoseg.training.log import draw_curves
from autoseg.training.loop import EXAMINED_CASES
from autoseg.words import counted

Volumes = tuple[Sequence[float], Sequence[float]]  # true and predicted, ml, by case
MOST_PANELS = 12  # of the agreement of volumes
MOST_ROWS = 30  # of the ceilings: of more organs the lowest
NO_LOSS = 0.9995  # mean Dice of a ceiling above which the grid costs nothing


def splits_name(splits: tuple[str, ...]) -> str:
    """Return the name of the cases of some splits, "testing" or "training"."""
    return "testing" if splits == TESTING else "training"


def curves_picture(run: Run, plan: Plan) -> Picture | None:
    """Draw the learning curves of the lowest fold that has a log."""
    logs = {number: fold.log for number, fold in run.fold_folders().items() if fold.log.is_file()}
    if not logs:
        return None
    number, organs = min(logs), [organ.name for organ in plan.labels]
    examined = _examined(run, number)
    files = draw_curves(logs[number], organs, run.report.curves, examined, PRINTED)
    if not files:
        return None
    fold = f" Fold {number}." if len(logs) > 1 else ""
    return Picture(
        data=next(file for file in files if file.suffix == ".svg").read_bytes(),
        media_type="image/svg+xml",
        caption=(
            f"The loss ({LOSSES[plan.loss.kind].of(plan.scheme).words}) and the Dice of each organ over the "
            "iterations. The loss of training is that of augmented crops with the training's class weights, that of "
            "validation and testing is of whole cases with every class alike: compare their course, not their height. "
            f"Both loss and Dice of whole cases are of the first few of each side{_counts(examined)}, on the working "
            f"grid; the tables have all. The curves of testing cases were used for no choice.{fold}"
        ),
        alt=f"Learning curves of {len(organs)} organs",
    )


def _examined(run: Run, fold: int) -> dict[str, int]:
    """Return how many cases of each side the curves cover; empty without a readable split."""
    try:
        split = load_splits(run.split_file, None)[fold]
    except (AutosegError, IndexError):
        return {}
    return {side: min(len(cases), EXAMINED_CASES) for side, cases in split.sides().items() if side != "training"}


def _counts(examined: Mapping[str, int]) -> str:
    """Return how many cases of each side the curves cover, in brackets; nothing where it is not known.

    >>> _counts({"validation": 4, "testing": 2})
    ' (validation 4, testing 2)'
    """
    return f" ({', '.join(f'{side} {count}' for side, count in examined.items())})" if examined else ""


def boxes_picture(run: Run, scores: pd.DataFrame) -> Picture | None:
    """Draw the Dice of every organ."""
    sets = {"training": dice_by_organ(scores, TRAINING), "testing": dice_by_organ(scores, TESTING)}
    sets = {name: organs for name, organs in sets.items() if any(organs.values())}
    if not sets:
        return None
    return Picture(
        data=save_drawing(boxes_figure(sets), run.report.dice),
        media_type="image/svg+xml",
        caption=(
            "Dice of each organ; every point is a case, on the images' own grid. From 5 cases on a box shows median "
            "and quartiles, its line the range. Validation cases are among the training cases."
        ),
        alt="Dice of each organ in " + " and ".join(sets) + " cases",
    )


def ceilings_picture(run: Run, plan: Plan, scores: pd.DataFrame, splits: tuple[str, ...]) -> Picture | None:
    """Draw the Dice reached beside the ceiling of the working grid; None where the grid costs nothing."""
    highest, dice = by_case(scores, "ceiling_dice", splits), by_case(scores, "dice", splits)
    reached = {  # over the cases that have the organ, as a ceiling
        organ.name: list(dice[organ.value].reindex(highest[organ.value].dropna().index).dropna())
        for organ in plan.labels
    }
    allowed = {organ.name: float(highest[organ.value].mean()) for organ in plan.labels}
    allowed = {name: value for name, value in allowed.items() if math.isfinite(value)}
    if not allowed or min(allowed.values()) > NO_LOSS or not any(reached.values()):
        return None
    if len(reached) > MOST_ROWS:
        lowest = set(sorted(allowed, key=lambda name: allowed[name])[:MOST_ROWS])
        reached = {name: values for name, values in reached.items() if name in lowest}
    return Picture(
        data=save_drawing(ceilings_figure(reached, allowed, _colours(plan)), run.report.ceilings),
        media_type="image/svg+xml",
        caption=(
            f"Dice reached in the {splits_name(splits)} cases that have the organ, beside the resolution ceiling: what "
            "the reference itself keeps after going to the working grid and back."
        ),
        alt="Dice reached beside the resolution ceiling of each organ",
    )


def agreement_picture(run: Run, plan: Plan, scores: pd.DataFrame, splits: tuple[str, ...]) -> Picture | None:
    """Draw the agreement of volumes (Bland and Altman)."""
    true, predicted = by_case(scores, "truth_ml", splits), by_case(scores, "volume_ml", splits)
    dice = by_case(scores, "dice", splits)
    volumes = {}
    for organ in plan.labels:
        cases = dice[organ.value].dropna().index  # not where the organ is in neither
        pair = (list(volume[organ.value].reindex(cases).dropna()) for volume in (true, predicted))
        volumes[organ.name] = (next(pair), next(pair))
    if not any(len(true) >= FEWEST for true, _ in volumes.values()):
        return None
    shown = _farthest_off(volumes)
    some = f" The {len(shown)} of {len(volumes)} organs with the largest bias, in % of the volume."
    return Picture(
        data=save_drawing(agreement_figure(shown, _colours(plan)), run.report.volumes),
        media_type="image/svg+xml",
        caption=(
            f"Agreement of volumes in the {splits_name(splits)} cases (Bland and Altman 1986, 1999): prediction minus "
            "reference over the mean of both, with bias and 95 % limits of agreement, each with its 95 % confidence "
            "interval as a band."
            f"{some if len(shown) < len(volumes) else ''}"
        ),
        alt="Bland-Altman plots of the volume of each organ",
    )


def _farthest_off(volumes: Mapping[str, Volumes]) -> Mapping[str, Volumes]:
    """Return the volumes of at most `MOST_PANELS` organs, in their order: those with the largest relative bias."""

    def bias(organ: str) -> float:
        true, predicted = (np.sum(numbers) for numbers in volumes[organ])
        return -abs(predicted / true - 1) if true else 0.0

    chosen = set(sorted(volumes, key=bias)[:MOST_PANELS])
    return {organ: pair for organ, pair in volumes.items() if organ in chosen}


def _colours(plan: Plan) -> dict[str, str]:
    return colours_by_name(organ.name for organ in plan.labels)


def trust_picture(run: Run, plan: Plan, scores: pd.DataFrame) -> Picture | None:
    """Draw what the model says of itself against the truth: probabilities, expected Dice, risk and coverage."""
    counts = read_reliability(run.reliability_file)
    counts = counts[counts["split"].isin(TESTING)]
    curves = {str(organ): curve(of_organ) for organ, of_organ in counts.groupby("organ", sort=False, observed=True)}
    points = {organ: (list(c["probability"]), list(c["true"])) for organ, c in curves.items()}
    pairs = case_pairs(scores, TESTING)
    if not points and pairs.empty:
        return None
    expected, true = (by_case(scores, metric, TESTING) for metric in ("expected_dice", "dice"))
    by_organ = {}
    for label, organ in organs_of(scores).items():
        pair = pd.DataFrame({"e": expected[label], "d": true[label]}, dtype=float).dropna()
        if len(pair):
            by_organ[organ] = (list(pair["e"]), list(pair["d"]))
    ranked = list(risks(pairs["dice"].to_numpy(dtype=float))) if has_spread(pairs["expected"]) else []
    figure = trust_figure(points, by_organ, ranked, _colours(plan))
    return Picture(
        data=save_drawing(figure, run.report.trust),
        media_type="image/svg+xml",
        caption=(
            "What the model says of itself, in the testing cases. Left: how often a probability is right (one line per "
            "organ, one point per tenth of probability). Middle: expected against true Dice (one point per organ of "
            "each case). Right: the risk (one minus the mean Dice) of the most trusted share of cases."
        ),
        alt="Reliability curve, expected against true Dice, risk against coverage",
    )


def flow_picture(run: Run, table: pd.DataFrame) -> Picture | None:
    """Draw the flow of patients and cases; None before the split, and of several folds, in which each case has a side.

    Args:
        run: Whose report it goes into.
        table: From `flow.flow`.
    """
    if not table.iloc[:, 0].str.startswith(FOR).any():  # counts of folds may be spans
        return None
    units = [str(column).lower().removesuffix("s") for column in table.columns[1:]]
    rows = [
        (str(step), *(counted(int(number), unit) for number, unit in zip(numbers, units, strict=True)))
        for step, *numbers in table.itertuples(index=False)
    ]
    sides = [(step.partition(" (")[0], *counts) for step, *counts in rows if step.startswith(FOR)]
    left_out = [row for row in rows if row[0].startswith(LEFT_OUT)]
    used = next(row for row in rows if row[0] == USED)
    return Picture(
        data=save_drawing(flow_figure(rows[0], left_out, used, sides), run.report.flow_chart),
        media_type="image/svg+xml",
        caption=f"Flow of {' and '.join(f'{unit}s' for unit in units)}.",
        alt="; ".join(f"{step}: {', '.join(counts)}" for step, *counts in rows),
    )
