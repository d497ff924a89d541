"""Parsing: the rules' own examples, hostile text, and that nothing raises."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.answers.boxes import is_no_objects, parse_boxes
from curr_reft.answers.counts import parse_number
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.options import parse_options
from curr_reft.answers.region import extract_answer
from curr_reft.answers.verdicts import parse_yes_no

PARSERS = [
    extract_answer,
    parse_yes_no,
    parse_options,
    parse_labels,
    parse_boxes,
    is_no_objects,
    parse_number,
]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>x</think><answer> 35\n</answer>", "35"),
        ("<answer>A</answer> so <answer>B</answer>", "B"),
        ("in <answer> </answer> tags <answer>yes</answer>", "yes"),
        ("<answer>a<answer>b</answer></answer>", "b"),
        ("<answer>a</answer></answer>", "a"),
        ("<answer>a</answer><answer>b", "a"),
        ("<answer></answer>", ""),
        ("<answer>yes I think, not sure", None),
        ("</answer><answer>", None),
        ("<ANSWER>a</ANSWER>", None),
        ("35", None),
        ("", None),
    ],
)
def test_answer_is_the_last_closed_block(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "answer", ["yes", "Yes", " YES. ", "true", '"yes"', '"Yes."', "'True'.", "yes!", "“yes”"]
)
def test_yes(answer):
    assert parse_yes_no(answer) is True


@pytest.mark.parametrize("answer", ["no", "No.", "FALSE", "`no`", "no!"])
def test_no(answer):
    assert parse_yes_no(answer) is False


@pytest.mark.parametrize(
    "answer",
    [
        *("", "not correct", "correct", "yes or no", "yes no", "No, it is not correct", "Yes, correct."),
        *("y", "A", "1"),
    ],
)
def test_no_verdict(answer):
    assert parse_yes_no(answer) is None


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        *(("A", "A"), ("b", "B"), ("F", "F"), ("(A)", "A"), ("A.", "A"), ("[B]", "B"), ("(A.)", "A")),
        *(("A,C", "AC"), ("C, A", "AC"), ("A; C", "AC"), ("A C", "AC"), ("A\nC", "AC"), ("A and C", "AC")),
        *(("A, B, and C", "ABC"), ("A & C", "AC"), ("A/C", "AC")),
        ("A，C", "AC"),  # noqa: RUF001
        ("A、C；E", "ACE"),  # noqa: RUF001
        ("[A, C]", "AC"),
        ("[ A, C ]", "AC"),
        ("((A), (C))", "AC"),
        ("A. C.", "AC"),
        ("A, A", "A"),
    ],
)
def test_options(answer, letters):
    assert parse_options(answer) == frozenset(letters)


@pytest.mark.parametrize(
    "answer",
    [
        *("", "a dog", "It is C", "It is a C", "ACE", "AB", "I'd guess 30", "∠D = 35°", "and", "[]", "A.C"),
        *("1", "Ä", "\u017f", "35"),
    ],
)
def test_no_options(answer):
    assert parse_options(answer) is None


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("person, car", {"person", "car"}),
        ("Person, Car.", {"person", "car"}),
        ("person;car", {"person", "car"}),
        ("person\ncar", {"person", "car"}),
        ("person，car、dog；cat", {"person", "car", "dog", "cat"}),  # noqa: RUF001
        ("person and car", {"person", "car"}),
        ("person, car, and dog", {"person", "car", "dog"}),
        ("person，and car", {"person", "car"}),  # noqa: RUF001
        ("stand, handbag", {"stand", "handbag"}),
        ("traffic light", {"traffic light"}),
        ("traffic \t light", {"traffic light"}),
        ('["person", "Traffic Light"]', {"person", "traffic light"}),
        ("['person', 'car']", {"person", "car"}),
        ('```json\n["person", "car"]\n```', {"person", "car"}),
        ("```python\n['person', 'car']```", {"person", "car"}),
        ("```\nperson, car\n```", {"person", "car"}),
        ('["salt and pepper"]', {"salt and pepper"}),
        ("[person, car]", {"person", "car"}),
        ('"person", "car".', {"person", "car"}),
        ("person,, ,car,", {"person", "car"}),
        ("person, person", {"person"}),
        ("", set()),
        ("[]", set()),
        (" , . ;", set()),
    ],
)
def test_labels(answer, labels):
    assert parse_labels(answer) == labels


BOX = (10.0, 20.0, 110.0, 220.0)


@pytest.mark.parametrize(
    ("answer", "boxes"),
    [
        ("[10, 20, 110, 220]", [BOX]),
        ("[10.0,20,1.1e2,220]", [BOX]),
        ("[[10, 20, 110, 220]]", [BOX]),
        ('{"bbox_2d": [10, 20, 110, 220], "label": "dog"}', [BOX]),
        ('{"b": [10, 20, 110, 220], "size": [3, 4]}', [BOX]),
        ('[{"bbox_2d": [10, 20, 110, 220]}, {"x": [0, 0, 5, 5]}]', [BOX, (0.0, 0.0, 5.0, 5.0)]),
        ('```json\n[{"bbox_2d": [10, 20, 110, 220], "label": "dog"}]\n```', [BOX]),
        ("```json [10, 20, 110, 220] ```", [BOX]),
        ("[-5, -5.5, 5, 5]", [(-5.0, -5.5, 5.0, 5.0)]),
        ("[[10, 20, 110, 220], [5, 5, 5, 9]]", [BOX]),
        ("[300, 300, 100, 100]", []),
        ("[100, 100, 100, 100]", []),
        ("[0, 0, 1e-200, 1e-200]", []),
        ("[0, 0, 1e200, 1e200]", []),
        ("[]", []),
    ],
)
def test_boxes(answer, boxes):
    assert parse_boxes(answer) == boxes


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "none",
        "No Objects",
        "the box is [10, 20, 110, 220]",
        "[10, 20, 110, 220] or [right]",
        '{"b": [1, 2, 3, 4]} yes',
        "[10, 20, 110]",
        "[10, 20, 110, 220, 5]",
        '["10", 20, 110, 220]',
        "[true, false, true, true]",
        "[NaN, 0, 1, 1]",
        "[0, 0, Infinity, 1]",
        "[0, 0, 1e999, 1]",
        "[0, 0, 1" + "0" * 400 + ", 1]",
        "[0, 0, " + "9" * 5000 + ", 1]",
        "[[10, 20, 110, 220], []]",
        '[[10, 20, 110, 220], {"label": "dog"}]',
        "[10, 20, 110, [220]]",
        "[[[10, 20, 110, 220]]]",
        '{"a": [10, 20, 110, 220], "b": [0, 0, 5, 5]}',
        '{"label": "dog"}',
        "{[1,2,3,4]",
        "[１, 2, 3, 4]",  # noqa: RUF001
        "null",
        "35",
        '"[1, 2, 3, 4]"',
        "[" * 100_000,
        "[" * 50_000 + "]" * 50_000,
        '{"a":' * 50_000,
    ],
)
def test_no_boxes(answer):
    assert parse_boxes(answer) is None


@pytest.mark.parametrize("answer", ["No Objects", "no objects.", ' "No  Objects" ', "NO OBJECTS"])
def test_no_objects(answer):
    assert is_no_objects(answer)


@pytest.mark.parametrize("answer", ["", "none", "No Objects at all", "[]", "There are no objects"])
def test_not_no_objects(answer):
    assert not is_no_objects(answer)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        *(("3", 3), (" 3 ", 3), ("3.", 3), ("4.0", 4), ("4.0.", 4), ("13", 13), ("-2", -2), ("007", 7)),
        *(("zero", 0), ("Three", 3), ("three.", 3), ("TWENTY", 20)),
    ],
)
def test_number(answer, number):
    assert parse_number(answer) == number


@pytest.mark.parametrize(
    "answer",
    [
        *("", "3.5", "3 4 5 6 7 8 9 10", "1 2 3 4", "three four", "3 objects", "there are 3", "٣", "3.."),
        *("twenty-one", "9" * 5000, "."),
    ],
)
def test_no_number(answer):
    assert parse_number(answer) is None


@given(st.text() | st.text(alphabet="<answer>/ \n,.;[]{}()\"'`:0123456789AaBbyesno-"))
def test_no_text_raises(text):
    for parse in PARSERS:
        parse(text)
    assert extract_answer(f"<think>t</think><answer>{text}</answer>") is not None


@given(
    st.sets(st.sampled_from(string.ascii_uppercase), min_size=1),
    st.randoms(),
    st.sampled_from([",", " ", "; ", " and "]),
)
def test_options_ignore_order_and_case(letters, random, separator):
    listed = [random.choice((letter, letter.lower())) for letter in letters]
    random.shuffle(listed)
    assert parse_options(separator.join(listed)) == letters


@given(st.sets(st.sampled_from(["person", "traffic light", "car", "dining table"])), st.randoms())
def test_labels_ignore_order_and_case(labels, random):
    listed = [random.choice((label, label.upper(), label.title())) for label in labels]
    random.shuffle(listed)
    assert parse_labels(", ".join(listed)) == labels


HOSTILE = {
    "unclosed answers": "<answer>" * 100_000,
    "nested answers": "<answer>" * 15_000 + "</answer>" * 15_000,
    "closings": "</answer>" * 25_000,
    "unclosed boxes": "{[1,2,3,4]" * 20_000,
    "many boxes": "[" + "[1,2,3,4]," * 20_000 + "[1,2,3,4]]",
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 40_000,
    "digits": "9" * 200_000,
    "big integer": "[" + "9" * 200_000 + ",1,2,3]",
    "zeros": "4." + "0" * 200_000 + "x",
    "spaces": " " * 1_000_000,
    "words": "and " * 50_000,
    "commas": "," * 200_000,
    "letters": "A " * 100_000,
    "quotes": "'\"" * 100_000,
    "fences": "```" * 70_000,
    "escapes": '["' + "\\" * 200_000,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_linear(text):
    for parse in PARSERS:
        parse(text)
