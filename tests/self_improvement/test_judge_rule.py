"""The judge without a model: what each criterion measures, on each kind of answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.errors import InputError
from curr_reft.evaluation.judge_reply import CRITERIA, TOTAL
from curr_reft.self_improvement.judge_consistency import score_consistency
from curr_reft.self_improvement.rule_judge import check_golds, judge, score_fluency

SHAPES = "Which of these shapes appear in the picture: circle, square, triangle, ring, cross?"


@pytest.mark.parametrize(
    ("completion", "scores"),
    [
        ("<think>There are 3.</think><answer>3</answer>", (100, 100, 100, 100)),
        # Right and well-formed without stated reasons passes the paper's 85, contradicted it does not.
        ("<think>I count.</think><answer>3</answer>", (100, 50, 100, 100)),
        ("<think>There are 4.</think><answer>3</answer>", (100, 0, 100, 100)),
        ("<think>There are 4.</think><answer>4</answer>", (0, 100, 100, 100)),
        ("There are 3. <answer>3</answer>", (100, 50, 0, 100)),
        ("3", (0, 0, 0, 100)),
        ("", (0, 0, 0, 0)),
        ("<answer></answer>", (0, 0, 0, 0)),
    ],
)
def test_the_total_is_the_mean_of_the_four(make_candidate, completion, scores):
    verdict = judge(make_candidate(completion=completion))
    assert verdict.scores == {**dict(zip(CRITERIA, scores, strict=True)), TOTAL: sum(scores) / 4}
    assert set(verdict.evidence) == set(CRITERIA)
    json.dumps(verdict.evidence, allow_nan=False)


def test_a_part_of_the_answer_is_not_right(make_candidate):
    completion = "<think>I see circle.</think><answer>circle</answer>"
    gold = "<answer>circle, ring</answer>"
    verdict = judge(make_candidate(task="classify", problem=SHAPES, solution=gold, completion=completion))
    assert verdict.scores["accuracy"] == 0
    assert verdict.evidence["accuracy"] == {
        "reward": 0.5,
        "found": "the last closed answer block",
        "rule": "eq. 5: IoU of label sets",
        "answer": ["circle"],
        "gold": ["circle", "ring"],
    }


@pytest.mark.parametrize(
    ("stage", "task", "thoughts", "answer", "score"),
    [
        ("judge", "math", "The box fits. Yes, it does.", "yes", 100),
        ("judge", "math", "So the answer is no.", "yes", 0),
        ("judge", "math", "There is no circle.", "yes", 50),
        ("judge", "math", "It fits: yes.", "maybe", 0),
        ("choice", "detection", "The best fit is B.", "B", 100),
        ("choice", "classify", "I choose A, C.", "C, A", 100),
        ("choice", "classify", "I choose A, C.", "A", 0),
        ("choice", "math", "There are 3.", "B", 50),
        ("open", "detection", "The red circle is at the top left.", "[3, 4, 27, 28]", 50),
        ("open", "detection", "It is at [3, 4, 27, 28].", '{"bbox_2d": [3, 4, 27, 28]}', 100),
        ("open", "detection", "It is at [3, 4, 27, 28].", "[3, 4, 27, 29]", 0),
        ("open", "detection", "[3, 4, 27, 28] and [1, 2, 3, 4]", "[[1, 2, 3, 4], [3, 4, 27, 28]]", 100),
        ("open", "detection", "There are no objects.", "No Objects", 100),
        ("open", "detection", "It is at [3, 4, 27, 28].", "No Objects", 0),
        ("open", "detection", "It is at [3, 4, 27, 28].", "there", 0),
        ("open", "classify", "I see circle, ring.", "ring, circle", 100),
        ("open", "classify", "I see circle, ring.", "circle", 0),
        ("open", "classify", "I see circle, ring.", "square", 0),
        ("open", "classify", "There is a ring beside a circle on the left.", "circle, ring", 100),
        ("open", "classify", "The image is rather dark.", "ring", 50),
        ("open", "math", "There are 3.", "3", 100),
        ("open", "math", "180 - 35 = 145, so 145 degrees.", "145°", 100),
        ("open", "math", "180-35 and -7", "-35", 0),
        ("open", "math", "There are three.", "3", 100),
        ("open", "math", "There are three.", "4", 50),
        ("open", "math", "There are 2.5.", "5", 0),
        ("open", "math", "So it is \\frac{1}{2}.", "\\frac{1}{2}", 100),
        ("open", "math", "It is 0.5.", "\\frac{1}{2}", 50),
        ("open", "math", "The answer is C.", "C", 100),
        ("open", "math", "The answer is D.", "C", 0),
        ("open", "math", " ", "3", 50),
    ],
)
def test_thoughts_state_the_answer_or_another_or_none(stage, task, thoughts, answer, score):
    text = f"<think>{thoughts}</think><answer>{answer}</answer>"
    assert score_consistency(stage, task, SHAPES, text).score == score


def test_consistency_needs_no_gold(make_candidate):
    wrong = make_candidate(solution="<answer>7</answer>")
    assert judge(wrong).scores["logical_consistency"] == 100


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think>one two three</think><answer>four</answer>", 100),
        ("a b c d a b c d", 80),
        ("so " * 103, 1),
        ("", 0),
        ("<think></think><answer>?!</answer>", 0),
        ("fine\x00", 0),
        ("fine \ufffd", 0),
        ("half a pair: \ud800", 0),
        ("two\nlines\tand a tab, été, 三, \u00a0", 100),
    ],
)
def test_fluency_is_the_share_of_runs_that_are_new(text, score):
    assert score_fluency(text, truncated=False).score == pytest.approx(score)


def test_what_was_cut_off_is_not_fluent():
    assert score_fluency("fine", truncated=True).score == 0


HOSTILE = ["a", "{[", "is ", "1", "[1,2,3,", "A. ", "=", "yes,", "-", "1 "]
KINDS = [
    *(("judge", "math", "yes"), ("choice", "math", "A"), ("open", "math", "3"), ("open", "classify", "ring")),
    ("open", "detection", "[1, 2, 3, 4]"),
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize(("stage", "task", "gold"), KINDS)
def test_hostile_text_comes_to_an_end(make_candidate, stage, task, gold, piece):
    thoughts = piece * (100_000 // len(piece))
    for completion in (thoughts, f"<think>{thoughts}</think><answer>{thoughts}</answer>", "<think>" * 14_000):
        candidate = make_candidate(
            stage=stage, task=task, solution=f"<answer>{gold}</answer>", completion=completion
        )
        assert 0 <= judge(candidate).scores[TOTAL] <= 85


@given(st.text(), st.text(), st.sampled_from(["judge", "choice", "open"]))
def test_no_text_makes_it_raise(thoughts, answer, stage):
    for task in ("math", "classify", "detection"):
        found = score_consistency(stage, task, answer, f"<think>{thoughts}</think><answer>{answer}</answer>")
        assert found.score in (0, 50, 100)
        json.dumps(found._asdict(), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": None}, "names no task"),
        ({"solution": None}, "no solution"),
        ({"solution": "3"}, "holds no gold"),
    ],
)
def test_what_no_rule_can_read_is_refused_by_name(make_candidate, changes, reason):
    bad = make_candidate("chat/chat.jsonl:7", **changes)
    with pytest.raises(InputError, match=f"chat/chat.jsonl:7: .*{reason}.*--judge llm"):
        check_golds([make_candidate(), bad])
