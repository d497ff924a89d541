"""Journals: what a kill, another writer or a broken file can do to them."""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest

from curr_reft.errors import InputError
from curr_reft.files.journal import append, recover, sole_writer

ROWS = [{"id": number, "text": "ünï\u2028\n" * number} for number in range(4)]


def by_id(row):
    return row["id"]


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_a_file_cut_at_any_byte_loses_the_row_that_was_cut_and_no_other(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    append(path, ROWS)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        complete = whole[:length].count(b"\n")
        assert list(recover(path, by_id).values()) == ROWS[:complete]
        append(path, ROWS[complete:])
        assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
    assert "was cut off" in caplog.text


def test_a_row_after_anothers_half_line_is_kept(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    append(path, ROWS[:1])
    with path.open("ab") as file:
        file.write(b'{"id": 1, "te')
    append(path, ROWS[2:3])
    assert list(recover(path, by_id)) == [0, 2]
    assert "1 broken lines" in caplog.text
    assert lines(path) == [ROWS[0], ROWS[2]]
    assert b'"te\n' in (tmp_path / "a.jsonl.set-aside-1").read_bytes()


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[1]", b"null", b'{"no": "id"}', b'{"id": NaN}', b"[" * 5000, b'{"id": [1]}']
)
def test_a_broken_line_is_set_aside_and_said(line, tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    append(path, ROWS[:2])
    before = path.read_bytes().replace(b"\n", b"\n" + line + b"\n", 1)
    path.write_bytes(before)
    assert list(recover(path, by_id).values()) == ROWS[:2]
    assert (tmp_path / "a.jsonl.set-aside-1").read_bytes() == before
    assert "a.jsonl.set-aside-1" in caplog.text
    assert lines(path) == ROWS[:2]


def test_rows_of_no_use_and_repeated_ones_are_set_aside_each_time_under_a_new_name(tmp_path):
    path = tmp_path / "a.jsonl"
    append(path, [*ROWS[:2], {**ROWS[0], "text": "again"}])
    assert list(recover(path, by_id).values()) == ROWS[:2]
    assert list(recover(path, lambda row: row["id"] or None).values()) == ROWS[1:2]
    assert len(lines(tmp_path / "a.jsonl.set-aside-1")) == 3
    assert lines(tmp_path / "a.jsonl.set-aside-2") == ROWS[:2]


def test_nothing_there_is_nothing_to_recover(tmp_path):
    assert recover(tmp_path / "a.jsonl", by_id) == {}
    assert not list(tmp_path.iterdir())


def _write(path, writer):
    for number in range(50):
        append(path, [{"id": f"{writer}-{number}", "text": "x" * 5000}])


def test_processes_and_threads_write_into_one_file(tmp_path):
    path = tmp_path / "a.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: _write(path, name), "cd"))
    for writer in writers:
        writer.join()
    assert len(recover(path, by_id)) == 200
    assert not list(tmp_path.glob("*aside*"))


def test_two_commands_do_not_write_into_one_folder(tmp_path):
    with (
        sole_writer(tmp_path / "out"),
        pytest.raises(InputError, match="another command is writing there"),
        sole_writer(tmp_path / "out"),
    ):
        pass
    with sole_writer(tmp_path / "out"):
        pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"), sole_writer(tmp_path / "file"):
        pass
    with pytest.raises(InputError, match="cannot be written"):
        append(tmp_path, ROWS)
    with pytest.raises(InputError, match="cannot be read"):
        recover(tmp_path, by_id)
