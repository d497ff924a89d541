import json
import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.data.split import main, split_rows
from curr_reft.errors import InputError


def rows_of(*images):
    return [{"image": image, "number": number} for number, image in enumerate(images)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(0, 9),
)
def test_parts_have_their_numbers_and_no_image_in_common(images, sizes, seed):
    rows = rows_of(*images)
    try:
        parts = split_rows(rows, sizes, seed)
    except InputError:
        # Each part can waste less than an image.
        wasted = len(sizes) * (max(Counter(images).values()) - 1)
        assert sum(sizes) + wasted > len(rows) or len(sizes) > len(set(images))
        return
    assert [len(part) for part in parts] == sizes
    images = [{row["image"] for row in part} for part in parts]
    assert sum(map(len, images)) == len(set().union(*images))
    for part in parts:
        numbers = [row["number"] for row in part]
        assert numbers == sorted(set(numbers))
    assert split_rows(rows, sizes, seed) == parts


def test_another_seed_draws_other_images():
    rows = rows_of(*map(str, range(100)))
    assert split_rows(rows, [50], 1) != split_rows(rows, [50], 2)


def test_the_order_of_the_rows_does_not_change_the_draw():
    rows = rows_of(*map(str, range(20)))
    [part] = split_rows(rows, [5], 1)
    [other] = split_rows(rows[::-1], [5], 1)
    assert other == part[::-1]


def test_spellings_of_one_image_are_one_image():
    rows = rows_of("a/b.jpg", "./a/b.jpg", "a//b.jpg", ["a/b.jpg"], "a/x/../b.jpg")
    assert split_rows(rows, [5], 1) == [rows]
    with pytest.raises(InputError, match="5 rows of 1 images do not fill parts of"):
        split_rows(rows, [4, 1], 1)


def test_a_part_does_not_replace_what_is_read(tmp_path, capsys):
    path, other = (
        write(tmp_path / "rows.jsonl", rows_of(*"abcdef")),
        write(tmp_path / "o.jsonl", rows_of("a")),
    )
    for part in (path, other):
        with pytest.raises(SystemExit) as stopped:
            main([str(path), "--parts", f"{part}=2", "--avoid", str(other)])
        assert stopped.value.code == 2
        assert "a part would replace a file that is read" in capsys.readouterr().err
    assert len(read(path)) == 6


def test_equal_files_are_one_image(tmp_path):
    for name in "abcd":
        (tmp_path / name).write_bytes(b"same" if name in "ab" else name.encode())
    path = write(tmp_path / "rows.jsonl", rows_of(*"abcd", "not there"))
    avoid = write(tmp_path / "avoid.jsonl", rows_of("a"))
    part = tmp_path / "part.jsonl"
    main([str(path), "--parts", f"{part}=3", "--avoid", str(avoid), "--image_root", str(tmp_path)])
    assert {row["image"] for row in read(part)} == {"c", "d", "not there"}
    main([str(path), "--parts", f"{part}=4", "--avoid", str(avoid)])
    assert "b" in {row["image"] for row in read(part)}


def test_avoided_images_are_in_no_part(tmp_path):
    rows = write(tmp_path / "rows.jsonl", rows_of(*"abcdef"))
    avoided = write(tmp_path / "test.jsonl", [{"image": ["./a"]}, {"image": "b"}])
    main([str(rows), "--parts", f"{tmp_path / 'x.jsonl'}=4", "--avoid", str(avoided)])
    assert [row["image"] for row in read(tmp_path / "x.jsonl")] == list("cdef")


def test_rows_keep_their_fields(tmp_path):
    row = {"image": ["a.jpg"], "id": [1], "other": {"é": None}}
    path = write(tmp_path / "rows.jsonl", [row])
    main([str(path), "--parts", f"{tmp_path / 'x.jsonl'}=1"])
    assert read(tmp_path / "x.jsonl") == [row]


@pytest.mark.parametrize(
    ("lines", "parts", "message"),
    [
        ('{"image": "a"}', ["x.jsonl=2"], "1 rows of 1 images do not fill parts of [2] rows"),
        ('{"image": "a"}\n{', ["x.jsonl=1"], "rows.jsonl:2: broken JSON"),
        ('{"image": ""}', ["x.jsonl=1"], "rows.jsonl:1: expected an object with the path"),
        ('{"image": ["a", "b"]}', ["x.jsonl=1"], "rows.jsonl:1: expected an object with the path"),
        ("[]", ["x.jsonl=1"], "rows.jsonl:1: expected an object with the path"),
        ('{"image": "a", "id": 1}\n{"image": "b", "id": "1"}', ["x.jsonl=1"], "id '1': 2 rows have it"),
        ('{"image": "a"}\n{"image": "b"}', ["x.jsonl=1", "./x.jsonl=1"], "two parts would go to one file"),
        ('{"image": "a"}', ["x.csv=1"], "name it .jsonl"),
        ('{"image": "a"}', ["x.jsonl=0"], "is not FILE=ROWS"),
        ('{"image": "a"}', ["x.jsonl=-1"], "is not FILE=ROWS"),
        ('{"image": "a"}', ["x.jsonl"], "is not FILE=ROWS"),
        ('{"image": "a"}', ["=3"], "is not FILE=ROWS"),
        ('{"image": "a"}', ["rows.jsonl/x.jsonl=1"], "cannot be written (File exists)"),
        ("", ["x.jsonl=1"], "0 rows of 0 images do not fill"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(tmp_path, monkeypatch, capsys, lines, parts, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(lines)
    with pytest.raises(SystemExit) as stopped:
        main(["rows.jsonl", "--parts", *parts])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert os.listdir(tmp_path) == ["rows.jsonl"]
