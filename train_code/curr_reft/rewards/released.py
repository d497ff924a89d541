"""The released rewards, reproduced row by row (`Stage{1_judge,2_choice,3_open}_math_resize.py`).

For measuring what their quirks do; `quirks` lists them with an example each. No text makes a function raise:
where the released code swallows an exception, the row keeps the reward it had.
"""

import operator
import re
from collections.abc import Sequence

from curr_reft.answers import maths
from curr_reft.rewards.released_answers import (
    NO_BOX,
    clipped_answer,
    closed_block,
    first_box,
    items,
    last_box,
    options,
    tagged_answer,
    yes_no,
)
from curr_reft.tasks.score import MATH_TIMEOUT, GoldError, Score

IOU_TO_BEAT = 0.5

_BOUNDARY = re.compile(r"</think>\s*+<answer>")
_JSON_BOX = re.compile(r"\[\d++,\s*+\d++,\s*+\d++,\s*+\d++\]")


def score(stage: str, task: str, completion: str, solution: str) -> Score:
    """The released accuracy of a completion; a task the stage does not know earns 0."""
    if stage == "judge":
        return _judge(task, completion, solution)
    if stage == "choice":
        return _choice(completion, solution)
    if task not in _OPEN_RULES:
        return Score(0.0, f"unknown task {task}")
    return _OPEN_RULES[task](completion, solution)


def check_gold(stage: str, task: str, solution: str) -> None:
    """Refuse rows of other tasks and stages; the released code scores whatever gold it is given.

    Raises:
        GoldError: for a task or stage that the release does not have.
    """
    if task not in _OPEN_RULES or stage not in ("judge", "choice", "open"):
        raise GoldError(f"the released rewards know no task {task!r} in stage {stage!r}; use variant paper")


def score_format(stage: str, task: str, completion: str) -> Score:
    """1 for ``<think>…</think> <answer>…</answer>`` from first to last character, in all stages alike.

    Tags may be doubled and blocks empty; a detection answer must hold a box of whole numbers with ``{``
    before and ``}`` after it, in judge and choice too. The released pattern takes time beyond the cube of the
    length; this finds the same in linear time.
    """
    boundary = _BOUNDARY.search(completion, len("<think>"))
    end = len(completion) - len("</answer>")
    tagged = completion.startswith("<think>") and completion.endswith("</answer>")
    if not tagged or boundary is None or boundary.end() > end:
        return Score(0.0, "not <think>…</think> <answer>…</answer> from first to last character")
    if task == "detection":
        brace = completion.find("{", boundary.end(), end)
        box = _JSON_BOX.search(completion, brace + 1, end) if brace >= 0 else None
        if box is None or "}" not in completion[box.end() : end]:
            return Score(0.0, "no {… [x1, y1, x2, y2] …} in whole numbers")
    return Score(1.0, "well-formed")


def iou(box1: Sequence[float], box2: Sequence[float], whole_pixels: bool = False) -> float:
    """The released IoU of two boxes in pixels; an overlap of one pixel's width or height counts as none.

    The released evaluators cut the corners of the overlap to whole pixels, the rewards do not.

    Raises:
        ZeroDivisionError: when the (signed) union is 0.
    """
    cut = int if whole_pixels else operator.pos
    left, top = (max(cut(box1[side]), cut(box2[side])) for side in (0, 1))
    right, bottom = (min(cut(box1[side] - 1), cut(box2[side] - 1)) for side in (2, 3))
    overlap = (right - left + 1) * (bottom - top + 1) if left < right and top < bottom else 0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (box1, box2)]
    return float(overlap) / (sum(areas) - overlap)


def score_whole_texts(completion: str, solution: str) -> Score:
    """1 if math-verify finds the two whole texts equal."""
    verdict = maths.compare_whole_texts(completion, solution)
    incident = MATH_TIMEOUT if verdict is maths.Verdict.TIMEOUT else None
    equal = verdict is maths.Verdict.EQUAL
    return Score(
        float(equal), f"math-verify on the whole texts: {verdict.value}", completion, solution, incident
    )


def score_math(completion: str, solution: str, answer: str | None, gold: str | None) -> Score:
    """Open math, in training and evaluation: one of three rules is enough, the last two on the answers."""
    verified = score_whole_texts(completion, solution)
    if verified.reward:
        return verified
    if answer is None or gold is None:
        return Score(0.0, "no answer tag", answer, gold, verified.incident)
    if options(answer) == options(gold):
        return Score(1.0, "equal lone letters, or none in both", answer, gold, verified.incident)
    if gold in answer or answer in gold:
        return Score(1.0, "one text holds the other", answer, gold, verified.incident)
    return Score(0.0, "no rule applies", answer, gold, verified.incident)


def _judge(task: str, completion: str, solution: str) -> Score:
    answer, gold = (yes_no(tagged_answer(text) or "") for text in (completion, solution))
    incident = None
    if task == "math":
        verified = score_whole_texts(completion, solution)
        if verified.reward:
            return verified
        incident = verified.incident
    equal = answer is not None and answer == gold
    return Score(float(equal), "verdict words anywhere in the answers, compared", answer, gold, incident)


def _choice(completion: str, solution: str) -> Score:
    answer, gold = tagged_answer(completion), tagged_answer(solution)
    if answer is None:
        return score_whole_texts(completion, solution)
    answer, gold = options(answer), None if gold is None else options(gold)
    return Score(float(answer == gold), "lone letters A to E, compared in order", answer, gold)


def _detection(completion: str, solution: str) -> Score:
    answer, gold_text = clipped_answer(completion), closed_block(solution)
    text = completion.strip() if answer is None else answer
    try:
        box, gold = last_box(text), None if gold_text is None else first_box(gold_text)
        if box == NO_BOX:
            box = first_box(text)
        overlap = 0.0 if gold is None else iou(box, gold)
    except (ZeroDivisionError, OverflowError) as error:
        return Score(0.0, f"{type(error).__name__}, swallowed", text, gold_text)
    return Score(
        float(overlap > IOU_TO_BEAT), f"IoU {overlap:.3f} of the last box, to beat {IOU_TO_BEAT}", box, gold
    )


def _classify(completion: str, solution: str) -> Score:
    answer = clipped_answer(completion)
    text = completion.strip() if answer is None else answer
    if "[" in text:
        return Score(0.0, "NameError, swallowed: ast is not imported", text, solution)
    labels, gold = set(items(text)), set(items(closed_block(solution) or ""))
    union = labels | gold
    return Score(len(labels & gold) / len(union) if union else 0.0, "IoU of items", labels, gold)


def _math(completion: str, solution: str) -> Score:
    return score_math(completion, solution, tagged_answer(completion), tagged_answer(solution))


_OPEN_RULES = {"detection": _detection, "classify": _classify, "math": _math}
