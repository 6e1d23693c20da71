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
    completed: str = ""  # the place with which it is whole
    author: str = ""  # what the author writes where the run does not answer


_FIELD = "Or write it into dataset.json as `{}`, and it is answered here."
TOO_FEW = "An interval needs 5 testing cases that have the organ; `autoseg plan … --folds 5` tests every case once."
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
        asks="Data sources", says="As the dataset says.", places=("dataset-reference", "dataset-sites"),
        adds=f"Add sites, dates, and links of public data. {_FIELD.format('sites')}", completed="dataset-sites",
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
        places=("flow", "methods"), every=True,
    ),
    Item(
        asks="De-identification", says="As the dataset says.", places=("dataset-deidentification",),
        author="Say how, and under which law or approval; the report shows case ids and slices. "
        f"{_FIELD.format('deidentification')}",
    ),
    Item(
        asks="Missing data", places=("table2_testing", "data"), every=True,
        says="An organ that is not annotated in a case is neither learnt as background nor scored; absent and missed "
        "organs are counted, unusable cases named.",
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
        asks="Level of disjointness", says="By patient, as the dataset names or describes them.",
        places=("by-patient", "dataset-patients"),
        author="The dataset names no patients: say whether one has several cases, or name them (`patient`). "
        f"{_FIELD.format('patients')}",
    ),
    Item(
        asks="Sample size", says="The smallest difference that so many testing cases could have shown.",
        places=("detectable", "dataset-sample_size"), completed="dataset-sample_size",
        adds=f"Say how the number of cases was chosen. {_FIELD.format('sample_size')}",
        author="Say how the number of cases was chosen; three testing cases or more show what they can tell. "
        f"{_FIELD.format('sample_size')}",
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
    Item(
        asks="Ensembling", says="One network a fold; of several folds masks of new images are the average.",
        places=("methods",),
    ),
    Item(
        asks="Metrics", says="Overlap, distances, volumes, pieces.", places=("metrics_testing", "methods"),
        every=True,
    ),
    Item(
        asks="Uncertainty and tests", says="Bootstrap intervals; tests, corrected after Holm, where a table has a p.",
        places=("precision", "methods"), every=True, author=TOO_FEW,
    ),
    Item(
        asks="Robustness", says="Dice by what was varied, a table each.",
        places=("sizes", "gaps", "seeds", "stress"),
        author="`autoseg evaluate RUN --stress`, `autoseg run … --repeat 3`, or columns of subgroups.",
    ),
    Item(
        asks="Explainability", says="No method of explanation is used; pictures show which voxels are wrong, and how.",
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
    Item(
        asks="Precision of the estimates", says="95 % intervals of Dice; statistics.csv has those of every metric.",
        places=("table2_testing", "precision"), every=True, author=TOO_FEW,
    ),
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
        places=("environment", "dataset-licence", "dataset-availability"), completed="dataset-availability",
        adds=f"Say where the model and the data can be had. {_FIELD.format('availability')}",
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


def left_to_add(item: Item, there: Collection[str]) -> str:
    """Return what the author adds to the answer that some places give; "" where it is whole."""
    return "" if item.completed in there else item.adds


def claim(places: Collection[str], items: Sequence[Item] = ITEMS) -> str:
    """Return the checklist as Markdown.

    Args:
        places: Anchors that report.html has.
        items: In their published order.
    """
    rows, whole, part = [], 0, 0
    for number, item in enumerate(items, start=1):
        there = answered(item, places)
        whole += bool(there) and not left_to_add(item, there)
        part += bool(there) and bool(left_to_add(item, there))
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
    adds = left_to_add(item, there)
    return f"In part: {text} **Author:** {adds}" if adds else text
