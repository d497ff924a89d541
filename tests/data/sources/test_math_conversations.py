import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutated

from curr_reft.data.sources.math_conversations import OPTION_HINT, final_answer, main, math_rows
from curr_reft.errors import InputError

TURNS = (0, "conversations")


@pytest.fixture(scope="module")
def mathv(fixture_json):
    return fixture_json("mathv360k.json")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    path = tmp_path_factory.mktemp("math") / "tuning.json"

    def rows(document, dataset="mathv360k", subsets=(), without=()):
        path.write_text(json.dumps(document), encoding="utf-8")
        return list(math_rows(path, dataset, subsets, without, f"images/{dataset}"))

    return rows


def test_mathv360k(build, mathv, reasons, check_written):
    rows = build(mathv)
    assert rows[0] == {
        "id": "mathv360k:0",
        "problem": "Hint: Please answer the question requiring an integer answer and provide the final value,"
        " e.g., 1, 2, 3, at the end.\nQuestion: How many rows does the table have?",
        "solution": "<answer>58</answer>",
        "task": "math",
        "image": "images/mathv360k/TabMWP/images/15376.png",
    }
    assert rows[1]["solution"] == "<answer>B</answer>"
    assert reasons(rows) == ["value: no final answer that is an option letter or a value"]
    check_written(build, mathv)


def test_geo170k_asks_for_the_letter_without_naming_a_format(build, fixture_json, check_written):
    document = fixture_json("geo170k.json")
    rows = build(document, "geo170k")
    assert [row["solution"] for row in rows] == ["<answer>B</answer>", "<answer>D</answer>"]
    assert [row["id"] for row in rows] == ["geo170k:0", "geo170k:1"]
    assert rows[0]["problem"] == f"{OPTION_HINT}\nQuestion: Find x.\nChoices:\nA: 30\nB: 45\nC: 60\nD: 90"
    assert rows[1]["problem"].startswith(f"{OPTION_HINT}\nQuestion:As shown in the figure")
    check_written(build, document, "geo170k")


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("The answer is 58", "58"),
        ("The answer is 58.", "58"),
        ("The answer is 10^4", "10^4"),
        ("The answer is 3.5 cm", "3.5 cm"),
        ("The answer is [1, 2, 3]", "[1, 2, 3]"),
        ("Answer:B", "B"),
        ("answer : (b)", "B"),
        ("So the angle is 40.\nAnswer: D: 40°", "D"),
        ("the answer is (B) 8/11.", "B"),
        ("First the answer is 3.\nAnswer:7\nbecause of that", "7"),
        (r"Thus \boxed{\frac{1}{2}} holds.", r"\frac{1}{2}"),
        (r"The answer is $\boxed{35}$.", "35"),
        (r"\boxed{3} or rather, the answer is 5", "5"),
        ("The answer is $x = 35°$", "$x = 35°$"),
        ("The answer is Yes", "Yes"),
        *[
            (text, None)
            for text in ("58", "", "The answer is", "Answer: ", r"\boxed{}", r"\boxed{5", "Answer: ?")
        ],
        *[
            (f"The answer is {text}", None)
            for text in ("traffic light", "5 because of B", "A, B", "-", "x" * 300)
        ],
        ("The answer is 5</answer>", None),
    ],
)
def test_final_answer(solution, gold):
    assert final_answer(solution) == gold


def test_subsets(build, mathv):
    assert [row["id"] for row in build(mathv, subsets=["Geometry3K"])] == ["mathv360k:1"]
    with pytest.raises(InputError, match=r"--subsets: no image of .* is in GEOS, Geometry"):
        build(mathv, subsets=["Geometry3K", "Geometry", "GEOS"])


@pytest.mark.parametrize("folder", ["Super-CLEVR", "SuperCLEVR", "superclevr", "./super_clevr"])
def test_without_a_subset_in_any_spelling(build, mathv, changed, caplog, folder):
    caplog.set_level(logging.INFO)
    document = changed(mathv, (0, "image"), f"{folder}/images/1.png")[:2]
    rows = build(document, without=["Super-CLEVR", "GEOS"])
    assert [row["id"] for row in rows] == ["mathv360k:1"]
    assert caplog.messages[0].endswith("tuning.json: records left out, of Super-CLEVR, GEOS: 1")


def test_without_takes_whole_names(build, mathv, changed):
    document = changed(mathv, (0, "image"), "CLEVR-Math/images/1.png")[:2]
    assert len(build(document, without=["Super-CLEVR"])) == 2


@pytest.mark.parametrize(
    ("dataset", "flags", "left"),
    [
        ("mathv360k", [], ["Geometry3K"]),
        ("mathv360k", ["--without", "geometry-3k"], ["Super-CLEVR"]),
        ("geo170k", [], ["Super-CLEVR", "Geometry3K"]),
    ],
)
def test_the_out_of_domain_subset_is_left_out_by_default(mathv, changed, tmp_path, dataset, flags, left):
    conversations, output = tmp_path / "tuning.json", tmp_path / "rows.jsonl"
    conversations.write_text(json.dumps(changed(mathv, (0, "image"), "Super-CLEVR/images/1.png")[:2]))
    main(["--conversations", str(conversations), "--dataset", dataset, "--output", str(output), *flags])
    images = [json.loads(line)["image"] for line in output.read_text().splitlines()]
    assert [image.split("/")[2] for image in images] == left


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ((0,), [], "expected an object, found an array"),
        ((0, "image"), None, "image: expected a string, found null"),
        (
            (0, "image"),
            "TabMWP/../../x.png",
            "'TabMWP/../../x.png' is no path under the folder of the images",
        ),
        (TURNS, {}, "conversations: expected an array, found an object"),
        (TURNS, [], "conversations: expected two turns, human and gpt"),
        ((*TURNS, 0, "from"), "gpt", "conversations: expected two turns, human and gpt"),
        ((*TURNS, 0), "hello", "expected an object, found a string"),
        ((*TURNS, 0, "value"), " <image>\n", "value: the question is empty"),
        ((*TURNS, 0, "value"), "\ud800?", "value: unpaired surrogate at character 0"),
        (
            (*TURNS, 1, "value"),
            "It is unknown.",
            "value: no final answer that is an option letter or a value",
        ),
        ((*TURNS, 1, "value"), 58, "value: expected a string, found a whole number"),
    ],
)
def test_bad_records(build, mathv, changed, reasons, path, value, reason):
    assert reasons(build(changed(mathv, path, value)))[0] == reason


def test_file_of_another_form(build):
    with pytest.raises(InputError, match="expected an array of conversations"):
        build({"conversations": []})


@settings(max_examples=200)
@given(st.data())
def test_no_json_value_crashes(mathv, build, check_written, data):
    check_written(build, data.draw(mutated(mathv)))


@given(st.text())
def test_golds_stay_whole_in_their_block(text):
    gold = final_answer(f"The answer is {text}")
    assert gold is None or ("<answer>" not in gold and "</answer>" not in gold and gold.strip())


@pytest.mark.parametrize(
    "text", ["answer " * 30_000, r"\boxed{" * 30_000, "answer" + " " * 100_000, "{" * 100_000]
)
@pytest.mark.timeout(5)
def test_long_texts_take_linear_time(text):
    assert final_answer(text) is None


def test_command(fixtures, tmp_path):
    output = tmp_path / "rows.jsonl"
    flags = [
        "--conversations",
        str(fixtures / "mathv360k.json"),
        "--dataset",
        "mathv360k",
        "--output",
        str(output),
    ]
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    assert stopped.value.code == 2
    assert not output.exists()
    main([*flags, "--subsets", "TabMWP", "Geometry3K"])
    images = [json.loads(line)["image"] for line in output.read_text().splitlines()]
    assert images == ["images/mathv360k/TabMWP/images/15376.png", "images/mathv360k/Geometry3K/images/74.png"]
