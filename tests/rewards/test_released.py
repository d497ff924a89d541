"""The released rewards: every golden row, the helpers below them, and hostile texts."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curr_reft.answers.maths import Verdict, compare_whole_texts
from curr_reft.rewards import released_answers as read
from curr_reft.rewards.released import iou, score, score_format
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import known_tasks


@pytest.mark.parametrize(("name", "rows"), [("stage1", 861), ("stage2", 916), ("stage3", 1311)])
def test_every_golden_row_of_a_stage(golden, name, rows):
    stage = next(stage.name for stage in STAGES.values() if name == f"stage{stage.number}")
    expected = golden(name)
    assert len(expected) == rows
    for row in expected:
        got = score(stage, row["task"], row["completion"], row["solution"])
        assert got.reward == pytest.approx(row["accuracy"], abs=1e-9), (row["id"], got)
        assert score_format(stage, row["task"], row["completion"]).reward == row["format"], row["id"]


def test_every_golden_format_row(golden):
    rows = golden("format")
    assert len(rows) == 694
    for row in rows:
        for stage in STAGES:
            assert score_format(stage, row["task"], row["completion"]).reward == row["format"], row["id"]


def test_every_golden_iou(golden):
    rows = golden("iou")
    assert len(rows) == 854
    for row in rows:
        try:
            outcome = iou(row["box1"], row["box2"], whole_pixels=row["impl"] == "eval_main")
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            outcome = type(error).__name__
        assert outcome == (row["error"] or pytest.approx(row["iou"], abs=1e-9)), row


@pytest.mark.slow
def test_math_verify_on_whole_texts_gives_every_golden_verdict(golden):
    for row in golden("math_verify_pairs"):
        equal = compare_whole_texts(row["pred_text"], row["gold_text"]) is Verdict.EQUAL
        assert equal == row["verify_pred_first"], row


def or_whole(text, answer):
    return text.strip() if answer is None else answer


READERS = {
    "stage1.extract_answer_content": read.tagged_answer,
    "stage2.extract_answer_content": read.tagged_answer,
    "eval.extract_answer_content": lambda text: or_whole(text, read.tagged_answer(text)),
    "stage1.extract_yes_no_answers": read.yes_no,
    "stage2.extract_options": lambda text: [letter for letter in read.options(text).split(",") if letter],
    "stage3.extract_answer_items(pred)": lambda text, _: read.items(text),
    "stage3.process_answer(detection)": lambda text, _: list(
        read.last_box(or_whole(text, read.clipped_answer(text)))
    ),
    "eval.extract_bbox_answer": lambda text: [list(read.first_box(text)), False],
    "eval.process_answer(classify)": lambda text, _: or_whole(text, read.clipped_answer(text)),
}


@pytest.mark.parametrize("helper", READERS)
def test_readers_find_what_the_released_helpers_find(golden, helper):
    rows = [row for row in golden("helpers") if row["impl"] == helper and row["error"] is None]
    # The released callers never pass None on.
    rows = [
        row for row in rows if row["args"][0] is not None and "[" not in row["args"][0] * ("items" in helper)
    ]
    assert len(rows) > 20
    for row in rows:
        assert READERS[helper](*row["args"]) == row["value"], row


PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "{", "}", "[", "]", "1", " 22,", ".5", "-", ",", "\n"),
    *("yes", "no", "A", "person, car", "$x=5$", r"\frac12", "[1, 2, 3, 4]", "9" * 400, "\x00", "İ"),
]
texts = st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@settings(max_examples=150)
@given(texts, texts)
def test_no_text_raises(completion, solution):
    for stage in STAGES:
        for task in (*known_tasks(), "coco_vqa"):
            result = score(stage, task, completion, solution)
            assert 0 <= result.reward <= 1
            assert math.isfinite(result.reward)
            json.dumps(result.explanation())
            assert score_format(stage, task, completion).reward in (0, 1)


@pytest.mark.parametrize(
    ("stage", "task", "completion", "reward"),
    [
        ("open", "math", "<answer>" + "{[1,2,3,4]" * 10_000, 1),
        ("open", "detection", "<answer>[" + "1" * 100_000 + "</answer>", 0),
        ("open", "detection", "<answer>[" * 20_000, 0),
        ("judge", "classify", "<answer>" * 15_000, 0),
        ("choice", "classify", "<answer>" + "A " * 50_000 + "</answer>", 0),
    ],
)
def test_hostile_texts_of_100_kb_are_scored(stage, task, completion, reward):
    # 1 for math: an empty gold is in every text. That none of these takes long is the benchmark's to show.
    assert score(stage, task, completion, "<answer></answer>").reward == reward
    assert score_format(stage, task, f"<think></think>{completion}").reward in (0, 1)


def test_an_unknown_task_earns_nothing_in_the_open_stage():
    assert score("open", "classification", "<answer>car</answer>", "<answer>car</answer>").reward == 0


def test_a_row_says_which_rule_scored_it():
    result = score("open", "math", "<think></think><answer></answer>", "<answer>35</answer>")
    assert (result.reward, result.rule) == (1, "equal lone letters, or none in both")
    assert result.explanation() == {"rule": result.rule, "answer": "", "gold": "35"}
