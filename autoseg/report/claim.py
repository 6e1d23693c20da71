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
    adds: str = ""  # what the author adds, as the answer is a part only; "": it is whole
    author: str = ""  # what the author writes where the run does not answer


_FIELD = "Or write it into dataset.json as `{}`, and it is answered here."
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
    Item(
        asks="Prospective or retrospective", says="As the dataset says.", places=("dataset-design",),
        author=f"State it. {_FIELD.format('design')}",
    ),
    Item(asks="Study goal", says="A segmentation model is created and tested.", places=("methods",)),
    Item(
        asks="Data sources", says="The source that the dataset names.", places=("dataset-reference",),
        adds="Add sites, dates and links where they are missing.",
        author=f"Name sites, dates, and links of public data. {_FIELD.format('reference')}",
    ),
    Item(
        asks="Inclusion and exclusion", says="Clinical and technical criteria.", places=("dataset-inclusion", "flow"),
        every=True, author=f"Give the clinical criteria; the technical ones are in the flow of cases. "
        f"{_FIELD.format('inclusion')}",
    ),
    Item(asks="Preprocessing", says="Grid, resampling, intensities.", places=("methods", "plan")),
    Item(
        asks="Selection of subsets", says="Which cases were used, which left out and why; how crops are drawn.",
        places=("flow",),
    ),
    Item(
        asks="De-identification", says="As the dataset says.", places=("dataset-deidentification",),
        author="Say how, and under which law or approval; the report shows case ids and slices. "
        f"{_FIELD.format('deidentification')}",
    ),
    Item(
        asks="Missing data", places=("data",),
        says="Organs that a case does not show are neither learnt as background nor scored; unusable cases are named.",
    ),
    Item(
        asks="Acquisition protocol", says="As the dataset says.", places=("dataset-acquisition",),
        author=f"Give scanners, phases, sequences; spacings and sizes are in the plan. {_FIELD.format('acquisition')}",
    ),
    Item(
        asks="Reference standard", says="As the dataset says.", places=("dataset-reference_standard",),
        author=f"Say who drew what, by which definition of each organ. {_FIELD.format('reference_standard')}",
    ),
    Item(
        asks="Why this reference standard", says="As the dataset says.", places=("dataset-reference_standard_reason",),
        author=f"Say why it and no other, and its known errors. {_FIELD.format('reference_standard_reason')}",
    ),
    Item(
        asks="Annotators", says="As the dataset says.", places=("dataset-annotators",),
        author=f"Give number, qualification and training. {_FIELD.format('annotators')}",
    ),
    Item(
        asks="Annotation of the testing cases", says="As the dataset says.", places=("dataset-annotation_tool",),
        author=f"Give the tool with version, and whether a model drew first. {_FIELD.format('annotation_tool')}",
    ),
    Item(
        asks="Variability between readers", says="Dice between two readers beside the model's.", places=("observers",),
        author="Have some testing cases drawn twice: `autoseg score READER2 READER1`, then `report --observers`.",
    ),
    Item(asks="Partitions", says="How cases were assigned, and how many.", places=("flow", "methods"), every=True),
    Item(
        asks="Level of disjointness", says="By patient.", places=("by-patient",),
        author="The dataset names no patients: say that no patient has several cases, or name them (`patient`).",
    ),
    Item(
        asks="Sample size", says="The smallest difference that so many testing cases could have shown.",
        places=("detectable",), adds="Say how the number of cases was chosen.",
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
    Item(asks="Ensembling", says="One network a fold; masks of new images average all folds.", places=("methods",)),
    Item(
        asks="Metrics", says="Overlap, distances, volumes, pieces.", places=("metrics_testing", "methods"),
        every=True,
    ),
    Item(
        asks="Uncertainty and tests", says="Bootstrap intervals; tests, corrected after Holm, where a table has a p.",
        places=("summary", "metrics_testing"),
    ),
    Item(
        asks="Robustness", says="Dice by what was varied, a table each.",
        places=("sizes", "gaps", "seeds", "stress"),
        author="`autoseg evaluate RUN --stress`, `autoseg run … --repeat 3`, or columns of subgroups.",
    ),
    Item(
        asks="Explainability", says="None is used: a mask shows itself; wrong voxels are drawn by kind.",
        places=("organs",),
    ),
    Item(
        asks="Internal testing", says="The testing cases, held out; training beside.",
        places=("table2_testing", "table1_training"), every=True,
    ),
    Item(
        asks="External testing", says="Another dataset beside the internal one.", places=("external",),
        author="`autoseg evaluate RUN --dataset OTHER`, or say why there is none.",
    ),
    Item(
        asks="Trial registration", says="As the dataset says.", places=("dataset-registration",),
        author=f"Give the number, or say that it is no trial. {_FIELD.format('registration')}",
    ),
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
        asks="Limitations", says="What the numbers cannot show.", places=("limits",),
        adds="Add those of population, reference standard and use.",
    ),
    Item(asks="Implications", author="Say what would change in practice, and what is missing for it."),
    Item(
        asks="Protocol", says="plan.json, plan.md and the commands are the whole technical protocol.",
        places=("environment", "plan"),
    ),
    Item(
        asks="Availability", says="Software (autoseg, Apache-2.0, the version in the report); the data's licence.",
        places=("environment", "dataset-licence"), adds="Say where the model and the data can be had.",
    ),
    Item(
        asks="Funding", says="As the dataset says.", places=("dataset-funding",),
        author=f"Name the sources and their role. {_FIELD.format('funding')}",
    ),
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
    rows, whole, part = [], 0, 0
    for number, item in enumerate(items, start=1):
        there = answered(item, places)
        whole += bool(there) and not item.adds
        part += bool(there) and bool(item.adds)
        rows.append(f"| {number} | {escape(item.asks)} | {_answer(item, there)} |")
    head = (
        f"The run answers {whole} of {len(items)} items, and {part} more in part; the others are the author's. "
        "Each says what to write."
    )
    table = ["| No. | Item | Answer |", "| ---: | --- | --- |", *rows]
    return "\n".join(["# CLAIM 2024", "", head, "", *table, "", SOURCE, ""])


def _answer(item: Item, there: Sequence[str]) -> str:
    if not there:
        return f"**Author:** {item.author or NOT_YET}"
    links = ", ".join(f"[{place.replace('_', ' ').replace('-', ': ', 1)}](report.html#{place})" for place in there)
    text = f"{item.says} See {links}."
    return f"In part: {text} **Author:** {item.adds}" if item.adds else text
