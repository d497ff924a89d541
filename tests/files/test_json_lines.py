import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.errors import InputError
from curr_reft.files.json_lines import BrokenLine, read_json_lines


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"

    def read_bytes(content: bytes, **options):
        path.write_bytes(content)
        return list(read_json_lines(path, **options))

    return read_bytes


def test_values_come_with_their_line_numbers(read):
    content = '\ufeff{"a": "one\u2028two"}\r\n\n  \n[1]\nnull'
    assert read(content.encode()) == [(1, {"a": "one\u2028two"}), (4, [1]), (5, None)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":', "broken JSON: Expecting value at column 6"),
        (b"[" * 100_000, "broken JSON: maximum recursion depth"),
        (b"9" * 10_000, "broken JSON: Exceeds the limit"),
        (b'"\xff"', "not UTF-8 text (invalid start byte)"),
    ],
)
def test_a_broken_line_is_named_and_the_others_come(read, line, reason):
    first, (number, broken), last = read(b"1\n" + line + b"\n2\n")
    assert (first, number, last) == ((1, 1), 2, (3, 2))
    assert isinstance(broken, BrokenLine)
    assert broken.startswith(reason)


def test_a_file_that_is_no_text_is_refused(read):
    with pytest.raises(InputError, match=r"a\.jsonl: not UTF-8 text \(invalid start byte\), so not a JSON"):
        read(b"\x89PNG\r\n\x1a\n")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"b\.jsonl: No such file"):
        list(read_json_lines(tmp_path / "b.jsonl"))


@given(st.lists(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.integers())))
def test_what_was_written_comes_back(read, values):
    content = "".join(json.dumps(value, ensure_ascii=True) + "\n" for value in values)
    assert [value for _, value in read(content.encode())] == values


@given(st.binary(max_size=40))
def test_no_bytes_crash(read, content):
    assert all(number >= 2 for number, _ in read(b"\n" + content))
