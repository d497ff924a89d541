"""The accuracy reward, variant paper: the equations, and what must earn nothing."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curr_reft.errors import InputError
from curr_reft.rewards.paper import check_gold, score
from curr_reft.stages import STAGES
from curr_reft.tasks.detection import matched_overlaps
from curr_reft.tasks.registry import known_tasks
from curr_reft.tasks.score import MATH_TIMEOUT, GoldError


def accuracy(*row: str) -> float:
    return score(*row).reward


def reward(stage: str, task: str, answer: str, gold: str) -> float:
    completion = f"<think>Let me look.</think><answer>{answer}</answer>"
    return accuracy(stage, task, completion, f"<answer>{gold}</answer>")


@pytest.mark.parametrize("task", known_tasks())
@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("yes", "yes", 1),
        ("No.", "no", 1),
        ("true", "Yes", 1),
        ("no", "yes", 0),
        ("yes or no", "yes", 0),
        ("not correct", "yes", 0),
        ("No, it is not correct", "no", 0),
        ("", "no", 0),
    ],
)
def test_judge(task, answer, gold, expected):
    assert reward("judge", task, answer, gold) == expected


def test_judge_gives_math_no_second_chance():
    completion = "<think>$x=5$</think><answer>5</answer>"
    assert accuracy("judge", "math", completion, "<think>$x=5$</think><answer>yes</answer>") == 0


@pytest.mark.parametrize("task", known_tasks())
@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("B", "B", 1),
        ("(b)", "B", 1),
        ("F", "F", 1),
        ("G", "F", 0),
        ("C, A", "A,C", 1),
        ("A", "A,C", 0.2),
        ("A, C", "A, C, E", 0.2),
        ("A, B", "A,C", 0),
        ("A, B, C, D", "A,C", 0),
        ("A, B", "B", 0),
        ("a dog", "A", 0),
        ("ACE", "A,C,E", 0),
        ("", "A", 0),
    ],
)
def test_choice(task, answer, gold, expected):
    assert reward("choice", task, answer, gold) == expected


@pytest.mark.parametrize("task", ["classify", "classification"])
@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("person, car", "car, person", 1),
        ('["person", "car"]', "person, car", 1),
        ("Person, Car.", "person, car", 1),
        ("person, car, dog, cat", "person, car, dog", 3 / 4),
        ("person", "person, car", 1 / 2),
        ("light traffic", "traffic light", 0),
        ("dog", "person", 0),
        ("", "person", 0),
    ],
)
def test_open_classification(task, answer, gold, expected):
    assert reward("open", task, answer, gold) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("[100, 100, 300, 300]", "[100, 100, 300, 300]", 1),
        ('{"bbox_2d": [100, 100, 300, 300], "label": "dog"}', "[100, 100, 300, 300]", 1),
        ("[100, 100, 300, 250]", "[100, 100, 300, 300]", 1),
        ("[100, 100, 300, 200]", "[100, 100, 300, 300]", 0),  # IoU exactly 0.5
        ("[100, 100, 300, 199]", "[100, 100, 300, 300]", 0),
        ("[5, 5, 6, 9]", "[5, 5, 6, 9]", 1),
        ("[0.1, 0.1, 0.2, 0.2]", "[0.1, 0.1, 0.2, 0.2]", 1),
        ("[100, 100, 300, 300], [0, 0, 9, 9]", "[100, 100, 300, 300]", 0),
        ("[[100, 100, 300, 300], [0, 0, 9, 9]]", "[100, 100, 300, 300]", 0),
        ("[[100, 100, 300, 300], [100, 100, 300, 300]]", "[100, 100, 300, 300]", 0),
        ("[[0, 0, 10, 10], [20, 20, 30, 30]]", "[[20, 20, 30, 30], [0, 0, 10, 10]]", 1),
        (
            "[[0, 0, 10, 10], [0, 0, 10, 10]]",
            "[[0, 0, 10, 10], [20, 20, 30, 30]]",
            1,
        ),  # V holds the matched one
        ("[0, 0, 10, 10]", "[[0, 0, 10, 10], [20, 20, 30, 30]]", 1),
        ("[[0, 0, 10, 5], [20, 20, 30, 25]]", "[[0, 0, 10, 10], [20, 20, 30, 30]]", 0),  # mean IoU 0.5
        ("[300, 300, 100, 100]", "[100, 100, 300, 300]", 0),
        ("No Objects", "No Objects", 1),
        ("no objects.", "No Objects", 1),
        ("[100, 100, 300, 300]", "No Objects", 0),
        ("[]", "No Objects", 0),
        ("No Objects", "[100, 100, 300, 300]", 0),
        ("none", "[100, 100, 300, 300]", 0),
        ("", "[100, 100, 300, 300]", 0),
    ],
)
def test_open_detection(answer, gold, expected):
    assert reward("open", "detection", answer, gold) == expected


def test_matching_is_one_to_one_and_takes_the_best_overlap_first():
    whole, most, half = (0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 5)
    assert matched_overlaps([half, most], (whole, most)) == [1.0, 0.5]
    assert matched_overlaps([most, most], (whole,)) == [0.8]
    assert matched_overlaps([half], (whole, most)) == [5 / 8]


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("35", "35", 1),
        ("35°", "35", 1),
        (r"\frac{1}{2}", "0.5", 1),
        ("53", "35", 0),
        ("banana", "35", 0),
        ("A", "A", 1),
        ("(a).", "A", 1),
        ("$A$", "A", 1),
        ("A. 35°", "A", 1),
        ("A, B", "A", 0),
        ("B", "A", 0),
        ("Isosceles  triangle", "isosceles triangle", 1),
        ("triangle", "isosceles triangle", 0),
        ("3 4 5 8", "8", 0),
        ("", "35", 0),
        ("", "A", 0),
    ],
)
def test_open_math(answer, gold, expected):
    assert reward("open", "math", answer, gold) == expected


def test_open_math_reports_a_timeout():
    slow, quick = (
        score("open", "math", f"<answer>{answer}</answer>", "<answer>35</answer>")
        for answer in ("(x+y+z+w)^{99}", "35")
    )
    assert (slow.reward, slow.incident) == (0, MATH_TIMEOUT)
    assert (quick.reward, quick.incident) == (1, None)


@pytest.mark.parametrize(
    ("stage", "task", "answer", "gold", "rule", "read"),
    [
        ("judge", "math", "Yes.", "no", "eq. 2: verdicts, compared", True),
        ("judge", "math", "maybe", "no", "the answer is no verdict", "maybe"),
        ("choice", "classify", "C", "C, A", "eq. 4: a part of the options", ["C"]),
        ("choice", "classify", "It is C", "C", "the answer is no list of options", "It is C"),
        ("open", "classify", "Car, dog", "car", "eq. 5: IoU of label sets", ["car", "dog"]),
        ("open", "detection", "here", "[0, 0, 9, 9]", "the answer is no box", "here"),
        ("open", "math", "x = 2√3", "12", "math: different", r"2\sqrt{3}"),
        ("open", "math", "(b)", "B", "the gold is option letters: options, compared", ["B"]),
    ],
)
def test_a_score_says_what_was_read_and_which_rule_applied(stage, task, answer, gold, rule, read):
    explanation = score(stage, task, f"<answer>{answer}</answer>", f"<answer>{gold}</answer>").explanation()
    assert explanation["rule"] == rule
    assert json.loads(json.dumps(explanation))["answer"] == read


GOLDS = [
    (stage, task, gold) for stage, gold in (("judge", "no"), ("choice", "A, C")) for task in known_tasks()
] + [
    ("open", "detection", "[100, 100, 300, 300]"),
    ("open", "detection", "No Objects"),
    ("open", "classify", "person, traffic light"),
    ("open", "math", r"$\frac{3}{7}$"),
]


@pytest.mark.parametrize(("stage", "task", "gold"), GOLDS)
def test_the_gold_itself_scores_one(stage, task, gold):
    solution = f"<thinking>so</thinking><answer>{gold}</answer>"
    check_gold(stage, task, solution)
    assert accuracy(stage, task, solution, solution) == 1.0


ECHO = "Please provide the bounding box of the dog. A. [10, 20, 110, 220] B. 35 C. person or D. yes"


@pytest.mark.parametrize(("stage", "task", "gold"), GOLDS)
@pytest.mark.parametrize(
    "completion",
    [
        "",
        "<think></think><answer></answer>",
        "<answer> . </answer>",
        f"<answer>{' '.join(str(number) for number in range(101))}</answer>",
        f"<answer>{ECHO}</answer>",
        ECHO,
        "<answer>[[100, 100, 300, 300], [1, 2, 3, 4], [5, 6, 7, 8]]</answer>",
        "<answer>yes no A B C D 35 person</answer>",
        r"<answer>\frac{3}{7}",
    ],
)
def test_what_must_earn_nothing(stage, task, gold, completion):
    assert accuracy(stage, task, completion, f"<answer>{gold}</answer>") == 0.0


@pytest.mark.parametrize(
    ("stage", "task", "solution"),
    [
        ("judge", "math", "<answer>maybe</answer>"),
        ("judge", "math", "yes"),
        ("choice", "classify", "<answer>35</answer>"),
        ("choice", "classify", "<answer></answer>"),
        ("open", "classify", "<answer></answer>"),
        ("open", "classify", "<answer>, .</answer>"),
        ("open", "detection", "<answer>none</answer>"),
        ("open", "detection", "<answer>[100, 100, 100, 100]</answer>"),
        ("open", "detection", "<answer>[]</answer>"),
        ("open", "math", "<answer></answer>"),
        ("open", "math", "35"),
        ("open", "coco_vqa", "<answer>35</answer>"),
        ("judge", "", "<answer>yes</answer>"),
    ],
)
def test_a_gold_that_does_not_parse_is_an_error(stage, task, solution):
    with pytest.raises(GoldError):
        check_gold(stage, task, solution)
    with pytest.raises(GoldError):
        accuracy(stage, task, "", solution)


def test_the_error_is_one_short_line():
    with pytest.raises(
        GoldError, match=r"^solution '<answer>a+\.\.\.' holds no gold for stage judge, task math"
    ) as error:
        check_gold("judge", "math", f"<answer>{'a' * 10_000}</answer>")
    assert len(str(error.value)) < 250
    assert "\n" not in str(error.value)


def test_an_unknown_stage_is_an_error():
    with pytest.raises(InputError, match="unknown stage 'stage1'"):
        check_gold("stage1", "math", "<answer>yes</answer>")


RULES = [case for case in GOLDS if case[:2] != ("open", "math")]


@given(st.sampled_from(RULES), st.text() | st.text(alphabet="<answer>/ []{},.0123456789ACyesno"))
def test_no_completion_raises(rule, text):
    stage, task, gold = rule
    for completion in (text, f"<answer>{text}</answer>"):
        assert 0.0 <= accuracy(stage, task, completion, f"<answer>{gold}</answer>") <= 1.0


@settings(max_examples=40)
@given(st.text(alphabet="0123456789+-*/^{}()\\$ xA.", max_size=30))
def test_no_math_completion_raises(text):
    assert reward("open", "math", text, "35") in (0.0, 1.0)


COORDINATE = st.integers(0, 50)
RAW_BOX = st.tuples(COORDINATE, COORDINATE, st.integers(1, 50), st.integers(1, 50))


@given(RAW_BOX, RAW_BOX, st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_a_common_translation_changes_nothing(answer, gold, dx, dy):
    def text(raw: tuple[int, int, int, int], dx: int, dy: int) -> str:
        x, y, width, height = raw
        return str([x + dx, y + dy, x + dx + width, y + dy + height])

    still = reward("open", "detection", text(answer, 0, 0), text(gold, 0, 0))
    assert reward("open", "detection", text(answer, dx, dy), text(gold, dx, dy)) == still


@given(st.permutations(["person", "Traffic Light", "car"]), st.permutations("ACE"))
def test_order_and_case_do_not_matter(labels, letters):
    assert reward("open", "classify", ", ".join(labels), "car, person, traffic light") == 1.0
    assert reward("choice", "classify", " ".join(letters).lower(), "A,C,E") == 1.0


@pytest.mark.timeout(20)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "text",
    ["<answer>" * 100_000, "{[1,2,3,4]" * 20_000, "[" * 200_000, "[[1,2,3,4]" + ",[1,2,3,4]" * 20_000 + "]"],
)
def test_hostile_text_is_linear(stage, text):
    for rule_stage, task, gold in RULES:
        if rule_stage == stage:
            for completion in (text, f"<answer>{text}</answer>"):
                assert accuracy(stage, task, completion, f"<answer>{gold}</answer>") == 0.0
