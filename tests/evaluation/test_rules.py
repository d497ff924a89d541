"""Scores of the two readings: the rules of the six suites, and answers without information."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.evaluation.scoring import score_row
from curr_reft.tasks.registry import scorings
from curr_reft.tasks.score import BAD_GOLD

COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,"
    " stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,"
    " backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,"
    " baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon,"
    " bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch,"
    " potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave,"
    " oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"
)


def score(suite: str, output: str, golds, *reading):
    return scorings()[suite][1].score(output, golds, *reading)


def right(suite: str, answer: str, gold) -> float:
    return score(suite, f"<think>t</think><answer>{answer}</answer>", {"solution": gold}).reward


@pytest.mark.parametrize(
    ("suite", "answer", "gold", "expected"),
    [
        ("classify_in", "car, Person", "<answer>person, car</answer>", 1),
        ("classify_out", "['car', 'person']", "person, car", 1),
        ("classify_in", "person", "<answer>person, car</answer>", 0),
        ("classify_out", "person, car, dog", "<answer>person, car</answer>", 0),
        ("detection_in", '{"bbox_2d": [0, 0, 10, 11]}', "<answer>[0, 0, 10, 10]</answer>", 1),
        ("detection_in", "[[0, 0, 10, 10], [5, 5, 9, 9]]", "<answer>[0, 0, 10, 10]</answer>", 0),
        (
            "detection_in",
            "[0, 0, 10, 10]",
            "<thinking>[1, 2, 3, 4]</thinking><answer>[0, 0, 9, 9]</answer>",
            1,
        ),
        ("math_in", "35", "<answer>35°</answer>", 1),
        ("math_in", "", "<answer>35</answer>", 0),
        ("math_in", "34 35", "<answer>35</answer>", 0),
        ("math_out", "3", 3, 1),
        ("math_out", "three.", 3, 1),
        ("math_out", "3.0", "<answer>3</answer>", 1),
        ("math_out", "13", 3, 0),
        ("math_out", "3 4 5 6", 3, 0),
        ("math_out", "x = 3", 3, 0),
    ],
)
def test_rules(suite, answer, gold, expected):
    assert right(suite, answer, gold) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [("x = 3", 1), ("Sum = 1 + 2 = 3", 1), ("The answer is three.", 1), ("2x = 3", 0), ("3 or 4", 0)],
)
def test_counts_read_tolerantly(output, expected):
    assert score("math_out", output, {"solution": 3}, "tolerant").reward == expected


@pytest.mark.parametrize("suite", sorted(scorings()))
def test_text_outside_a_closed_block_is_no_answer(suite):
    example = {"solution": 3 if suite == "math_out" else "[1, 1, 9, 9]", "resize_solution": [1, 1, 9, 9]}
    for output in ("3", "[1, 1, 9, 9]", "<answer>3", "<answer>[1, 1, 9, 9]", "<think>[1, 1, 9, 9] 3</think>"):
        assert score(suite, output, example).reward == 0


def test_refgta_counts_in_the_frame_of_the_image_shown_alone():
    frames = {
        "solution": [700, 320, 940, 880],
        "normalized_solution": [365, 296, 490, 815],
        "resize_solution": [318, 145, 427, 399],
    }
    rewards = {
        name: score("refgta", f"<answer>{box}</answer>", frames).reward for name, box in frames.items()
    }
    assert rewards == {"solution": 0, "normalized_solution": 0, "resize_solution": 1}
    del frames["resize_solution"]
    result = score("refgta", "<answer>[700, 320, 940, 880]</answer>", frames)
    assert (result.reward, result.incident) == (0, BAD_GOLD)


@pytest.mark.parametrize(
    ("suite", "gold"),
    [
        *(
            ("detection_in", gold)
            for gold in (None, "", "no box", [1, 2, 3], "<answer></answer>", "<answer>3")
        ),
        *(("math_out", gold) for gold in (None, "x", 2.5, True, [3], "<answer></answer>", "<answer>3")),
        *(("classify_out", gold) for gold in ("", "<answer></answer>", " , ", None, {"a": 1}, "<answer>3")),
        *(("math_in", gold) for gold in (None, True, "<answer></answer>", "<answer>3")),
    ],
)
def test_a_gold_that_does_not_parse_scores_nothing_and_is_counted(suite, gold):
    for answer in ("", "3", "x", "[1, 2, 3, 4]", str(gold)):
        result = score(suite, f"<answer>{answer}</answer>", {"solution": gold})
        assert (result.reward, result.incident) == (0, BAD_GOLD)


@pytest.mark.parametrize(
    ("suite", "gold"),
    [
        ("detection_in", "[10, 10, 90, 90]"),
        ("classify_in", "person, dog"),
        ("classify_out", "cat"),
        ("math_in", "35"),
        ("math_in", "B"),
        ("math_out", 4),
    ],
)
@pytest.mark.parametrize(
    "answer",
    [
        "",
        COCO,
        str(COCO.split(", ")),
        " ".join(map(str, range(101))),
        ", ".join(map(str, range(101))),
        "A, B, C, D",
        "[10, 10, 90, 90] [1, 2, 3, 4]",
        "What is in the image? A. 35 B. 36 C. 4 D. 5",
    ],
)
def test_an_answer_without_information_is_wrong(suite, gold, answer):
    assert right(suite, answer, gold) == 0


texts = st.text() | st.text(alphabet="<answer>/[]{},0123456789").map("<answer>{}".format)


@given(
    st.sampled_from(sorted(scorings())), texts, st.none() | st.integers() | texts | st.lists(st.integers())
)
def test_nothing_raises(suite, text, gold):
    example = dict.fromkeys(("solution", "normalized_solution", "resize_solution"), gold)
    scores = score_row(suite, {"model_output": f"<answer>{text}</answer>", "example": example})
    assert scores["strict"].reward <= scores["tolerant"].reward
    for result in scores.values():
        assert result.reward in (0, 1)
        json.dumps(result.explanation())
