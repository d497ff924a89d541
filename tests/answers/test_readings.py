"""The two readings of whole completions: what each pays, and that tolerance pays nothing wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curr_reft.answers.reading import READINGS
from curr_reft.rewards.paper import score

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").open(encoding="utf-8")]
GOLD_BOX = "[14.67, 133.56, 121.84, 469.68]"
PROBLEM = "What is it?\nA. 35 cm\nB. a dog\nC. 40\nD. 35"


def rewards(stage: str, task: str, completion: str, gold: str, problem: str = "") -> list[bool]:
    """Whether each reading pays all of the reward."""
    solution = f"<answer>{gold}</answer>"
    return [score(stage, task, completion, solution, each, problem).reward == 1 for each in READINGS]


def in_a_block(answer: str) -> str:
    return f"<think>t</think><answer>{answer}</answer>"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["completion"][-40:])
def test_answers_as_published_models_write_them(case):
    found = [
        score(case["stage"], case["task"], case["completion"], case["solution"], reading).reward == 1
        for reading in READINGS
    ]
    assert found == [case["strict"] == 1, case["tolerant"] == 1]


@pytest.mark.parametrize(
    ("answer", "strict", "tolerant"),
    [
        ('```json\n{"box": [16, 135, 140, 468]}\n```json', True, True),
        ('```json{"box": [16, 135, 140, 468]}```', True, True),
        ('```json\n[{"box": [16, 135, 140, 468]}]', True, True),
        ('```\n{"box": [16, 135, 140, 468]}\n```', True, True),
        ('```JSON\n{"box": [16, 135, 140, 468]}\n```', True, True),
        ('{"box": [16, 135, 140, 468]}', True, True),
        ('[{"box": [16, 135, 140, 468]}]', True, True),
        ("[16,135,140,468]", True, True),
        (r"\boxed{[16,135,140,468]}", True, True),
        ("**[16,135,140,468]**", True, True),
        ('The box is {"box": [16, 135, 140, 468]}', False, False),
        ('Here:\n```json\n{"box": [16, 135, 140, 468]}\n```', False, True),
        ('```json\n{"box": [16, 135, 140, 468]}\n```\nDone.', False, True),
        ('[{"box": [16, 135, 140, 468]},{"box": [16, 135, 140, 468]}]', False, True),
        ('[{"box": [16, 135, 140, 468]},{"box": [17, 135, 140, 468]}]', False, False),
        (
            '```json\n{"box": [16, 135, 140, 468]}\n```\n```json\n{"box": [300, 135, 400, 468]}\n```',
            False,
            False,
        ),
        (
            '```json\n{"box": [300, 135, 400, 468]}\n```\n```json\n{"box": [16, 135, 140, 468]}\n```',
            False,
            True,
        ),
        ("No Objects", False, False),
        ('```json\n{"box": [16, 135, 140, 468]}\n``` json', False, True),
        ("[[16,135,140,468]]", True, True),
        ('["16",135,140,468]', False, False),
        ('{"a":[16,135,140,468],"b":[1,2,3,4]}', False, False),
        ("[16,135,140,468], [1,2,3,4]", False, False),
        (r"\boxed{[16,135,140,468]} \boxed{[1,2,3,4]}", False, False),
    ],
)
def test_boxes_in_a_block(answer, strict, tolerant):
    assert rewards("open", "detection", in_a_block(answer), GOLD_BOX) == [strict, tolerant]


@pytest.mark.parametrize(
    ("completion", "gold", "strict", "tolerant"),
    [
        (
            '<think>t</think>\nThe man is here: ```json\n{"box": [16, 135, 140, 468]}\n```',
            GOLD_BOX,
            False,
            True,
        ),
        ('<think>t</think><answer>{"box": [16, 135, 140, 468]}', GOLD_BOX, False, True),
        ('<think>{"box": [16, 135, 140, 468]}</think>', GOLD_BOX, False, False),
        ('<think>maybe {"box": [16, 135, 140, 468]}', GOLD_BOX, False, False),
        ('The answer is {"box": [16, 135, 140, 468]}', GOLD_BOX, False, True),
        ("It is at [16, 135, 140, 468].", GOLD_BOX, False, False),
        ("No Objects", "No Objects", False, True),
        ("<think>x</think><answer>[]</answer>", "No Objects", False, False),
    ],
)
def test_boxes_elsewhere(completion, gold, strict, tolerant):
    assert rewards("open", "detection", completion, gold) == [strict, tolerant]


@pytest.mark.parametrize(
    ("answer", "gold", "strict", "tolerant"),
    [
        ("B", "B", True, True),
        ("b", "B", True, True),
        ("**B**", "B", True, True),
        ("**B.** ionic", "B", True, True),
        ("B. ionic bonds", "B", True, True),
        ("(B) ionic", "B", True, True),
        ("B) ionic", "B", True, True),
        ("B: ionic", "B", True, True),
        ("B：ionic", "B", True, True),  # noqa: RUF001
        ("[B]", "B", True, True),
        (r"$\text{B}$", "B", True, True),
        (r"\text{(B)}", "B", True, True),
        (r"\textbf{B}", "B", True, True),
        ("A. Vitamin C.", "A", True, True),
        ("A. 3 B. 4", "A", False, False),
        ("A. 3 B. 4", "A, B", True, True),
        ("A. person, C. dog", "A, C", True, True),
        ("D. Both A. and B.", "D", True, True),
        ("A. person, C. dog", "A", False, False),
        ("It is C", "C", False, False),
        ("The answer is C", "C", False, True),
        ("Answer: C", "C", False, True),
        ("The correct answer is D. 35 cm", "D", False, True),
        ("The correct option is (D).", "D", False, True),
        ("C or D", "C", False, False),
        ("not C", "C", False, False),
        ("ACE", "A,C,E", False, False),
        ("A/C", "A,C", True, True),
        ("A & C", "A, C", True, True),
        ("A and C", "C, A", True, True),
        (r"B \boxed{B}", "B", True, True),
        ("B\n\\boxed{C}", "C", False, False),
        (r"\boxed{B}\boxed{C}", "C", False, False),
        (r"\boxed{B} or \boxed{C}", "C", False, False),
        ("```\nB\n```", "B", True, True),
        ("B. U.S. Steel", "B", True, True),
        ("b. ionic", "B", False, False),
        ("Option B", "B", False, False),
        ("A. A", "A", True, True),
        ("A, B, C, D", "A", False, False),
        ("", "A", False, False),
        ("?", "A", False, False),
        ("I", "I", True, True),
        ("The answer is not C", "C", False, False),
        ("C. x\nA. y", "A, C", True, True),
        ("A.C", "A", False, False),
        ("A:B", "A", False, False),
    ],
)
def test_options_in_a_block(answer, gold, strict, tolerant):
    assert rewards("choice", "math", in_a_block(answer), gold) == [strict, tolerant]


@pytest.mark.parametrize(
    ("completion", "gold", "strict", "tolerant"),
    [
        ("<think>t</think>\n\nThe shape is round.\n\nAnswer: B", "B", False, True),
        ("<think>t</think>\n\n**Answer: B**", "B", False, True),
        ("<think>t</think>\n\n**Final Answer:** B. dog", "B", False, True),
        (r"so \boxed{B} hence", "B", False, True),
        (r"first \boxed{A}. No: \boxed{B}.", "B", False, True),
        ("A looks right but B", "B", False, False),
    ],
)
def test_options_elsewhere(completion, gold, strict, tolerant):
    assert rewards("choice", "math", completion, gold) == [strict, tolerant]


@pytest.mark.parametrize(
    ("answer", "gold", "strict", "tolerant"),
    [
        ("Yes", "yes", True, True),
        ("**Yes**", "yes", True, True),
        (r"\boxed{yes}", "yes", True, True),
        (r"\text{no}", "no", True, True),
        ("Yes, it is", "yes", False, False),
        ("The answer is yes.", "yes", False, True),
        ("yes and no", "yes", False, False),
        ("```\nyes\n```", "yes", True, True),
        ("not yes", "yes", False, False),
        ("Answer: no", "no", False, True),
        ("True", "yes", True, True),
        ("yes\n\\boxed{yes}", "yes", True, True),
        (r"no \boxed{yes}", "yes", False, False),
    ],
)
def test_verdicts_in_a_block(answer, gold, strict, tolerant):
    assert rewards("judge", "classify", in_a_block(answer), gold) == [strict, tolerant]


@pytest.mark.parametrize(
    ("answer", "gold", "strict", "tolerant"),
    [
        ("person, car", "car, person", True, True),
        ("**person**, **car**", "car, person", True, True),
        (r"\boxed{person, car}", "car, person", True, True),
        ("The answer is person, car.", "car, person", False, True),
        ("Answer: person, car", "car, person", False, True),
        ("The image shows a person.\n\\boxed{person}", "person", False, True),
        ('```json\n["person"]\n```json', "person", True, True),
        ("['person', 'car']", "person, car", True, True),
        (r"\text{person}", "person", True, True),
        ("person and car", "person, car", True, True),
    ],
)
def test_labels_in_a_block(answer, gold, strict, tolerant):
    assert rewards("open", "classify", in_a_block(answer), gold) == [strict, tolerant]


@pytest.mark.parametrize("stage", ["choice", "open"])
@pytest.mark.parametrize(
    ("answer", "gold", "tolerant"),
    [
        ("a dog", "B", True),
        ("A dog.", "B", True),
        ("40", "C", True),
        ("35", "D", True),
        ("a cat", "B", False),
        ("dog", "B", False),
        ("The answer is a dog.", "B", True),
        ("35 cm", "A", True),
        ("**a dog**", "B", True),
        ("a dog or 40", "B", False),
    ],
)
def test_the_text_of_an_option(stage, answer, gold, tolerant):
    assert rewards(stage, "math", in_a_block(answer), gold, PROBLEM) == [False, tolerant]


@pytest.mark.parametrize(
    ("problem", "tolerant"),
    [
        ("Which? A. a cat B. a dog C. a cow", True),
        ("Which? (A) a cat (B) a dog", True),
        ("Which? A. a dog B. a dog", False),
        ("Which?", False),
        ("", False),
    ],
)
def test_options_in_one_line(problem, tolerant):
    assert rewards("choice", "classify", in_a_block("a dog"), "B", problem) == [False, tolerant]


@pytest.mark.parametrize(
    ("answer", "gold", "tolerant"),
    [
        ("53 = 35", "35", False),
        ("35 = 35", "35", True),
        ("5 * 7 = 35", "35", True),
        ("5 * 7 = 36", "36", False),
        ("AB = 5 * 7 = 35", "35", True),
        ("AB = 5*7 = 35", "CD = 35", False),
        ("AB = CD = 35", "35", True),
        ("x = 2y = 10", "10", True),
        ("a + b = 5", "5", True),
        ("a + b = 5", "6", False),
        ("Perimeter = 28 mm", "28", True),
        ("Perimeter = 4 * 7 = 28 mm", "28 mm", True),
        ("The area = 28", "28", True),
        ("It is not true that x = 35", "35", False),
        ("x is not = 35", "35", False),
        ("x = 35 or x = 36", "36", False),
        ("x = 5, y = 3 + 2 = 5", "5", False),
        ("35 ≠ 36 = 36", "36", False),
        ("1/2 = 0.5", "0.5", True),
        ("1/3 = 0.33", "0.33", False),
        ("√2 = 1.414214", "1.414214", True),
        ("sin 30° = 0.5", "0.5", False),
        ("y^2 - x^2 = 9", "x^2-y^2=9", False),
        ("y^2 - x^2 = 9", "9", True),
        ("x = 1 = 2", "2", False),
        ("2 == 2", "2", False),
        ("= 35", "35", False),
        ("35 =", "35", False),
        ("5 m = 500 cm", "500 cm", False),
        ("10.8 = 10.8 m", "10.8m", True),
        ("The answer is 35.", "35", True),
        ("The answer is: 35", "35", True),
        ("the final answer is $35$.", "35", True),
        ("Therefore, the answer is 35°", "35", True),
        ("So the correct answer is 35 cm.", "35", True),
        ("Answer: 35", "35", True),
        ("Final answer: 35", "35", True),
        (r"Final Answer: \boxed{35}", "35", True),
        ("The answer is 36, not 35", "35", False),
        ("The answer is not 35", "35", False),
        ("The answer is 35 or 36", "35", False),
        ("The answer is either 35 or 36", "36", False),
        (r"The area is \boxed{35} cm²", "35", True),
        (r"Either \boxed{34} or \boxed{35}", "35", False),
        (r"\boxed{34}, \boxed{35}", "35", False),
        (r"Not \boxed{34} but clearly \boxed{35}", "35", True),
        (r"34 \boxed{35}", "35", False),
        ("I think 35", "35", False),
        ("35. This is since 5*7 = 35", "35", False),
        ("x = 3\ny = 4", "4", False),
        ("Answer: x = 35", "35", True),
        ("The angle is 35.\nAnswer: 36", "35", False),
        ("The answer is B. 35", "B", True),
        ("A = πr² = 25π", "25π", True),
        (r"A = \pi r^2 = 25\pi", "25π", True),
        ("Answer: 5 * 7 = 35", "35", True),
        ("V = 3 * 4 * 5 = 60 cm³", "60 cm^2", False),
        ("30 + 40 = 70°", "70", True),
        ("180 - 110 = 60", "60", False),
        ("2x = 10, x = 5", "5", False),
    ],
)
def test_values_in_a_block(answer, gold, tolerant):
    assert rewards("open", "math", in_a_block(answer), gold)[1] is tolerant


@pytest.mark.parametrize(
    ("completion", "gold", "tolerant"),
    [
        ("35", "35", True),
        ("The answer is 35", "35", True),
        ("<think>5*7=35</think>35", "35", True),
        ("<think>5*7=35</think>\n\n35", "35", True),
        ("<think>35</think>", "35", False),
        ("<think>x</think><answer>35", "35", True),
        ("<answer>34</answer>35", "35", False),
        ("<answer>34</answer><answer>35", "35", False),
        ("<answer>34</answer><answer>35", "34", True),
        ("<think>t</think>\n\nTherefore, the measure of angle BOC is \\boxed{140}.", "140°", True),
        (r"\boxed{140}", "140", True),
        (r"\boxed{140", "140", False),
        ("lots of text\nThe answer is 140.", "140", True),
        ("lots of text. The answer is 140.", "140", True),
        ("It is 70 * 2 = 140. Therefore, the answer is 140°.", "140", True),
        ("The answer is 70. Wait. The answer is 140.", "140", True),
        ("The answer is 140. No, the answer is 70.", "140", False),
        ("It is wrong to say that the answer is 140.", "140", False),
        ("lots of text. The answer is 140, or 150.", "140", False),
        ("lots of text. The answer is 140. Thanks.", "140", False),
        ("lots\n\n**Answer:** 140", "140", True),
        ("lots\nAnswer: 140\nThanks", "140", False),
        ("<answer></answer>", "35", False),
        (r"<think>\boxed{35}</think><answer>36</answer>", "35", False),
        (r"<think>\boxed{35}</think> so 36", "35", False),
        (r"<answer>The result is $\boxed{\frac{1}{2}}$</answer>", "0.5", True),
        (r"<answer>x</answer> \boxed{35}", "35", False),
    ],
)
def test_values_elsewhere(completion, gold, tolerant):
    assert rewards("open", "math", completion, gold)[1] is tolerant


@pytest.mark.parametrize(
    ("completion", "found"),
    [
        ("<think>t</think><answer>35</answer>", "the last closed answer block"),
        (r"<think>t</think> so \boxed{35}.", r"behind the thoughts; the last \boxed"),
        (
            "<think>t</think><answer>5 * 7 = 35",
            "an answer block that does not close; the last member of a chain of equalities",
        ),
        ("The answer is 35.", "the whole text; named as the answer in the last line"),
    ],
)
def test_an_explanation_names_the_rules_that_found_the_answer(completion, found):
    result = score("open", "math", completion, "<answer>35</answer>", "tolerant")
    assert (result.reward, result.explanation()["found"]) == (1, found)


GOLDS = [
    ("judge", "classify", "yes"),
    ("choice", "classify", "A, C"),
    ("open", "detection", "[10, 20, 110, 220]"),
    ("open", "classify", "person, traffic light"),
    ("open", "math", "35"),
    ("open", "math", "x = 5 cm"),
    ("open", "math", "9, 10"),
    ("open", "math", "A"),
]
PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", r"\boxed{", "}", "$", "**", "```json\n", "```"),
    *("\n", " ", "=", ",", "35", "yes", "A", "C", "A. ", "(C) ", "person", "traffic light"),
    *("[10, 20, 110, 220]", "5 cm", "x", "9", "10", "and"),
    *("The answer is ", "Answer: ", "or ", "not ", "35°", "[10, 20, 110, 220],"),
]


@settings(max_examples=400)
@given(
    st.sampled_from(GOLDS), st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text(max_size=30)
)
def test_what_strict_pays_tolerant_pays_and_no_text_raises(row, text):
    stage, task, gold = row
    for completion in (text, in_a_block(text)):
        strict, tolerant = (
            score(stage, task, completion, f"<answer>{gold}</answer>", reading, text) for reading in READINGS
        )
        assert 0 <= strict.reward <= tolerant.reward <= 1
        json.dumps(tolerant.explanation())


@given(
    st.sampled_from(GOLDS),
    st.sampled_from(["", "<think></think>", "<answer></answer>", "<answer>", "?", "I do not know."]),
)
def test_an_empty_answer_earns_nothing(row, completion):
    stage, task, gold = row
    assert rewards(stage, task, completion, gold) == [False, False]


def hostile_texts(length: int) -> Iterator[str]:
    for piece in (
        *PIECES,
        "{[1,2,3,4]",
        "[",
        "{",
        r"\text{",
        "√",
        "1=",
        "1e",
        "a, b and ",
        r"\(",
        "^{2",
        "- ",
        r"\boxed{1} or ",
    ):
        body = (piece * (length // len(piece) + 1))[:length]
        yield body
        yield in_a_block(body)
        yield in_a_block(rf"\boxed{{{body}}}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("row", GOLDS[:5], ids=str)
def test_hostile_texts_of_100_kb_come_to_an_end(row):
    # That none of these takes long is the benchmark's to show; quadratic time would be hours.
    stage, task, gold = row
    for text in (*hostile_texts(20_000), *hostile_texts(100_000)):
        for reading in READINGS:
            assert score(stage, task, text, f"<answer>{gold}</answer>", reading, text).reward <= 1
