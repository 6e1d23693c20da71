"""Read scores of other programs: nnU-Net's summary.json, and CSV tables with a row per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import pandas as pd

from autoseg.dataset.metadata import label_values, names_by_values
from autoseg.errors import RunError
from autoseg.imaging.readers import strip_suffix
from autoseg.json_file import read_json
from autoseg.run import Run
from autoseg.sheet import SheetError, number, read_sheet
from autoseg.words import counted, shortened

NNUNET = {"dice": "Dice", "iou": "IoU"}  # our name of a metric to nnU-Net's
PERCENT_ABOVE = 1.5  # a table of Dice with a larger value is in %


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignScores:
    """One metric of a file that another program wrote."""

    values: pd.DataFrame  # a row a case, a column an organ; NaN where undefined
    labels: Mapping[str, int] = field(default_factory=dict)  # organ to its value in the label maps, where known
    notes: tuple[str, ...] = ()  # how it was read


def read_table(file: Path) -> ForeignScores:
    """Read a CSV table of Dice: the column case, perhaps fold, and a column an organ; from 0 to 1 or in %.

    Raises:
        RunError: If it is not such a table.
    """
    header, rows, separator = _cells(file)
    lower = [column.lower() for column in header]
    if "case" not in lower:
        raise RunError(f"{file}: has no column case; give a row a case with the columns case and one an organ")
    organs = [place for place, column in enumerate(lower) if column not in {"", "case", "fold"}]  # "": a row's number
    cases = pd.Index([row[lower.index("case")] for row in rows])
    if not organs or not rows or "" in cases:
        problem = "has no organ's column" if not organs else "has a row without case" if rows else "has no row"
        raise RunError(f"{file}: {problem}; give a row a case with the columns case and one an organ")
    columns = [_numbers(file, header[place], list(cases), [row[place] for row in rows], separator) for place in organs]
    values = pd.DataFrame(dict(enumerate(columns)), index=cases).groupby(level=0).mean()
    values.columns = pd.Index([header[place] for place in organs])
    percent = _is_percent(file, values)
    notes = ["Dice taken as percent" if percent else "Dice taken as shares from 0 to 1"]
    if cases.has_duplicates:
        extra_rows = counted(int(cases.duplicated().sum()), "row")
        notes.append(f"{extra_rows} more than cases; the mean of each case counts")
    return ForeignScores(values=values / 100 if percent else values, notes=tuple(notes))


def _is_percent(file: Path, values: pd.DataFrame) -> bool:
    """Return whether a table of Dice is in %.

    Raises:
        RunError: If some columns are and others are not: then one of them is no Dice.
    """
    highest = {str(organ): float(value) for organ, value in values.max().dropna().items()}
    above = [organ for organ, value in highest.items() if value > PERCENT_ABOVE]
    below = [organ for organ, value in highest.items() if 0 < value <= PERCENT_ABOVE]  # all 0: missed in every case
    if above and below:
        raise RunError(
            f"{file}: column {above[0]} goes up to {highest[above[0]]:g} and {below[0]} only to {highest[below[0]]:g}; "
            "give columns of Dice only, all in % or all from 0 to 1"
        )
    return bool(above)


def _cells(file: Path) -> tuple[list[str], list[list[str]], str]:
    """Return the header and the rows of a CSV file, blank lines left out, and what parts its cells."""
    try:
        sheet = read_sheet(file)
    except SheetError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        raise RunError(f"{file}: not a sound CSV table ({shortened(error, 200)}); correct it") from error
    if not sheet.columns:
        raise RunError(f"{file}: is empty; give a row a case with the columns case and one an organ")
    if sheet.cut is not None:
        raise RunError(f"{file}, line {sheet.cut}: has fewer cells than the {len(sheet.columns)} columns; correct it")
    rows = [[row[column.lower()] for column in sheet.columns] for row in sheet.rows.values()]
    return list(sheet.columns), rows, sheet.separator


def _numbers(file: Path, organ: str, cases: Sequence[str], texts: Sequence[str], separator: str) -> list[float]:
    """Return a column's cells as numbers, NaN where blank."""
    numbers = []
    for case, text in zip(cases, texts, strict=True):
        try:
            numbers.append(number(text, separator))
        except ValueError as error:
            cell = f"{shortened(organ)} is {shortened(repr(text))}"
            raise RunError(
                f"{file}, case {case}: {cell}, which is not a number; correct it or remove the column"
            ) from error
    return numbers


def read_nnunet(file: Path, metric: str) -> ForeignScores:
    """Read nnU-Net v2's summary.json; a dataset.json or plan.json in its folder or two above names the organs.

    Args:
        file: The summary.
        metric: One of `NNUNET`.

    Raises:
        RunError: If it is not such a file.
    """
    try:
        rows = [
            {
                "case": _case_of(case["prediction_file"]),
                "organ": label_values(key),
                "value": metrics.get(NNUNET[metric]),
            }
            for case in read_json(file, dict)["metric_per_case"]
            for key, metrics in case["metrics"].items()
        ]
        frame = pd.DataFrame(rows, columns=["case", "organ", "value"]).astype({"value": float})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{file}: not a sound summary.json of nnU-Net v2 ({error!r}); let nnU-Net write it again"
        ) from error
    frame = frame[frame["organ"] != (0,)]  # background
    if frame.empty:
        raise RunError(f"{file}: lists no case with a metric; let nnU-Net write it again")
    values = frame.groupby(["case", "organ"])["value"].mean().unstack("organ")
    named, source = _organ_names(file)
    keys = [label_values(key) for key in values.columns]
    values.columns = pd.Index([named.get(key, "label " + "+".join(map(str, key))) for key in keys])
    labels = {str(organ): key[0] for organ, key in zip(values.columns, keys, strict=True) if len(key) == 1}
    return ForeignScores(values=values, labels=labels, notes=(f"organs named by {source}",) if source else ())


def _case_of(prediction: str) -> str:
    r"""Return the case of a file that may have been written on another system.

    >>> _case_of(r"C:\out\case_1.nii.gz"), _case_of("/out/case_2.nii.gz")
    ('case_1', 'case_2')
    """
    name = PureWindowsPath(prediction).name
    return strip_suffix(Path(name)) or Path(name).stem


def _organ_names(summary: Path) -> tuple[dict[tuple[int, ...], str], Path | None]:
    """Return the names of organs by their label values, and the file that holds them."""
    above = summary.absolute().parents[:3]  # nnU-Net has dataset.json two folders above a fold's validation
    for file in [file for folder in above for file in (folder / "dataset.json", Run(folder).plan_file)]:
        with suppress(RunError):  # names are a help, no need
            return names_by_values(file), file
    return {}, None
