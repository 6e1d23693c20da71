"""What a reviewer asks for beyond Dice: the tables of flow, subgroups, trust and power, each as one value of a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from autoseg.dataset.split import TESTING, Split
from autoseg.evaluation.beside import Scored, external, observers, seeds
from autoseg.evaluation.failures import distances, failures, failures_by_organ, pieces
from autoseg.evaluation.flow import characteristics, flow
from autoseg.evaluation.patients import names_patients
from autoseg.evaluation.power import detectable
from autoseg.evaluation.records import PATIENT
from autoseg.evaluation.reliability import COLUMNS as RELIABILITY
from autoseg.evaluation.reliability import calibration
from autoseg.evaluation.sizes import sizes
from autoseg.evaluation.statistics import OVER_ORGANS
from autoseg.evaluation.stress import COLUMNS as STRESS
from autoseg.evaluation.stress import stress_table
from autoseg.evaluation.subgroups import gaps, grouped, subgroups
from autoseg.evaluation.trust import EXPECTED, case_pairs, coverage, expected_dice
from autoseg.evaluation.two_stages import SecondLook, stage_seconds, two_stages
from autoseg.report.formats import TextTable


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a run, for the tables to be made of."""

    scores: pd.DataFrame  # long
    records: pd.DataFrame  # a row a case, from `records.case_records`
    splits: tuple[Split, ...]  # one a fold; empty before the plan
    check: Sequence[Mapping[str, object]]  # rows of the data check
    excluded: tuple[str, ...]  # cases that the user left out
    readers: pd.DataFrame | None = None  # scores of one reader against another
    externals: Mapping[str, Scored] = field(default_factory=dict)  # other datasets by name
    repetitions: tuple[pd.DataFrame, ...] = ()  # scores of the same plan with other seeds
    unlike: tuple[str, ...] = ()  # names of repetitions of another plan, split or length, which do not count
    stress: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(STRESS)))
    iterations: int = 0  # of the longest training; 0: not known
    late_gain: float | None = None  # of `provenance.late_gain`
    stages: pd.DataFrame = field(default_factory=pd.DataFrame)  # of `provenance.stages`
    looks: tuple[SecondLook, ...] = ()  # of a second stage, one a scored case
    reliability: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(RELIABILITY)))

    @cached_property
    def patients(self) -> dict[str, str]:
        """Case to patient."""
        return {str(case): str(patient) for case, patient in self.records[PATIENT].items()}

    @property
    def unit(self) -> str:
        """What is counted: "patient", or "case" where the dataset names no patients."""
        return "patient" if names_patients(self.patients) else "case"

    @cached_property
    def groups(self) -> pd.DataFrame:
        """The group of each case in each column that makes groups."""
        return grouped(self.records.drop(columns=PATIENT))


@dataclass(frozen=True, kw_only=True)
class ReviewTable:
    """One table: where it stands, what it says, and the function that makes its numbers."""

    name: str  # of its files, and of its place in the page
    section: str  # of the page
    title: str
    note: str
    frame: Callable[[Evidence], pd.DataFrame]  # without a row where there is nothing to tell; texts are shown as such
    decimals: Mapping[str, int] | int = 1  # of a column of numbers
    of_patients: str = ""  # what the note says more where the dataset names patients


def flow_of(evidence: Evidence) -> pd.DataFrame:
    """Return the flow of cases; no row before the split."""
    if not evidence.splits:
        return pd.DataFrame()
    causes = {str(row["case"]): str(row["code"]) for row in evidence.check if row.get("severity") == "fatal"}
    scored = set(evidence.scores.loc[evidence.scores["split"].isin(TESTING), "case"])
    return flow(evidence.patients, causes, evidence.excluded, evidence.splits, scored)


def _characteristics(evidence: Evidence) -> pd.DataFrame:
    return characteristics(evidence.groups, evidence.patients, evidence.splits) if evidence.splits else pd.DataFrame()


REVIEW = (
    ReviewTable(
        name="flow", section="patients", title="Flow.", frame=flow_of, note="",
        of_patients="A case of which the dataset names no patient counts as a patient of its own.",
    ),
    ReviewTable(
        name="characteristics", section="patients", title="Patients of each side by what is known of them.",
        frame=_characteristics,
        note="From the images and from further columns of the dataset; numbers with many values are cut at the median.",
    ),
    ReviewTable(
        name="subgroups", section="scores", title="Dice of the testing patients by subgroup.",
        frame=lambda e: subgroups(e.scores, TESTING, e.groups, e.patients),
        note="Dice: the mean over the organs. 95 % CI: bootstrap interval, from 5 patients on; groups of fewer than 3 "
        "patients are not shown.",
        of_patients="Of several cases of a patient the mean counts.",
    ),
    ReviewTable(
        name="gaps", section="scores", title="Gaps between subgroups of the testing patients.",
        frame=lambda e: gaps(e.scores, TESTING, e.groups, e.patients), decimals={"p": 3, "p (Holm)": 3},
        note="The best against the worst group of at least three patients each. p: permutation test of the largest gap "
        "(9999 permutations), then corrected over the rows after Holm. No gap shown does not mean that there is none.",
    ),
    ReviewTable(
        name="two_stages", section="scores", title="What the second stage gains in the testing cases.",
        frame=lambda e: two_stages(e.scores, TESTING),
        note="First stage: its mask alone, before clean-up. Ceiling: the Dice that the reference keeps after going to "
        "the grid of the stage and back; the second stage looks again at the organs whose ceiling it raises.",
    ),
    ReviewTable(
        name="seconds", section="scores", title="Seconds that the stages took for a case.",
        frame=lambda e: stage_seconds(e.looks),
        note="From the normalised image to the mask, when the cases were evaluated; of the second stage reading the "
        "image anew and all its looks are included.",
    ),
    ReviewTable(
        name="sizes", section="scores", title="Dice of the testing patients by size of the organ.",
        frame=lambda e: sizes(e.scores, TESTING, e.patients),
        decimals={"Median (ml)": 2, "Spearman's ρ": 2, "p": 3, "p (Holm)": 3},
        note="Patients with the organ, in two halves by its true volume. Gap: larger half less smaller half. "
        "Spearman's ρ: rank correlation of volume and Dice, its p also corrected over the rows after Holm.",
    ),
    ReviewTable(
        name="external", section="scores", title="Testing cases of this run beside those of other datasets.",
        frame=lambda e: external(Scored(scores=e.scores, patients=e.patients), e.externals, TESTING),
        note="Organs matched by name. 95 % CI: bootstrap interval of the mean over cases.",
        of_patients="Patients are resampled, each with all its cases.",
    ),
    ReviewTable(
        name="seeds", section="scores", title="Spread of the testing Dice over seeds.",
        frame=lambda e: seeds((e.scores, *e.repetitions), TESTING),
        note="The same plan, split and length, with other initial weights and crops; each value is a mean over the "
        "cases. Differences between methods that are no larger than this spread say little.",
    ),
    ReviewTable(
        name="observers", section="scores", title="Dice of the model beside that of two readers.",
        frame=lambda e: pd.DataFrame() if e.readers is None else observers(e.scores, e.readers, TESTING, e.patients),
        note="Over the testing cases that both have. Observers' Dice: one reader's contours against the other's.",
        of_patients="For the interval patients are resampled, each with all its cases.",
    ),
    ReviewTable(
        name="distances", section="scores", title="Distances of the testing cases, with misses counted.",
        frame=lambda e: distances(e.scores, TESTING), decimals=1,
        note="HD95 exists only where reference and prediction both have the organ (N). With misses: an organ in "
        "one only, missed or invented, counts as the diagonal of the image: missing an organ never looks better than "
        "finding it.",
    ),
    ReviewTable(
        name="pieces", section="scores", title="Pieces of organs that mostly have several, in the testing cases.",
        frame=lambda e: pieces(e.scores, TESTING),
        note="A piece (voxels that touch) is found where one of the prediction overlaps it by more than half of both "
        "together (IoU above 0.5); a piece of the prediction that is none of the reference is invented. Lesion-wise "
        "Dice: the mean over all pieces of all cases, 0 for each that was missed or invented.",
    ),
    ReviewTable(
        name="detectable", section="scores", title="The smallest difference that the testing cases could have shown.",
        frame=lambda e: detectable(e.scores, TESTING),
        note="Of Dice between two methods on the same cases: paired t-test, two-sided 5 %, power 80 %; the differences "
        "are taken to scatter as the Dice does (two methods whose Dice are correlated by 0.5).",
    ),
    ReviewTable(
        name="failures", section="failures", title="What the Dice of the testing cases is lost to.",
        frame=lambda e: failures(e.scores, TESTING),
        note="Every wrong voxel has one kind, looked for in this order: wrong side (it is the same organ of the other "
        "side), missed (a piece of the reference that no predicted voxel touches, or the whole organ), extra (a "
        "piece of the prediction that no true voxel touches), cut (within 10 mm of a face of the image that the "
        "organ reaches), confused with another organ, far beyond and far short (more than 5 mm from the nearest "
        "voxel of the reference, or of the prediction), leak and short (what is left, beyond and within the border "
        "of the reference). Cases and organs (of each case) count where a kind costs a point of Dice or more. A "
        "label is doubtful where the model is sure of itself and contradicts it.",
    ),
    ReviewTable(
        name="failures_by_organ", section="failures", title="Dice that each organ loses, in points, by kind of error.",
        frame=lambda e: failures_by_organ(e.scores, TESTING),
        note="Means over the testing cases; kinds as in the table above.",
    ),
    ReviewTable(
        name="stress", section="trust", title="Change of Dice, in points, when testing images are changed.",
        frame=lambda e: stress_table(e.stress),
        note="Noise: 30 HU, or a tenth of the range of intensities. Blur: a Gaussian of one voxel. Brighter and "
        "darker (CT): ±50 HU. Contrast up and down (not CT): intensities within their range to the power of 1.5 "
        "and 1 / 1.5; coil shading: from times 1.3 to times 0.7 along the patient. Slices doubled: means of two. "
        "Ends cut: 15 % of the slices at each end. Flipped: as of a header that is wrong.",
    ),
    ReviewTable(
        name="calibration", section="trust", title="Calibration of the probabilities in the testing cases.",
        frame=lambda e: calibration(e.reliability, TESTING), decimals={"Voxels (thousands)": 0, "ECE (%)": 1},
        note="Of the voxels on the working grid to which the network gives the organ a probability of 10 % or more, "
        "before clean-up. Mean probability above the true share: the model is too sure. ECE: expected calibration "
        "error over 9 bins.",
    ),
    ReviewTable(
        name="expected", section="trust", title="Expected against true Dice of the testing cases.",
        frame=lambda e: expected_dice(e.scores, TESTING),
        decimals={**dict.fromkeys(EXPECTED, 1), "Spearman's ρ": 2},
        note="What the model expects of itself without the reference, where it found the organ. MAE: mean absolute "
        "error. ρ: rank correlation of expected and true Dice: near 0, or blank as the model expects the same of "
        "all, it cannot tell good masks from bad ones. In the last row it is that of the cases, by means over their "
        "organs; an organ that was not found counts as 0.",
    ),
    ReviewTable(
        name="coverage", section="trust", title="Dice when the least trusted testing cases are left to a reader.",
        frame=lambda e: coverage(case_pairs(e.scores, TESTING)),
        note="Cases ranked by the mean Dice that the model expects of their organs.",
    ),
    ReviewTable(
        name="stages", section="environment", title="How long each verb worked on the run, and where.",
        frame=lambda e: e.stages, note="Added over all calls; the machine is that of the last one.",
    ),
)  # fmt: skip


def review_tables(evidence: Evidence, tables: Sequence[ReviewTable] = REVIEW) -> dict[str, tuple[TextTable, ...]]:
    """Return the tables that have rows, by the section of the page that they belong to."""
    sections: dict[str, tuple[TextTable, ...]] = {}
    for table in tables:
        frame = table.frame(evidence)
        if len(frame):
            sections[table.section] = (*sections.get(table.section, ()), text_table(table, frame, evidence.unit))
    return sections


def text_table(table: ReviewTable, frame: pd.DataFrame, unit: str = "patient") -> TextTable:
    """Return the numbers of a table as text; words for patients are those for `unit`, "patient" or "case"."""
    columns = [str(column) for column in frame.columns]
    decimals = table.decimals if isinstance(table.decimals, Mapping) else dict.fromkeys(columns, table.decimals)
    rows = [
        [_shown(value, decimals.get(column, 1)) for column, value in zip(columns, row, strict=True)]
        for row in frame.itertuples(index=False)
    ]
    return TextTable(
        name=table.name,
        title=in_units(table.title, unit),
        note=in_units(table.note, unit) if unit == "case" else f"{table.note} {table.of_patients}".strip(),
        columns=tuple(in_units(column, unit) for column in columns),
        rows=rows,
        last_is_total=len(rows) > 1 and rows[-1][0] == OVER_ORGANS,
    )


def in_units(text: str, unit: str) -> str:
    """Return a text on patients as one on what is counted.

    >>> in_units("Patients of each side", "case")
    'Cases of each side'
    """
    return text if unit == "patient" else text.replace("patient", unit).replace("Patient", unit.capitalize())


def _shown(value: Any, decimals: int) -> str:
    """Return a number with some decimals, a true minus sign and no negative zero; counts whole, texts as they are.

    >>> _shown(1250.0, 0), _shown(-0.04, 1), _shown(3, 1), _shown(float("nan"), 1)
    ('1250', '0.0', '3', '')
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.{decimals}f}"
    return f"{abs(value):.{decimals}f}" if float(text) == 0 else text.replace("-", "−")
