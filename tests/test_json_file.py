"""JSON that others may have written is sound, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoseg.json_file import JsonError, parse_json, read_json


def test_a_sound_object_is_read_with_and_without_a_mark_at_its_start(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.json").write_text('{"größe": [1, 2.5, null]}', encoding=encoding)
        assert read_json(tmp_path / "a.json", dict) == {"größe": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "brackets within brackets"),
        ("[" * 500 + "]" * 500, "more than 64 brackets"),
        ('[{"a": ' + "1" * 5000 + "}]", "a number of 5000 digits"),
        ("[-18446744073709551616]", "a number of 21 digits"),
        ('["\\ud800"]', "half a character"),
        ('[{"liver": 1, "liver": 2}]', "the key 'liver' twice"),
        ("[1,\n2,,]", "line 2: not valid JSON"),
        ('{"a": 1}', "must hold a list"),
        ("", "line 1: not valid JSON"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(JsonError, match=message) as caught:
        parse_json(text, "a.json", list)
    assert str(caught.value).startswith("a.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_bytes_that_are_not_utf8_are_told_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"caf\xe9": 1}')
    with pytest.raises(JsonError, match=r"a\.json: cannot be read, byte 5 is not UTF-8; save it as UTF-8"):
        read_json(tmp_path / "a.json", dict)


def test_a_key_twice_with_one_value_loses_nothing() -> None:
    assert parse_json('{"a": 1, "a": 1}', "a.json", dict) == {"a": 1}


def test_the_largest_number_that_numpy_holds_is_read() -> None:
    assert parse_json("[18446744073709551615]", "a.json", list) == [2**64 - 1]
