"""export: a RUN's models as one file that needs nothing else, with a card that says what it is."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from autoseg.errors import ModelError
from autoseg.evaluation.freshness import present_scores, unscored
from autoseg.evaluation.statistics import TABLES, dice_table
from autoseg.inference.opening import open_model
from autoseg.inference.outputs.onnx import SUFFIX as ONNX_SUFFIX
from autoseg.inference.outputs.onnx import write_onnx
from autoseg.inference.postprocess import rules_in_words
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.network.weights import (
    MODEL,
    load_networks,
    parse_facts,
    read_facts,
    save_ensemble,
    save_model,
    second_files,
)
from autoseg.plan import Plan
from autoseg.report.tables import text_rows
from autoseg.run import Run
from autoseg.version import VERSION
from autoseg.words import counted, joined

logger = logging.getLogger(__name__)


def export(run: Run, file: Path) -> tuple[Path, ...]:
    """Write the models of all trained folds to one file, an ensemble where there are several, with both stages.

    The file holds weights, plan, organs, what `evaluate` learnt, and a card with the scores; no case's name. One that
    ends in .onnx holds the network as ONNX, with plan and card in its metadata; a second stage is a second such file.

    Returns:
        The files that were written.

    Raises:
        ModelError: If no fold is trained, their plans differ, or onnxruntime does not give the same masks.
        OSError: If the disk is full.
    """
    if file.is_dir():
        raise ModelError(f"{file}: is a folder; give a file, as in model.autoseg")
    if file.resolve().is_relative_to(run.folder.resolve()) and file.name == run.fold(0).model.name:
        raise ModelError(f"{file}: is where the RUN keeps its own models; give another FILE")
    files = [run.fold(fold).model for fold in run.folds()]
    if not files:
        raise ModelError(f"{run.folder}: no trained fold; run `autoseg train {run.folder}` first")
    model = open_model(run.folder, "cpu")
    scores = present_scores(run)
    _warn_of_lacking(run, scores)
    parts, later = ([load_networks(one, "cpu") for one in some] for some in (files, second_files(run, run.folds())))
    networks, second = ([network.state_dict() for part, _, _ in of for network in part] for of in (parts, later))
    plan = parts[0][1]
    if later:  # the box of the most careful fold
        plan = plan.model_copy(
            update={"finer": later[0][1].model_copy(update={"margin_mm": model.stages[1].plan.margin_mm})}
        )
    card = _card(plan, scores, model.postprocessing, len(networks))
    if file.suffix == ONNX_SUFFIX:
        return write_onnx(model, file, card)
    facts = {
        "aftercare": model.postprocessing.model_dump(mode="json", by_alias=True),
        "card": card,
    }
    if len(networks) == 1 and not second:
        save_model(file, plan, networks[0], facts)
    else:
        save_ensemble(file, plan, networks, facts, second)
    return (file,)


def read_card(model: Path) -> str:
    """Return the card of an exported model file.

    Raises:
        ModelError: If it is none.
    """
    if model.is_dir():
        raise ModelError(
            f"{model}: is a folder; make a file of a RUN with `autoseg export {model} FILE`, then show that"
        )
    facts = parse_facts(read_facts(model, MODEL), model)
    if "card" not in facts:
        raise ModelError(f"{model}: has no card; a file made by `autoseg export RUN FILE` has one")
    return str(facts["card"])


def _warn_of_lacking(run: Run, scores: pd.DataFrame | None) -> None:
    """Say which scores the card lacks; that a fold is not evaluated was said when it was opened."""
    if scores is None:
        logger.warning(
            "%s was not evaluated after its last change, so the card has no scores; run `autoseg evaluate %s` before",
            run.folder, run.folder,
        )  # fmt: skip
    elif lacking := unscored(run, scores):
        logger.warning(
            "%s: %s not scored, so the tables of the card are without; run `autoseg evaluate %s` before",
            run.folder, counted(len(lacking), "case"), run.folder,
        )  # fmt: skip


def _card(plan: Plan, scores: pd.DataFrame | None, postprocessing: Postprocessing, networks: int) -> str:
    known, grid = postprocessing.fingerprint, " × ".join(f"{v:g}" for v in plan.spacing_mm or plan.downsampling)
    what = f"{networks} networks, averaged" if networks > 1 else "One network"
    lines = [
        f"# {plan.name}",
        f"Segments {', '.join(label.name for label in plan.labels)} in {', '.join(plan.channels)} volumes. {what}, "
        f"{'on a grid of ' + grid + ' mm' if plan.spacing_mm else 'on a grid coarser by ' + grid} (z, y, x). "
        f"Made with autoseg {VERSION} on {datetime.now(UTC):%Y-%m-%d}.",
        *map(_of_second, plan.stages[1:]),
        "For research; not a medical device.",
    ]
    if known is not None:
        low, high = known.smallest_spacing_mm, known.largest_spacing_mm
        spacing = ", ".join(f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True))
        cases = counted(known.cases, "case")
        lines += ["## Data", f"{cases}; spacing {spacing} mm (z, y, x). Other scans may fail unseen."]
    if scores is not None:
        for table in TABLES:
            frame = dice_table(scores, table.splits)
            lines += [f"## Dice (%) of {table.cases}", _markdown(frame)]
    if postprocessing.cleanup:
        names = {place: organ.name for place, organ in enumerate(plan.labels, start=1)}
        lines += ["## Clean-up", *rules_in_words(postprocessing.cleanup, names)]
    return "\n\n".join(lines) + "\n"


def _of_second(plan: Plan) -> str:
    """Return what a second stage does, in words."""
    grid = f"{joined(plan.spacing_mm)} mm" if plan.spacing_mm else f"its box's, coarser by {joined(plan.downsampling)}"
    return (
        f"A second stage of as many networks looks again at {', '.join(organ.name for organ in plan.labels)}, on a "
        f"grid of {grid} (z, y, x), in a box around what the first sees of them."
    )


def _markdown(frame: pd.DataFrame) -> str:
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *text_rows(frame)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
