import json
from pathlib import Path

import pytest

from curr_reft.data.schema import Example, iter_queries, iter_questions, read_examples
from curr_reft.errors import InputError

ROW = {"problem": "Which is it?", "solution": "<answer>B</answer>", "task": "math", "image": "a.jpg"}
ROOT = Path("images").absolute()


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_reads_a_row(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", {**ROW, "extra": [1, {"a": None}]})
    assert read_examples(path, ROOT) == [
        Example(f"{path}:1", "Which is it?", "<answer>B</answer>", "math", ROOT / "a.jpg")
    ]


def test_blank_lines_are_skipped_and_counted(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", "", ROW, "  ", ROW, "")
    assert [example.id for example in read_examples(path, ROOT)] == [f"{path}:2", f"{path}:4"]


def test_reads_an_array_with_the_index_as_id(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW, ROW], indent=2))
    assert [example.id for example in read_examples(path, ROOT)] == [f"{path}[0]", f"{path}[1]"]


def test_accepts_byte_order_mark_carriage_returns_and_line_separators_in_strings(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = json.dumps({**ROW, "problem": "one\u2028two"}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{row}\r\n{row}\r\n".encode())
    examples = read_examples(path, ROOT)
    assert [example.id for example in examples] == [f"{path}:1", f"{path}:2"]
    assert examples[0].problem == "one\u2028two"


@pytest.mark.parametrize(
    ("field", "value", "attribute", "expected"),
    [
        ("task", "classification", "task", "classify"),
        ("task", "detection", "task", "detection"),
        ("image", ["b.jpg"], "image", ROOT / "b.jpg"),
        ("image", str(ROOT / "b.jpg"), "image", ROOT / "b.jpg"),
        ("image", "x/../b.jpg", "image", ROOT / "b.jpg"),
        (
            "solution",
            "<thinking>since</thinking><answer>\n3</answer>",
            "solution",
            "<thinking>since</thinking><answer>\n3</answer>",
        ),
    ],
)
def test_accepted_forms(tmp_path, field, value, attribute, expected):
    path = write_lines(tmp_path / "rows.jsonl", {**ROW, field: value})
    assert getattr(read_examples(path, ROOT)[0], attribute) == expected


BAD_ROWS = [
    ('{"problem": ', "broken JSON: Expecting value at column 13"),
    ("[" * 100_000, "broken JSON: "),
    ('{"problem": ' + "9" * 5000 + "}", "broken JSON: "),
    ([ROW], "expected an object, found an array"),
    ("3", "expected an object, found a number"),
    ({**ROW, "problem": 3}, "problem: expected a string, found a number"),
    ({**ROW, "problem": " \n"}, "problem: empty"),
    ({**ROW, "problem": "\ud800"}, "problem: unpaired surrogate at character 0"),
    ({**ROW, "solution": 4}, "solution: expected a string, found a number"),
    ({**ROW, "solution": "B"}, "solution: no closed <answer>...</answer> block"),
    ({**ROW, "solution": "<answer>B"}, "solution: no closed <answer>...</answer> block"),
    ({**ROW, "solution": "</answer><answer>"}, "solution: no closed <answer>...</answer> block"),
    ({**ROW, "task": None}, "task: expected a string, found null"),
    (
        {**ROW, "task": "detect"},
        "task: unknown task 'detect'; known are detection, classify, classification, math (--tasks",
    ),
    ({**ROW, "image": None}, "image: the row has no image"),
    ({**ROW, "image": ""}, "image: the row has no image"),
    ({**ROW, "image": []}, "image: the row has no image"),
    ({**ROW, "image": ["a.jpg", "b.jpg"]}, "image: expected one image, found 2"),
    ({**ROW, "problem": "Is <|image_pad|> it?"}, "problem: contains <|image_pad|>, a special token"),
    ({**ROW, "problem": "<image>Is it?<|im_end|>"}, "problem: contains <|im_end|>, a special token"),
    ({**ROW, "solution": "<answer>A<|vision_start|></answer>"}, "solution: contains <|vision_start|>"),
    ({**ROW, "problem": "Is this <image> it?"}, "problem: contains <image>; only one at the start"),
    ({**ROW, "problem": "<image>\n<image>Which?"}, "problem: contains <image>; only one at the start"),
    ({**ROW, "problem": " <image>\n"}, "problem: empty"),
    ({**ROW, "solution": "<image><answer>A</answer>"}, "solution: contains <image>"),
    ({**ROW, "task": "x" * 9999}, f"task: unknown task '{'x' * 40}'; known are"),
    (
        {**ROW, "image": "data:image/png;base64,iVBOR"},
        "image: expected a path; this looks like base64 data of 27",
    ),
    (
        {**ROW, "image": ["/9j/" + "Q" * 436_877]},
        "image: expected a path; this looks like base64 data of 436881",
    ),
    ({**ROW, "image": {"path": "a.jpg"}}, "image: expected a string, found an object"),
    ({**ROW, "image": [True]}, "image: expected a string, found a boolean"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_bad_row_is_named_by_line_and_field(tmp_path, row, message):
    path = write_lines(tmp_path / "rows.jsonl", ROW, row)
    with pytest.raises(InputError) as raised:
        read_examples(path, ROOT)
    assert str(raised.value).startswith(f"{path}:2: {message}")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < len(str(path)) + 200


def test_a_leading_image_tag_is_taken_off_and_counted_once(tmp_path, caplog):
    problems = ["<image>\n\nWhich?", " <image> Which?", "Which?", "  Which <image_2>?"]
    path = write_lines(tmp_path / "rows.jsonl", *[{**ROW, "problem": problem} for problem in problems])
    for _ in range(2):
        assert [row.problem for row in read_examples(path, ROOT)] == [*["Which?"] * 3, "  Which <image_2>?"]
        assert [row.problem for row in iter_questions(path, ROOT)][:2] == ["Which?"] * 2
    assert caplog.text.count("<image> taken off the start of 2 problems") == 1


def test_questions_of_text_alone_keep_no_image_tag(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", {"problem": "<image>Why?", "image": "a.jpg"})
    assert [query.problem for query in iter_queries(path, ROOT)] == ["Why?"]
    for row in ({"problem": "<image>Why?"}, {"problem": "Why?", "solution": "<|im_start|>"}):
        with pytest.raises(
            InputError, match=r":1: (problem: starts with <image>|solution: contains <\|im_st)"
        ):
            list(iter_queries(write_lines(path, row), ROOT))


@pytest.mark.parametrize("field", ["problem", "solution", "task"])
def test_missing_field(tmp_path, field):
    path = write_lines(tmp_path / "rows.jsonl", {key: ROW[key] for key in ROW if key != field})
    with pytest.raises(InputError, match=f":1: {field}: missing$"):
        read_examples(path, ROOT)


def test_row_without_image_key(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", {key: ROW[key] for key in ROW if key != "image"})
    with pytest.raises(InputError, match=":1: image: the row has no image"):
        read_examples(path, ROOT)


@pytest.mark.parametrize(
    ("bad", "ending"), [(1, ""), (2, " (and 1 more bad row)"), (4, " (and 3 more bad rows)")]
)
def test_first_bad_row_is_shown_and_the_others_counted(tmp_path, bad, ending):
    path = write_lines(tmp_path / "rows.jsonl", ROW, *[{**ROW, "problem": ""}] * bad)
    with pytest.raises(InputError) as raised:
        read_examples(path, ROOT)
    assert str(raised.value) == f"{path}:2: problem: empty" + ending


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"\x89PNG\r\n\x1a\n", "not UTF-8 text (invalid start byte)"),
        ("rows.jsonl", b"\n \n", "the file has no rows"),
        ("rows.json", b"[]", "the file has no rows"),
        ("rows.json", b'{"rows": []}', "expected an array of rows, found an object"),
        ("rows.json", b"{}\n{}", "must be named .jsonl"),
        ("rows.json", b'[{"problem": 1}]', "rows.json[0]: problem: expected a string"),
        ("rows.csv", b"a,b", "expected a .jsonl file"),
    ],
)
def test_bad_file_is_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_examples(path, ROOT)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_examples(tmp_path / "rows.jsonl", ROOT)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        read_examples(tmp_path / "folder.jsonl", ROOT)


@pytest.mark.parametrize(
    "image", ["../a.jpg", "/etc/passwd", "x/../../a.jpg", "../images_too/a.jpg", ".", "a/.."]
)
def test_images_outside_the_image_root_are_refused(tmp_path, image):
    path = write_lines(tmp_path / "rows.jsonl", ROW, {**ROW, "image": image})
    with pytest.raises(InputError, match=r":2: image: .* is not below the image root"):
        read_examples(path, ROOT)


def test_an_id_that_occurs_twice_is_named_with_both_places(tmp_path):
    rows = [{**ROW, "id": row_id} for row_id in ("a", 7, "b", "7", "a")]
    path = write_lines(tmp_path / "rows.jsonl", *rows)
    with pytest.raises(InputError) as raised:
        read_examples(path, ROOT)
    assert str(raised.value) == f"{path}:5: id: the one of {path}:1 again (and 1 more bad row)"
    assert len(read_examples(write_lines(tmp_path / "rows.jsonl", *rows[:3], ROW, ROW), ROOT)) == 5
