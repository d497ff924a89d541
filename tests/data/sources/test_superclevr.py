import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from curr_reft.data.sources.superclevr import main, question_rows, released_rows, scene_rows
from curr_reft.errors import InputError
from curr_reft.tasks.registry import scorings

PREFIX = "images/superclevr"
BUILDERS = {"questions": question_rows, "scenes": scene_rows}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    path = tmp_path_factory.mktemp("superclevr") / "annotations.json"

    def rows(form, document, split="test"):
        path.write_text(json.dumps(document), encoding="utf-8")
        return list(BUILDERS[form](path, split, PREFIX))

    return rows


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("superclevr") / "released.jsonl"

    def rows(text):
        path.write_text(text, encoding="utf-8")
        return list(released_rows(path, PREFIX))

    return rows


def test_questions_with_counts(build, fixture_json, check_written):
    document = fixture_json("superclevr_questions.json")
    (row,) = build("questions", document)
    assert row == {
        "id": "superclevr:superCLEVR_new_025000:250000",
        "problem": "How many buses are there?",
        "solution": "<answer>3</answer>",
        "task": "math",
        "image": "images/superclevr/superCLEVR_new_025000.png",
    }
    assert [row["solution"] for row in build("questions", document, "train")] == ["<answer>0</answer>"]
    assert build("questions", document, "val") == []
    assert len(build("questions", document, "all")) == 2
    check_written(build, "questions", document)


def test_a_count_may_be_text(build, fixture_json, changed):
    document = changed(fixture_json("superclevr_questions.json"), ("questions", 0, "answer"), "3")
    assert build("questions", document)[0]["solution"] == "<answer>3</answer>"


def test_scenes_ask_for_all_objects(build, fixture_json):
    (row,) = build("scenes", fixture_json("superclevr_scenes.json"))
    assert row["id"] == "superclevr:superCLEVR_new_025000"
    assert row["problem"] == "How many different items are there in the image?"
    assert row["solution"] == "<answer>3</answer>"


def test_released_file(fixtures, check_written):
    rows = list(released_rows(fixtures / "superclevr_released.jsonl", PREFIX))
    assert [row["solution"] for row in rows] == [f"<answer>{count}</answer>" for count in (4, 9, 10)]
    assert rows[0]["image"] == "images/superclevr/superCLEVR_new_025000.png"
    assert [row["id"] for row in rows] == ["superclevr:1", "superclevr:2", "superclevr:3"]
    assert scorings()["math_out"][1].score("<answer>nine</answer>", rows[1]).reward == 1
    check_written(released_rows, fixtures / "superclevr_released.jsonl", PREFIX)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("answer", -1, "answer: no count"),
        ("answer", 10**400, "answer: no count"),
        ("answer", 3.0, "answer: expected a whole number or a string or a boolean, found a number"),
        ("answer", None, "answer: expected a whole number or a string or a boolean, found null"),
        ("question", "", "question: empty"),
        ("question_index", None, "question_index: expected a whole number or a string, found null"),
        ("image_filename", "../a_025000.png", "'../a_025000.png' is no path under the folder of the images"),
        ("image_filename", "a.png", "image_filename: ends on no image number, which tells the split"),
    ],
)
def test_bad_questions(build, fixture_json, changed, reasons, key, value, reason):
    document = changed(fixture_json("superclevr_questions.json"), ("questions", 0, key), value)
    assert reasons(build("questions", document)) == [reason]


def test_scene_without_objects(build, fixture_json, changed, reasons):
    document = changed(fixture_json("superclevr_scenes.json"), ("scenes", 0, "objects"), [])
    assert reasons(build("scenes", document)) == ["objects: empty"]


@pytest.mark.parametrize("form", ["questions", "scenes"])
@pytest.mark.parametrize("document", [[], {}, {"questions": 1, "scenes": 1}])
def test_files_of_another_form(build, form, document):
    with pytest.raises(InputError, match=f"expected an object with a list of {form}"):
        build(form, document)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "broken JSON: "),
        ("[" * 100_000, "broken JSON: "),
        ("9" * 5_000, "broken JSON: "),
        ("[]", "expected an object, found an array"),
        ('{"image": "/a/b.png", "problem": "?"}', "solution: missing"),
        (
            '{"image": "/a/b.png", "problem": "?", "solution": true}',
            "solution: expected a whole number, found a bool",
        ),
        (
            '{"image": "/a/b.png", "problem": "?", "solution": "4"}',
            "solution: expected a whole number, found a string",
        ),
        ('{"image": "/a/..", "problem": "?", "solution": 4}', "'..' is no path under"),
        ('{"image": "/", "problem": "?", "solution": 4}', "'' is no path under"),
    ],
)
def test_bad_released_rows(released, line, reason):
    (bad,) = released(f"\n{line}\n")
    assert bad.where.endswith("released.jsonl:2")
    assert bad.reason.startswith(reason)


@settings(max_examples=150)
@given(st.data())
def test_no_json_value_crashes(build, released, fixture_json, fixtures, check_written, data):
    form = data.draw(st.sampled_from([*BUILDERS, "released"]))
    if form == "released":
        rows = [json.loads(line) for line in (fixtures / "superclevr_released.jsonl").open()]
        check_written(released, "\n".join(map(json.dumps, data.draw(mutated(rows)))))
    else:
        check_written(build, form, data.draw(mutated(fixture_json(f"superclevr_{form}.json"))), "all")


@pytest.mark.parametrize(
    ("flags", "rows"),
    [
        (["--questions", "superclevr_questions.json", "--split", "all"], 2),
        (["--scenes", "superclevr_scenes.json"], 1),
        (["--released", "superclevr_released.jsonl"], 3),
    ],
)
def test_command(fixtures, tmp_path, flags, rows):
    output = tmp_path / "rows.jsonl"
    main([flags[0], str(fixtures / flags[1]), *flags[2:], "--output", str(output)])
    assert len(output.read_text().splitlines()) == rows


def test_command_takes_one_file(fixtures, tmp_path):
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path / "rows.jsonl")])
