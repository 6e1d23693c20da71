"""claim.md: the CLAIM checklist for a run, each item answered with the place, or left to the author with what to write.

Source: Tejani et al. 2024, Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 6(4):e240300. The items' words here are our own; the published ones decide.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from autoseg.words import escape

SOURCE = (
    "Items in short, after Tejani et al. 2024, Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 "
    "Update, Radiology: Artificial Intelligence 6(4):e240300 (doi 10.1148/ryai.240300); submit the published form."
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of the checklist."""

    asks: str
    says: str = ""  # what the run answers; "": nothing
    places: tuple[str, ...] = ()  # in report.html that hold the answer; where none is there, the author answers
    every: bool = False  # whether the answer needs all of the places, not just one
    author: str = ""  # what the author writes where the run does not answer


NOT_YET = "The report has nothing on it yet: run `autoseg run` to its end, or write it."
ITEMS = (
    Item(
        asks="Title: the technique",
        author="Name deep learning and the organs, as in “Deep learning segmentation of …”.",
    ),
    Item(
        asks="Abstract",
        author="Take the results from the report's first sentence; add design, population and conclusion.",
    ),
    Item(asks="Background, intended use", author="Say who would use the masks, for what, and what is done today."),
    Item(
        asks="Aims and hypotheses",
        author="State them, and whether they were fixed before testing cases were looked at.",
    ),
    Item(asks="Prospective or retrospective", author="State it."),
    Item(asks="Study goal", says="A segmentation model is created and tested.", places=("methods",)),
    Item(asks="Data sources", author="Name sites, dates, and links of public data."),
    Item(
        asks="Inclusion and exclusion",
        author="Give the clinical criteria; the technical ones are in the flow of cases.",
    ),
    Item(asks="Preprocessing", says="Grid, resampling, intensities.", places=("methods", "plan")),
    Item(
        asks="Selection of subsets", says="Which cases were used, which left out and why; how crops are drawn.",
        places=("flow",),
    ),
    Item(
        asks="De-identification",
        author="Say how, and under which law or approval. The report shows case ids and slices.",
    ),
    Item(
        asks="Missing data", places=("data",),
        says="Organs that a case does not show are neither learnt as background nor scored; unusable cases are named.",
    ),
    Item(asks="Acquisition protocol", author="Give scanners, phases or sequences; spacings and sizes are in the plan."),
    Item(asks="Reference standard", author="Say who drew what, by which definition of each organ."),
    Item(asks="Why this reference standard", author="Say why it and no other, and its known errors."),
    Item(asks="Annotators", author="Give number, qualification and training."),
    Item(asks="Annotation of the testing cases", author="Give the tool with version, and whether a model drew first."),
    Item(
        asks="Variability between readers", says="Dice between two readers beside the model's.", places=("observers",),
        author="Have some testing cases drawn twice: `autoseg score READER2 READER1`, then `report --observers`.",
    ),
    Item(asks="Partitions", says="How cases were assigned, and how many.", places=("flow", "methods"), every=True),
    Item(asks="Level of disjointness", says="By patient.", places=("flow", "methods"), every=True),
    Item(
        asks="Sample size", says="The smallest difference that so many testing cases could have shown.",
        places=("detectable",),
        author="Say how the number of cases was chosen; three testing cases or more show what they can tell.",
    ),
    Item(asks="Model", says="Layers, widths, inputs, outputs.", places=("methods", "plan")),
    Item(asks="Software", says="Libraries with versions, hardware, time.", places=("environment",)),
    Item(asks="Initialisation", says="At random, with the seed; no other data.", places=("methods",)),
    Item(
        asks="Training", says="Loss, optimiser, augmentation, iterations, every setting.",
        places=("methods", "curves", "plan"),
    ),
    Item(
        asks="Choice of the final model", says="The last iteration; testing cases choose nothing.",
        places=("methods",),
    ),
    Item(asks="Ensembling", says="One network a fold; `predict` averages the folds.", places=("methods",)),
    Item(
        asks="Metrics", says="Overlap, distances, volumes, pieces.", places=("metrics_testing", "distances"),
        every=True,
    ),
    Item(
        asks="Uncertainty and tests", says="Bootstrap intervals, permutation tests after Holm.",
        places=("summary", "metrics_testing"),
    ),
    Item(
        asks="Robustness", says="Changed images, other seeds, or subgroups.", places=("stress", "seeds", "gaps"),
        author="`autoseg evaluate RUN --stress`, `autoseg run … --repeat 3`, or columns of subgroups.",
    ),
    Item(
        asks="Explainability", says="None is used: a mask shows itself; wrong voxels are drawn by kind.",
        places=("organs",),
    ),
    Item(
        asks="Internal testing", says="Testing beside training.", places=("table2_testing", "table1_training"),
        every=True,
    ),
    Item(
        asks="External testing", says="Another dataset beside the internal one.", places=("external",),
        author="`autoseg evaluate RUN --dataset OTHER`, or say why there is none.",
    ),
    Item(asks="Trial registration", author="Give the number, or say that it is no trial."),
    Item(asks="Numbers included and excluded", says="Flow by patient and case.", places=("flow",)),
    Item(
        asks="Demographics by partition", places=("characteristics",),
        says="Patients of each side by the dataset's columns.",
        author="Add columns (sex, age, disease, scanner) to the dataset's CSV, then run `autoseg report` again.",
    ),
    Item(asks="Performance", says="By organ, partition and subgroup.", places=("table2_testing",)),
    Item(asks="Precision of the estimates", says="95 % intervals.", places=("summary", "metrics_testing")),
    Item(asks="Failures", says="What the Dice is lost to, worst cases, calibration.", places=("failures",),
         author="`autoseg evaluate RUN` again, then `autoseg report RUN`."),
    Item(
        asks="Limitations",
        author="Begin with the number of testing patients, one split or several, and no external data.",
    ),
    Item(asks="Implications", author="Say what would change in practice, and what is missing for it."),
    Item(
        asks="Protocol", says="plan.json, plan.md and the commands are the whole technical protocol.",
        places=("environment", "plan"),
    ),
    Item(
        asks="Availability", places=("environment",),
        says="Software: autoseg, Apache-2.0, the version in the report. (Say where model and data can be had.)",
    ),
    Item(asks="Funding", author="Name the sources and their role."),
)  # fmt: skip


def answered(item: Item, places: Collection[str]) -> tuple[str, ...]:
    """Return the places that answer an item, of those that a page has; none where the author has to."""
    there = tuple(place for place in item.places if place in places)
    return there if there and (not item.every or len(there) == len(item.places)) else ()


def claim(places: Collection[str], items: Sequence[Item] = ITEMS) -> str:
    """Return the checklist as Markdown.

    Args:
        places: Anchors that report.html has.
        items: In their published order.
    """
    rows, count = [], 0
    for number, item in enumerate(items, start=1):
        there = answered(item, places)
        count += bool(there)
        links = ", ".join(f"[{place.replace('_', ' ')}](report.html#{place})" for place in there)
        text = f"{item.says} See {links}." if there else f"**Author:** {item.author or NOT_YET}"
        rows.append(f"| {number} | {escape(item.asks)} | {text} |")
    head = f"The run answers {count} of {len(items)} items; the others are the author's, with what to write."
    table = ["| No. | Item | Answer |", "| ---: | --- | --- |", *rows]
    return "\n".join(["# CLAIM 2024", "", head, "", *table, "", SOURCE, ""])
