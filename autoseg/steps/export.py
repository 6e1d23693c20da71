"""export: a RUN's models as one file that needs nothing else, with a card that says what it is."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from autoseg.errors import ModelError
from autoseg.evaluation.freshness import is_evaluated
from autoseg.evaluation.scores import read_scores
from autoseg.evaluation.statistics import TABLES, dice_table
from autoseg.inference.model import open_model
from autoseg.inference.outputs.onnx import SUFFIX as ONNX_SUFFIX
from autoseg.inference.outputs.onnx import write_onnx
from autoseg.inference.postprocess import rules_in_words
from autoseg.inference.postprocessing_file import Postprocessing
from autoseg.network.weights import MODEL, load_networks, parse_facts, read_facts, save_ensemble, save_model
from autoseg.plan import Plan
from autoseg.report.tables import text_rows
from autoseg.run import Run
from autoseg.version import VERSION
from autoseg.words import counted

logger = logging.getLogger(__name__)


def export(run: Run, file: Path) -> str:
    """Write the models of all trained folds to one file, an ensemble where there are several; return its card.

    The file holds weights, plan, organs, what `evaluate` learnt, and a card with the scores; no case's name. One that
    ends in .onnx holds the network as ONNX, with plan and card in its metadata.

    Raises:
        ModelError: If no fold is trained, their plans differ, or onnxruntime does not give the same masks.
        OSError: If the disk is full.
    """
    if file.is_dir():
        raise ModelError(f"{file}: is a folder; give a file, as in model.autoseg")
    if file.resolve().is_relative_to(run.folder.resolve()) and file.name == run.fold(0).model.name:
        raise ModelError(f"{file}: is where the RUN keeps its own models; give another FILE")
    if run.plan_file.is_file() and run.plan().finer is not None:
        raise ModelError(f"{run.folder}: a model of two stages cannot be exported yet; give `autoseg predict` the RUN")
    files = [run.fold(fold).model for fold in run.folds()]
    if not files:
        raise ModelError(f"{run.folder}: no trained fold; run `autoseg train {run.folder}` first")
    model = open_model(run.folder, "cpu")
    if not is_evaluated(run):
        logger.warning(
            "%s was not evaluated after its last training, so the file has no scores, clean-up or expected Dice; "
            "run `autoseg evaluate %s` before", run.folder, run.folder,
        )  # fmt: skip
    parts = [load_networks(one, "cpu") for one in files]
    networks = [network.state_dict() for part, _, _ in parts for network in part]
    card = _card(run, parts[0][1], model.postprocessing, len(networks))
    if file.suffix == ONNX_SUFFIX:
        write_onnx(model, file, card)
        return card
    facts = {
        "aftercare": model.postprocessing.model_dump(mode="json", by_alias=True),
        "card": card,
    }
    if len(networks) == 1:
        save_model(file, parts[0][1], networks[0], facts)
    else:
        save_ensemble(file, parts[0][1], networks, facts)
    return card


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


def _card(run: Run, plan: Plan, postprocessing: Postprocessing, networks: int) -> str:
    known, grid = postprocessing.fingerprint, " × ".join(f"{v:g}" for v in plan.spacing_mm or plan.downsampling)
    what = f"{networks} networks, averaged" if networks > 1 else "One network"
    lines = [
        f"# {plan.name}",
        f"Segments {', '.join(label.name for label in plan.labels)} in {', '.join(plan.channels)} volumes. {what}, "
        f"{'on a grid of ' + grid + ' mm' if plan.spacing_mm else 'on a grid coarser by ' + grid} (z, y, x). "
        f"Made with autoseg {VERSION} on {datetime.now(UTC):%Y-%m-%d}.",
        "For research; not a medical device.",
    ]
    if known is not None:
        low, high = known.smallest_spacing_mm, known.largest_spacing_mm
        spacing = ", ".join(f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True))
        cases = counted(known.cases, "case")
        lines += ["## Data", f"{cases}; spacing {spacing} mm (z, y, x). Other scans may fail unseen."]
    if is_evaluated(run):
        scores = read_scores(run.scores_file)
        for table in TABLES:
            frame = dice_table(scores, table.splits)
            lines += [f"## Dice (%) of {table.cases}", _markdown(frame)]
    if postprocessing.cleanup:
        names = {place: organ.name for place, organ in enumerate(plan.labels, start=1)}
        lines += ["## Clean-up", *rules_in_words(postprocessing.cleanup, names)]
    return "\n\n".join(lines) + "\n"


def _markdown(frame: pd.DataFrame) -> str:
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *text_rows(frame)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
