import json
import logging
import os

import pytest

from curr_reft.data.rows import BadRecord, make_row, write_rows
from curr_reft.data.schema import read_examples
from curr_reft.errors import InputError


def row(row_id, problem="What?"):
    return make_row(row_id, problem, "3", "math", "a.jpg")


def test_rows_are_those_that_are_read(tmp_path):
    texts = [
        *("plain", "naïve ☃ 𝄞", 'quotes " and \\', "lines\r\nand \u2028 and \u0085", "</answer>"),
        "\x00\x1f",
    ]
    for name in ("rows.jsonl", "rows.json"):
        path = tmp_path / name
        assert write_rows(path, [row(str(number), text) for number, text in enumerate(texts)]) == len(texts)
        assert [example.problem for example in read_examples(path, tmp_path)] == texts


def test_a_jsonl_file_has_a_row_a_line_and_a_json_file_is_an_array(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [row("a"), row("b")])
    lines = (tmp_path / "rows.jsonl").read_text().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [row("a"), row("b")]
    assert lines[-1] == ""
    write_rows(tmp_path / "rows.json", [row("a"), row("b")])
    assert json.loads((tmp_path / "rows.json").read_text()) == [row("a"), row("b")]


BAD = {
    "named": (BadRecord("a.json[3]", "no box"), "a.json[3]: no box"),
    "id": (row("a"), "a: another row has this id"),
    "spelling": ({**row("b"), "id": 7}, "7: another row has this id"),
    "surrogate": (row("c", "half \ud800"), "c: an unpaired surrogate in its text"),
    "no_id": ({"problem": "half \udfff"}, '{"problem": "half \\udfff"}: an unpaired surrogate in its text'),
    "unhashable": ({**row("b"), "id": ["x"]}, "['x']: another row has this id"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_stops_the_writing_unless_dropped(tmp_path, caplog, name):
    caplog.set_level(logging.INFO)
    outcome, message = BAD[name]
    good = [row("a"), row("7"), {**row("d"), "id": ["x"]}]
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(
        InputError, match=r"rows.jsonl: not written: 1 of 4 records are bad .*--drop_bad_rows"
    ):
        write_rows(path, [*good, outcome])
    assert caplog.messages == [message]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["rows.jsonl"]
    assert write_rows(path, [*good, outcome], drop_bad_rows=True) == 3
    assert caplog.messages[1:] == [message, f"{path}: 3 rows, 1 bad records left out"]


def test_many_bad_records_are_listed_in_part_and_counted(tmp_path, caplog):
    bad = [BadRecord(f"a:{number}", "no box") for number in range(50)]
    with pytest.raises(InputError, match="50 of 51 records are bad"):
        write_rows(tmp_path / "rows.jsonl", [*bad, row("a")])
    assert len(caplog.messages) == 21
    assert caplog.messages[-1] == "and 30 more"


def test_rows_without_ids_are_no_repeats(tmp_path):
    assert write_rows(tmp_path / "rows.jsonl", [{"image": "a.jpg"}] * 3) == 3


@pytest.mark.parametrize("outcomes", [[], [BadRecord("a", "b")]])
def test_a_file_without_rows_is_not_written(tmp_path, outcomes):
    with pytest.raises(InputError, match="not written: no row is left"):
        write_rows(tmp_path / "rows.jsonl", outcomes, drop_bad_rows=True)
    assert os.listdir(tmp_path) == []


def test_an_exception_in_the_middle_leaves_the_old_file(tmp_path):
    def outcomes():
        yield row("a")
        raise InputError("the source is broken")

    path = tmp_path / "rows.json"
    path.write_text("old")
    with pytest.raises(InputError, match="the source is broken"):
        write_rows(path, outcomes())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["rows.json"]


@pytest.mark.parametrize("name", ["rows.csv", "rows", ".jsonl"])
def test_other_names_are_refused_before_anything_is_made(tmp_path, name):
    def outcomes():
        raise AssertionError("asked for rows")
        yield

    with pytest.raises(InputError, match=r"name it .jsonl"):
        write_rows(tmp_path / name, outcomes())
    assert os.listdir(tmp_path) == []
