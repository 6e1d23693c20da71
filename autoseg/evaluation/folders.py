"""Score any two folders of masks: another program's output, another observer's contours."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.errors import AutosegError, CasesFailedError, RunError, VolumeError
from autoseg.evaluation.case_rows import CaseRows
from autoseg.evaluation.instances import instance_rows
from autoseg.evaluation.mask_pairs import pair_masks
from autoseg.evaluation.pairs import Pair, ScoredPair
from autoseg.evaluation.scores import Row, score_rows
from autoseg.imaging.dicom_segments import segment_names
from autoseg.imaging.grid import corner_distance_mm
from autoseg.imaging.segment_values import labels_of_segments
from autoseg.imaging.slicer_segments import is_layered, slicer_names
from autoseg.imaging.volumes import Volume, on_one_grid, read_label
from autoseg.labels import HIGHEST_VALUE, MOST_LABELS, Label, LabelScheme
from autoseg.metrics import TOLERANCE_MM
from autoseg.part_notes import PartNotes
from autoseg.pool import Crew, Track, each, untracked
from autoseg.run import Run

logger = logging.getLogger(__name__)
SAME_PLACE = 0.1  # of the smallest spacing: corners nearer than this are the same grid, stored with less precision

MOST_VALUES = 10  # in a warning


class PartlyScoredError(CasesFailedError):
    """Some pairs could not be scored; the rows of the others are kept."""

    def __init__(self, rows: CaseRows, causes: dict[str, str]) -> None:
        """Keep the rows of the scored cases."""
        super().__init__("score", causes, done=rows.cases)
        self.rows = rows


@dataclass(frozen=True)
class _Names:
    """What masks say of their organs."""

    values: set[int]  # of masks that say no more
    named: list[dict[int, str]]  # segments by numbers that are no values
    of_slicer: list[dict[int, str]]  # segments by their values


def score_folders(
    predictions: Path,
    references: Path,
    names: Mapping[int, str] | None = None,
    labelled: Mapping[str, Collection[int]] | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    crew: int | Crew = 1,
    track: Track = untracked,
    ignored: int | None = None,
    common: bool = False,
    within: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
    take_pieces: Callable[[list[Row]], None] | None = None,
    notes: PartNotes[Pair, ScoredPair] | None = None,
    called: Mapping[int, tuple[str, ...]] = MappingProxyType({}),
) -> CaseRows:
    """Score the masks of one folder against those of the same name in another.

    Args:
        predictions: Folder of masks.
        references: Folder of true masks on the same grids.
        names: Label value to organ; without it every value that occurs is scored, as "label 1", or by the names of the
            segments where all masks name them.
        labelled: Case to the values of the organs that its reference shows; a case that is not in it shows all.
        tolerance_mm: Of the normalised surface Dice.
        crew: Who scores: a number of processes, or a cluster's.
        track: Shows progress.
        common: Whether references without a prediction are left out; else each of them is a failure.
        ignored: Value of the references where the truth is not known: nothing there is scored.
        within: Values within an organ that is a region, by the value that it is named by.
        take_pieces: Takes the `instance_rows` of each case.
        notes: Of parts, and the part that is to be done.
        called: Label value to what files call its organ, too, where they name their segments.

    Raises:
        RunError: If a folder is missing or no names match.
        PartlyScoredError: When all others are done, if some pairs could not be scored; it keeps the rows.
    """
    pairs, failed = pair_masks(predictions, references, common)
    labels, unread = _labels_in(pairs, crew, track) if names is None else (_labels_of(names, within, called), {})
    tally = _Tally(labels, {**failed, **unread}, take_pieces)
    to_score = partial(
        Pair,
        within=dict(within),
        named=_scheme_of(labels, within),
        tolerance_mm=tolerance_mm,
        ignored=ignored,
        by_piece=take_pieces is not None,
    )
    shown = {name: tuple(one for one in labels if one.value in values) for name, values in (labelled or {}).items()}
    sound = [name for name in pairs if name not in tally.failed]
    good = {name: to_score(name, *pairs[name], shown.get(name, labels)) for name in sound}
    share = good if notes is None else notes.share(good)
    scores = each(_score_pair, good, crew) if notes is None else notes.each(_score_pair, good, crew)
    for name, scored in track(scores, "Scoring", len(share)):
        tally.take(good[name], scored)
    if notes is None or notes.part is None:
        tally.warn(predictions, references, ignored)
    else:  # a share says nothing of all masks
        tally.fail_only({*share, *notes.share(tally.failed.keys() - good.keys())})
    if tally.failed:
        raise PartlyScoredError(tally.rows, tally.failed)
    return tally.rows


def _labels_of(
    names: Mapping[int, str], within: Mapping[int, object], called: Mapping[int, tuple[str, ...]]
) -> tuple[Label, ...]:
    """Return the labels that are named, by value; regions keep the order of painting."""
    ordered = names.items() if within else sorted(names.items())
    return tuple(Label(value=value, name=name, names=called.get(value, ())) for value, name in ordered if value)


def _scheme_of(labels: Sequence[Label], within: Mapping[int, tuple[int, ...]]) -> LabelScheme:
    """Return what segments may be called as; nothing where more values occur than organs can have."""
    regions = tuple(within[label.value] for label in labels) if within else None
    return LabelScheme(labels=tuple(labels) if len(labels) <= MOST_LABELS else (), regions=regions)


class _Tally:
    """What came of pairs: their rows, the causes of those that failed, and the label values that occur."""

    def __init__(
        self, labels: Sequence[Label], failed: dict[str, str], take_pieces: Callable[[list[Row]], None] | None
    ) -> None:
        self.rows, self.failed = CaseRows(), failed
        self._labels, self._take_pieces = labels, take_pieces
        self._predicted, self._true = set[int](), set[int]()
        self._present = set[int]()  # values of the organs that a mask has

    def take(self, pair: Pair, scored: ScoredPair | AutosegError) -> None:
        """Take what came of a pair."""
        if isinstance(scored, AutosegError):
            self.failed[pair.name] = str(scored)
            return
        self.rows.add(scored.rows)
        if self._take_pieces is not None:
            self._take_pieces(scored.pieces)
        unlabelled = {label.value for label in self._labels} - {label.value for label in pair.labels}
        self._predicted |= scored.predicted - unlabelled
        self._true |= scored.true
        self._present |= {r["label"] for r in scored.rows if r["metric"] == "dice" and r["value"] is not None}

    def fail_only(self, names: Collection[str]) -> None:
        """Tell of no other failures than those of some pairs."""
        self.failed = {name: cause for name, cause in self.failed.items() if name in names}

    def warn(self, predictions: Path, references: Path, ignored: int | None) -> None:
        """Warn of values that occur in one of the two folders alone, and of organs that no mask has."""
        only = {predictions: self._predicted - self._true, references: self._true - self._predicted}
        _warn_of_values({folder: values - {0, ignored} for folder, values in only.items()})
        nowhere = [label.name for label in self._labels if label.value not in self._present]
        if self.rows and nowhere:
            logger.warning("in no mask of %s: %s", f"{predictions} or {references}", ", ".join(nowhere))


def require_free(out: Path) -> None:
    """Refuse a file for scores that must not be replaced.

    Raises:
        RunError: If it is a folder, or the scores of a RUN, which know training from testing cases.
    """
    if out.is_dir():
        raise RunError(f"--out {out}: is a folder; give a file, as in scores.csv")
    try:  # before hours of scoring, not after
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise RunError(f"--out {out}: cannot be written ({error.strerror or error}); give another FILE") from error
    run = Run(out.absolute().parent)
    if out.name == run.scores_file.name and run.plan_file.is_file():
        raise RunError(f"--out {out}: holds the RUN's own scores, by split; give another FILE")


def _warn_of_values(only: Mapping[Path, Collection[int]]) -> None:
    """Warn of label values that occur in one of the two folders alone: their overlap is 0 whatever the masks are."""
    if any(only.values()):
        sides = [
            f"{'label' if len(values) == 1 else 'labels'} {_listed(values)} in masks of {folder} only"
            for folder, values in only.items()
            if values
        ]
        logger.warning("%s; where one organ has two values, give both folders the same", ", ".join(sides))


def _listed(values: Collection[int]) -> str:
    shown = [str(value) for value in sorted(values)[:MOST_VALUES]]
    return ", ".join([*shown, f"… ({len(values)} in all)"] if len(values) > MOST_VALUES else shown)


def _labels_in(
    pairs: Mapping[str, tuple[Path, Path]], crew: int | Crew, track: Track
) -> tuple[tuple[Label, ...], dict[str, str]]:
    """Return a label for each value that occurs, and the causes of the pairs that cannot be read.

    Raises:
        RunError: If numbers of segments are no label values, and some masks have names of segments and others have not.
    """
    values: set[int] = set()
    named: list[dict[int, str]] = []
    of_slicer: list[dict[int, str]] = []  # their numbers are values, too
    failed: dict[str, str] = {}
    for name, result in track(each(_names_of, pairs, crew), "Reading", len(pairs)):
        if isinstance(result, AutosegError):
            failed[name] = str(result)
        else:
            values |= result.values
            named += result.named
            of_slicer += result.of_slicer
    values -= {0}
    if any(named) and values:
        raise RunError(
            "some masks name their organs (DICOM SEG, layers of 3D Slicer) and others do not; "
            "name the organs with --labels"
        )
    if values:
        values.update(number for names in of_slicer for number in names)
    else:
        named += of_slicer
    by_value = tuple(Label(value=value, name=f"label {value}") for value in sorted(values))
    return labels_of_segments(named) or by_value, failed


def _names_of(pair: tuple[Path, Path]) -> _Names:
    """Return what a pair of masks says of its organs."""
    names = _Names(set(), [], [])
    for file in pair:
        if segments := segment_names(file) or (slicer_names(file) if is_layered(file) else {}):
            names.named.append(segments)
        elif segments := slicer_names(file):
            names.of_slicer.append(segments)
        else:
            labels = read_label(file).array
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high > HIGHEST_VALUE:
                raise VolumeError(f"{file}: holds values from {low} to {high}; labels lie from 0 to {HIGHEST_VALUE}")
            names.values.update(_values(labels))
    return names


def _values(labels: npt.NDArray[np.integer[Any]]) -> frozenset[int]:
    """Return the values in a label map."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > HIGHEST_VALUE:
        return frozenset(int(value) for value in np.unique(labels))
    counts = sum(np.bincount(one.ravel(), minlength=high + 1) for one in labels)  # slice by slice
    return frozenset(int(value) for value in np.flatnonzero(counts))


def _score_pair(pair: Pair) -> ScoredPair:
    prediction, truth = on_one_grid(
        pair.prediction,
        read_label(pair.prediction, scheme=pair.named),
        read_label(pair.reference, scheme=pair.named),
    )
    _require_same_grid(pair.prediction, prediction, truth)
    about = {"fold": 0, "case": pair.name, "split": "testing", "grid": "original"}
    organs = {label: pair.within.get(label.value, (label.value,)) for label in pair.labels}
    spacing_mm = truth.grid.spacing_mm
    rows = score_rows(prediction.array, truth.array, organs, spacing_mm, about, pair.tolerance_mm, pair.ignored)
    pieces = instance_rows(pair.name, prediction.array, truth, organs, pair.ignored) if pair.by_piece else ()
    return ScoredPair(rows, list(pieces), _values(prediction.array), _values(truth.array))


def _require_same_grid(file: Path, prediction: Volume, truth: Volume) -> None:
    """Raise VolumeError unless both lie on one grid: voxels, spacing, origin, direction (after turning to LPS)."""
    apart = corner_distance_mm(prediction.grid, truth.grid)
    if prediction.grid.shape != truth.grid.shape or apart > SAME_PLACE * min(truth.grid.spacing_mm):
        far = f", corners {apart:.1f} mm apart" if prediction.grid.shape == truth.grid.shape else ""
        raise VolumeError(
            f"{file}: its grid of {prediction.grid.shape} voxels of {_mm(prediction)} mm is not its reference's, "
            f"{truth.grid.shape} of {_mm(truth)} mm{far}; resample it to the reference first"
        )


def _mm(volume: Volume) -> str:
    return "×".join(f"{step:.3g}" for step in volume.grid.spacing_mm)
