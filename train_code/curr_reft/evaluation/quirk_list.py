"""The rules of the released scoring that this project does not follow, with an example each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from curr_reft.answers import maths
from curr_reft.answers.boxes import parse_boxes
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.options import parse_options
from curr_reft.answers.region import extract_answer
from curr_reft.answers.verdicts import parse_yes_no
from curr_reft.rewards.released_answers import (
    NO_BOX,
    clipped_answer,
    closed_block,
    items,
    last_box,
    options,
    tagged_answer,
    yes_no,
)

THOUGHT = "<think>t</think>"
"""The thought of every example that needs no other; left out where examples are shown."""


@dataclass(frozen=True)
class Case:
    """A completion to score: in training (`where` is a stage) or in evaluation (`where` is a suite)."""

    where: str
    task: str
    completion: str
    gold: Any
    """The solution; for RefGTA the whole dataset row."""

    def answer(self) -> str:
        return tagged_answer(self.completion) or ""

    def gold_answer(self) -> str:
        return tagged_answer(str(self.gold)) or ""


@dataclass(frozen=True)
class Quirk:
    """A rule of the released code, an example, and the test for cases that it touches."""

    released: str
    here: str
    example: Case
    touches: Callable[[Case], bool]
    of_format: bool = False


def _tagged(answer: str, thought: str = THOUGHT) -> str:
    return f"{thought}<answer>{answer}</answer>"


def _training(stage: str, task: str, completion: str, gold: str) -> Case:
    return Case(stage, task, completion, f"<answer>{gold}</answer>")


def _is(*places: str) -> Callable[[Case], bool]:
    """Whether a case is in one of these places: a stage, a suite, or a stage and a task as ``open math``."""
    return lambda case: case.where in places or f"{case.where} {case.task}" in places


_open_math = _is("open math", "math_in")


def _reads_other_labels(case: Case) -> bool:
    texts = case.answer(), case.gold_answer()
    return (
        _is("open classify", "classify_in", "classify_out")(case)
        and "[" not in case.answer()
        and any(parse_labels(text) != set(items(text)) for text in texts)
    )


QUIRKS = (
    Quirk(
        "math is right when neither text holds a lone letter A to E",
        "options count only where the gold is one",
        _training("open", "math", _tagged("banana"), "35"),
        lambda case: _open_math(case) and options(case.answer()) == options(case.gold_answer()) == "",
    ),
    Quirk(
        "math is right when one text holds the other, and the empty text is in every other",
        "equality of values or of texts",
        _training("open", "math", _tagged(""), "35"),
        lambda case: (
            _open_math(case) and (case.answer() in case.gold_answer() or case.gold_answer() in case.answer())
        ),
    ),
    Quirk(
        "math-verify reads everything, thoughts too, and takes the completion for the gold",
        "math-verify reads the two answers, gold first",
        _training("judge", "math", _tagged("no", "<think>$x=5$</think>"), "yes $x=5$"),
        lambda case: (
            _is("judge math", "open math", "math_in")(case)
            and maths.compare_whole_texts(case.completion, str(case.gold)) is maths.Verdict.EQUAL
        ),
    ),
    Quirk(
        "yes, true or correct anywhere is a yes",
        "the whole answer is the verdict",
        _training("judge", "classify", _tagged("not correct"), "yes"),
        lambda case: (
            _is("judge")(case)
            and yes_no(case.answer()) is not None
            and parse_yes_no(extract_answer(case.completion) or "") is None
        ),
    ),
    Quirk(
        "a choice is right when neither text holds a letter A to E",
        "no letters, no reward; letters A to Z",
        _training("choice", "classify", _tagged("G"), "F"),
        lambda case: (
            _is("choice")(case)
            and tagged_answer(case.completion) is not None
            and options(case.answer()) == options(case.gold_answer()) == ""
        ),
    ),
    Quirk(
        "lone letters in prose are options",
        "the whole answer is a list of letters",
        _training("choice", "classify", _tagged("a dog"), "A"),
        lambda case: (
            _is("choice")(case) and options(case.answer()) != "" and parse_options(case.answer()) is None
        ),
    ),
    Quirk(
        "options must come in the gold's order",
        "options are a set",
        _training("choice", "classify", _tagged("C, A"), "A,C"),
        lambda case: (
            _is("choice")(case)
            and parse_options(case.answer()) is not None
            and parse_options(case.answer()) == parse_options(case.gold_answer())
        ),
    ),
    Quirk(
        "a part of the right options earns nothing",
        "0.2, as in eq. 4",
        _training("choice", "classify", _tagged("A"), "A,C"),
        lambda case: (
            _is("choice")(case)
            and (parse_options(case.answer()) or set()) < (parse_options(case.gold_answer()) or set())
        ),
    ),
    Quirk(
        "an answer that is not closed counts, in detection and classification without its last character",
        "only a closed block is an answer",
        _training("judge", "classify", "<answer>yes I think", "yes"),
        lambda case: closed_block(case.completion) is None and tagged_answer(case.completion) is not None,
    ),
    Quirk(
        "without tags the whole completion is the answer",
        "no tags, no answer",
        _training("open", "detection", "It is at [10, 20, 110, 220]", "[10, 20, 110, 220]"),
        lambda case: (
            _is("open", "classify_in", "classify_out", "math_in")(case)
            and clipped_answer(case.completion) is None
        ),
    ),
    Quirk(
        "the first block is the answer",
        "the last block is",
        _training("judge", "classify", "<answer>no</answer> wait <answer>yes</answer>", "yes"),
        lambda case: (
            closed_block(case.completion) is not None
            and closed_block(case.completion) != extract_answer(case.completion)
        ),
    ),
    Quirk(
        "a list in brackets earns nothing in training (`ast` is not imported)",
        "lists are read",
        _training("open", "classify", _tagged('["person", "car"]'), "person, car"),
        lambda case: _is("open classify")(case) and "[" in (clipped_answer(case.completion) or ""),
    ),
    Quirk(
        "labels are split on white space",
        "labels are split on commas",
        _training("open", "classify", _tagged("light traffic"), "traffic light"),
        _reads_other_labels,
    ),
    Quirk(
        "labels differ by case, quotes and a final dot",
        "labels are compared without them",
        _training("open", "classify", _tagged("Person, car."), "person, car"),
        _reads_other_labels,
    ),
    Quirk(
        "the last of several boxes counts, in prose too",
        "no more boxes than the gold has, as JSON",
        _training("open", "detection", _tagged("[0, 0, 5, 5] or [10, 20, 110, 220]"), "[10, 20, 110, 220]"),
        lambda case: _is("open detection", "detection_in", "refgta")(case) and case.answer().count("[") > 1,
    ),
    Quirk(
        "a box may stand in prose, in a string or in half a JSON text",
        "the whole answer is JSON",
        _training("open", "detection", _tagged("at [10, 20, 110, 220]."), "[10, 20, 110, 220]"),
        lambda case: (
            _is("open detection", "detection_in", "refgta")(case)
            and last_box(case.answer()) != NO_BOX
            and parse_boxes(extract_answer(case.completion) or "") is None
        ),
    ),
    Quirk(
        "evaluation takes a box from the thoughts when the answer has none",
        "only the answer counts",
        Case(
            "detection_in",
            "detection",
            _tagged("there", "<think>[10, 20, 110, 220]</think>"),
            "<answer>[10, 20, 110, 220]</answer>",
        ),
        lambda case: _is("detection_in", "refgta")(case) and last_box(case.answer()) == NO_BOX,
    ),
    Quirk(
        "a choice without answer tags is given to math-verify",
        "no tags, no answer",
        _training("choice", "math", "The answer is $35$.", "$35$"),
        lambda case: _is("choice")(case) and tagged_answer(case.completion) is None,
    ),
    Quirk(
        "an overlap one pixel wide is none",
        "IoU is exact",
        _training("open", "detection", _tagged("[5, 5, 6, 9]"), "[5, 5, 6, 9]"),
        lambda case: (
            _is("open detection", "detection_in")(case)
            and any(min(x2 - x1, y2 - y1) <= 1 for x1, y1, x2, y2 in parse_boxes(case.gold_answer()) or [])
        ),
    ),
    Quirk(
        "a superset of the labels is right, and every answer is when the gold is empty",
        "equal label sets",
        Case("classify_in", "classify", _tagged("person, car, dog, bus"), "<answer>person, car</answer>"),
        lambda case: (
            _is("classify_in", "classify_out")(case)
            and set(items(case.gold_answer()))
            <= set(items(clipped_answer(case.completion) or case.completion))
        ),
    ),
    Quirk(
        "a count is right when its digits stand anywhere in the output",
        "the answer is the number",
        Case("math_out", "math", _tagged("13"), 3),
        _is("math_out"),
    ),
    Quirk(
        "RefGTA: right in any of three pixel frames, in one of them above 0.49",
        "the frame of the image shown, above 0.5",
        Case(
            "refgta",
            "detection",
            _tagged("[700, 320, 940, 880]"),
            {
                "solution": [700, 320, 940, 880],
                "normalized_solution": [365, 296, 490, 815],
                "resize_solution": [318, 145, 427, 399],
            },
        ),
        _is("refgta"),
    ),
    Quirk(
        "format: detection rows must hold a JSON box in judge and choice too",
        "only in the open stage",
        _training("judge", "detection", _tagged("yes"), "yes"),
        _is("judge detection", "choice detection"),
        of_format=True,
    ),
    Quirk(
        "format: a box must be whole numbers inside braces, without a space after the bracket",
        "whatever the accuracy reward reads as a box",
        _training("open", "detection", _tagged("[10, 20, 110, 220]"), "[10, 20, 110, 220]"),
        _is("open detection"),
        of_format=True,
    ),
    Quirk(
        "format: doubled tags and empty blocks pass, a final newline does not",
        "each tag once, an answer, white space around is fine",
        _training("open", "math", "<think><think></think><answer></answer>", "35"),
        lambda case: _is("judge", "choice", "open")(case) and case.task != "detection",
        of_format=True,
    ),
)
