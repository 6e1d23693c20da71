"""The report: complete, self-contained and safe, with and without results."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from report_content import DOT, content_of, scores

from autoseg.evaluation.cases import Doubt
from autoseg.report import page as module
from autoseg.report.page import MANY_COLOURS, TALL_ROWS, Pictures, render_report

FULL = scores(
    ("a", "testing", "liver", 1, 0.9),
    ("a", "testing", "vein", 2, 0.5),
    ("b", "testing", "liver", 1, 0.7),
    ("b", "testing", "vein", 2, None),
    ("c", "training", "liver", 1, 1.0),
    ("c", "training", "vein", 2, 0.8),
)


class Page(HTMLParser):
    """Collects the tags of a page, and checks that they are closed in order."""

    VOID = frozenset({"meta", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_tables_stand_in_the_page_with_the_total_last() -> None:
    page = render_report(content_of(FULL))
    assert '<tr><th scope="row">liver</th><td class="number">80.0</td><td class="number">14.1</td>' in page
    assert re.search(r"<tfoot>\s*<tr><th scope=\"row\">Total Avg\.</th><td class=\"number\">65\.0</td>", page)
    assert "All metrics of the testing cases." in page


def test_nothing_comes_from_outside_the_page() -> None:
    page = Page(render_report(content_of(FULL)))
    sources = [a["src"] or "" for a in page.all("img")] + [a["href"] or "" for a in page.all("link")]
    assert len(sources) == 5
    assert all(source.startswith("data:") for source in sources)
    assert all("src" not in a for a in page.all("script"))
    assert all((a["href"] or "").startswith("#") for a in page.all("a"))


def test_images_are_told_in_words_and_columns_have_a_scope() -> None:
    page = Page(render_report(content_of(FULL)))
    assert page.open == []
    assert all(a["alt"] for a in page.all("img"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    regions = sum("aria-label" in a for _, a in page.tags if a.get("role") == "region")
    assert len(page.all("caption")) == len(page.all("table")) - regions + 1  # the command line is a region, too
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    named = [a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a]
    assert {*named, *((a["href"] or "")[1:] for a in page.all("a"))} <= set(ids)


def test_tables_and_figures_are_numbered_in_the_order_of_the_page() -> None:
    text = render_report(content_of(FULL))
    assert re.findall(r"<strong>Table (\d+)\.", text) == [str(n) for n in range(1, 8)]
    assert re.findall(r"<strong>Figure (\d+)\.", text) == ["1", "2", "3"]
    without = dataclasses.replace(content_of(FULL), metrics=())
    assert re.findall(r"<strong>Table (\d+)\.", render_report(without)) == [str(n) for n in range(1, 6)]


def test_a_label_named_script_stays_text() -> None:
    evil = "<script>alert('x')</script>"
    frame = scores(("a", "testing", evil, 1, 0.9), (evil, "testing", evil, 1, 0.7))
    row = {"case": evil, "file": "x", "code": "y", "severity": "fatal", "found": evil, "fix": evil}
    content = dataclasses.replace(
        content_of(frame),
        title=evil,
        plan_text=evil,
        commands=(evil,),
        check_rows=(row,),
        environment={evil: evil},
        hashes={evil: evil},
        missing=(evil,),
        doubts=(Doubt(case=evil, organ=evil, dice=0.1, expected=0.9),),
        pictures=Pictures(
            curves=dataclasses.replace(DOT, caption=evil, alt=f'"{evil}'), organs={evil: (DOT,)}, cases={evil: DOT}
        ),
    )
    page = render_report(content)
    assert evil not in page
    assert len(Page(page).all("script")) == 1


def test_missed_organs_have_a_column_only_where_one_was_missed() -> None:
    missed = FULL.assign(metric="missed", value=[0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    page = render_report(content_of(pd.concat([FULL, missed], ignore_index=True)))
    assert '<th scope="col">Missed organs</th>' in page
    assert "<td>vein</td></tr>" in page
    assert "<td>none</td></tr>" in page
    assert "Missed organs" not in render_report(content_of(FULL))


def test_a_long_data_check_scrolls_and_says_how_much_of_it_is_printed() -> None:
    rows = tuple({"case": f"c{n}", "code": "x", "severity": "note"} for n in range(TALL_ROWS + 1))
    page = render_report(dataclasses.replace(content_of(FULL), check_rows=rows))
    assert f"The first {TALL_ROWS} of {TALL_ROWS + 1}." in page
    assert '<div class="wide tall long" role="region" tabindex="0" aria-labelledby="check-caption">' in page
    few = render_report(dataclasses.replace(content_of(FULL), check_rows=rows[:-1]))
    assert "The first" not in few


def test_the_colours_of_very_many_organs_are_folded() -> None:
    colours = {f"organ {n}": "#009E73" for n in range(MANY_COLOURS + 1)}
    page = render_report(dataclasses.replace(content_of(FULL), colours=colours))
    assert f"<summary>Colours of the {len(colours)} organs</summary>" in page
    assert "Colours of the" not in render_report(content_of(FULL)).replace('aria-label="Colours of the organs"', "")


def test_one_case_has_blank_deviations() -> None:
    content = content_of(scores(("a", "testing", "liver", 1, 0.9)))
    page = render_report(content)
    assert '<th scope="row">liver</th><td class="number">90.0</td><td class="number"></td>' in page
    assert "nan" not in page
    assert content.summary[0] == (
        "In one case that the model has not seen, the mean Dice of liver is 90.0 %; "
        "one case is too few for a confidence interval."
    )


def test_no_testing_case_is_said_instead_of_an_empty_table() -> None:
    content = content_of(scores(("a", "training", "liver", 1, 0.9)))
    page = render_report(content)
    assert "Dice (%) of the testing cases. No such case is scored." in page
    assert content.summary[0].startswith("No testing case is scored")


def test_a_running_training_has_a_report() -> None:
    content = dataclasses.replace(content_of(scores()), pictures=Pictures(), check_rows=None, doubts=None)
    page = render_report(dataclasses.replace(content, missing=("No fold is trained to the end yet.",)))
    assert content.summary == (
        "No case is scored yet: the training may still be running, or the run was not evaluated.",
    )
    assert page.count("No such case is scored.") == 2
    for said in ("Nothing is logged yet.", "No case is scored yet.", "The data was not checked.", "Not known:"):
        assert said in page
    assert "<li>No fold is trained to the end yet.</li>" in page
    assert "There is no picture of a scored case." in page


def test_every_case_is_listed_the_worst_testing_case_first_and_has_its_own_part() -> None:
    page = render_report(content_of(FULL))
    assert re.findall(r'<a href="#case-(\d)">(\w)</a>', page) == [("1", "a"), ("2", "b"), ("3", "c")]
    assert page.count("<details") == 1 + 3
    assert 'a <span class="soft">testing, mean Dice 70.0 %</span>' in page


def test_a_case_of_several_folds_is_told_once_by_the_fold_that_it_tests() -> None:
    folds = FULL.assign(fold=0), FULL.assign(fold=1, split="training", value=0.99)
    content = content_of(pd.concat(folds))
    page = render_report(content)
    assert re.findall(r'<a href="#case-\d">(\w)</a>', page) == ["a", "b", "c"]
    assert "Scored in fold 0. Mean Dice (%) in the others: fold 1, training: 99.0." in page


def test_doubted_labels_are_told_with_both_numbers() -> None:
    doubt = Doubt(case="c7", organ="vein", dice=0.412, expected=0.9)
    page = render_report(dataclasses.replace(content_of(FULL), doubts=(doubt,)))
    assert re.search(r'c7</th><td>vein</td><td class="number">41.2</td><td class="number">90.0</td>', page)


@pytest.mark.parametrize(("rows", "expected"), [((), "Nothing was found."), (None, "The data was not checked.")])
def test_the_data_check_says_what_it_knows(rows: tuple[()] | None, expected: str) -> None:
    assert expected in render_report(dataclasses.replace(content_of(FULL), check_rows=rows))


def test_the_summary_names_the_best_the_worst_and_the_missed() -> None:
    missed = FULL[FULL["case"] == "b"].assign(metric="missed", value=[0, 1])
    frame = pd.concat([FULL.assign(value=FULL["value"].fillna(0.0)), missed])
    testing, training = content_of(frame).summary
    assert testing == (
        "In two cases that the model has not seen, the mean Dice over 2 organs is 52.5 %; two cases are too few "
        "for a confidence interval. It is highest for liver (80.0 %), lowest for vein (25.0 %). Missed "
        "altogether, without a voxel in common: vein in 1 of 2."
    )
    assert training.startswith(
        "In 1 training or validation case, with which the model was made, the mean Dice over 2 organs is 90"
    )


def test_cases_without_any_organ_have_no_dice_in_words() -> None:
    content = content_of(scores(("a", "testing", "liver", 1, None)))
    assert content.summary[0] == ("None of the organs is in one case that the model has not seen, so there is no Dice.")
    assert "Table 2." in render_report(content)


def test_of_very_many_rows_only_cases_with_a_picture_have_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render_report(content_of(FULL))
    monkeypatch.setattr(module, "MOST_ROWS", 5)  # three cases of two organs have six
    page = render_report(content_of(FULL))
    assert 'aria-label="Scores of b"' in whole
    assert 'aria-label="Scores of b"' not in page
    assert 'aria-label="Scores of a"' in page  # it has a picture
    assert [whole.count('<details id="case-'), page.count('<details id="case-')] == [3, 1]
    assert [text.count('href="#case-') for text in (whole, page)] == [3, 1]
    assert (
        "and in 3D. Of so many cases 1 have more than their line in the table; scores.csv has the numbers of all."
        in page
    )


def test_a_table_of_very_many_organs_scrolls() -> None:
    many = scores(*(("a", "testing", f"organ {n}", n, 0.9) for n in range(1, TALL_ROWS + 2)))
    page = render_report(content_of(many))
    assert page.count('<div class="wide tall long"') == 3  # Dice and all metrics, and the table of its one case
    assert "wide tall long" not in render_report(content_of(FULL))
