"""CSV files as spreadsheets save and open them."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from autoseg import sheet
from autoseg.sheet import SheetError, as_written, harmless, parse_sheet, read_sheet, write_frame, write_rows


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_whatever_parts_its_cells_and_its_header_in_capitals(separator: str) -> None:
    text = (
        separator.join(["Case ", "Image"]) + "\r\n" + separator.join([" a", "a.nii"]) + "\r\n" + separator + "\r\n\r\n"
    )
    assert parse_sheet(text, "x.csv").rows == {2: {"case": "a", "image": "a.nii"}}


def test_a_separator_may_be_declared_as_excel_does() -> None:
    assert parse_sheet("sep=;\ncase;image\na;b,c\n", "x.csv").rows == {3: {"case": "a", "image": "b,c"}}


def test_unicode_text_of_excel_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("case\timage\nä\tb\n".encode("utf-16"))
    assert read_sheet(tmp_path / "a.csv").rows == {2: {"case": "ä", "image": "b"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,case\na,b\n", "column case twice"),
        ("case\na,b\n", "line 2: has 2 cells under 1 columns"),
        ('case\n"a\n', "no sound CSV"),
        ("case\n" + "a" * 200_000 + "\n", "no sound CSV"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(SheetError, match=message) as caught:
        parse_sheet(text, "x.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("live", ["=1", "+a", "-a", "@SUM(1)", "\t=1", "\r=1", "\uff1d1", " =1", "'=1"])
def test_no_cell_begins_as_a_formula_and_all_come_back(live: str) -> None:
    assert harmless(live).startswith("'")
    assert as_written(harmless(live)) == live


def test_a_cell_that_is_parted_elsewhere_has_no_formula_within() -> None:
    assert harmless("a;=1,@b") == "a;'=1,'@b"


def test_numbers_stay_numbers() -> None:
    assert [harmless(number) for number in ("-1", "+2.5", "-1e-5", "-3 %", "-")] == ["-1", "+2.5", "-1e-5", "-3 %", "-"]


def test_every_text_comes_back() -> None:
    draw = random.Random(0)
    for _ in range(5000):
        text = "".join(draw.choices("=+-@';,\t\n a1", k=draw.randrange(8)))
        assert as_written(harmless(text)) == text


def test_a_table_is_the_same_in_however_many_parts_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"a": "=1", "b": n / 3 if n % 3 else None, "c": n} for n in range(10)]
    write_frame(pd.DataFrame(rows), tmp_path / "whole.csv", 4)
    monkeypatch.setattr(sheet, "ROWS", 3)
    write_rows(iter(rows), ("a", "b", "c"), tmp_path / "parts.csv", 4)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    write_rows(iter(()), ("a", "b"), tmp_path / "none.csv", 4)
    assert (tmp_path / "none.csv").read_text() == "a,b\n"


def test_rows_that_are_added_below_make_the_table_that_all_of_them_make(tmp_path: Path) -> None:
    rows = [{"a": f"=case {number}", "b": number / 7} for number in range(6)]
    write_rows(rows, ("a", "b"), tmp_path / "whole.csv", 6)
    write_rows(rows[:4], ("a", "b"), tmp_path / "parts.csv", 6)
    for part in (rows[4:], []):
        write_rows(part, ("a", "b"), tmp_path / "parts.csv", 6, anew=False)
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
