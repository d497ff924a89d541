"""The released scoring of predictions (`muti_process_eval.py`, `single_process_eval_for_refgta.py`).

Where the released loop stops with an exception, the row is wrong and the score says so (`RELEASED_CRASH`).
"""

import ast
import warnings
from typing import Any

from curr_reft.rewards.released import IOU_TO_BEAT, iou, score_math
from curr_reft.rewards.released_answers import (
    NO_BOX,
    clipped_answer,
    closed_block,
    first_box,
    items,
    last_box,
    tagged_answer,
)
from curr_reft.tasks.score import RELEASED_CRASH, Score

_REFGTA_FRAMES = {"solution": IOU_TO_BEAT, "normalized_solution": IOU_TO_BEAT, "resize_solution": 0.49}
_CRASHES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def score(suite: str, output: str, example: dict[str, Any]) -> Score:
    """1 if the released evaluator counts the output as correct, else 0.

    `example` is the dataset row; RefGTA's carries `solution`, `normalized_solution` and `resize_solution`.
    """
    try:
        return SCORERS[suite](output, example)
    except _CRASHES as error:
        rule = f"{type(error).__name__} stops the released loop"
        return Score(0.0, rule, output, example.get("solution"), RELEASED_CRASH)


def _detection(output: str, example: dict[str, Any]) -> Score:
    answer, gold_text = clipped_answer(output), closed_block(str(example["solution"]))
    if answer is None or gold_text is None:
        return Score(0.0, "no answer block", answer, gold_text)
    try:
        box, gold = _box(answer, output), first_box(gold_text)
        overlap = iou(box, gold, whole_pixels=True)
    except ArithmeticError as error:
        return Score(0.0, f"{type(error).__name__}, swallowed", answer, gold_text)
    return Score(
        float(overlap > IOU_TO_BEAT), f"IoU {overlap:.3f} of the last box, to beat {IOU_TO_BEAT}", box, gold
    )


def _box(answer: str, output: str) -> tuple[int, ...]:
    """The answer's last box, else the first of the whole output: a box in the thoughts is good enough."""
    box = last_box(answer)
    return first_box(output) if box == NO_BOX else box


def _classify(output: str, example: dict[str, Any]) -> Score:
    answer, gold_text = clipped_answer(output), closed_block(str(example["solution"]))
    texts = (output if answer is None else answer), (example["solution"] if gold_text is None else gold_text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            labels, gold = (
                set(ast.literal_eval(text) if "[" in text else items(text)) for text in map(str.strip, texts)
            )
    except Exception as error:  # literal_eval documents five kinds and recursion
        return Score(0.0, f"{type(error).__name__}, swallowed", *texts)
    # A superset is correct, and every answer is a superset of an empty gold.
    return Score(float(gold <= labels), "the answer's items hold the gold's, or not", labels, gold)


def _math_in(output: str, example: dict[str, Any]) -> Score:
    solution = example["solution"]
    answer, gold = (
        text.strip() if tagged is None else tagged
        for text, tagged in ((text, tagged_answer(text)) for text in (output, solution))
    )
    result = score_math(output, solution, answer, gold)
    if not result.reward and solution in output:
        return result._replace(reward=1.0, rule="the output holds the solution")
    return result


def _math_out(output: str, example: dict[str, Any]) -> Score:
    gold = str(example["solution"])
    return Score(float(gold in output), "the gold's digits, looked for anywhere in the output", output, gold)


def _refgta(output: str, example: dict[str, Any]) -> Score:
    golds = {frame: example[frame] for frame in _REFGTA_FRAMES}
    answer = clipped_answer(output)
    box = NO_BOX if answer is None else _box(answer, output)
    # The loop ends by printing this overlap, of untagged outputs too, and stops there when the union is 0.
    iou(box, golds["resize_solution"], whole_pixels=True)
    if answer is None:
        return Score(0.0, "no answer tag", output, golds)
    for frame, to_beat in _REFGTA_FRAMES.items():
        overlap = iou(box, golds[frame], whole_pixels=True)
        if overlap > to_beat:
            return Score(1.0, f"IoU {overlap:.3f} in the frame of {frame}", box, golds[frame])
    return Score(0.0, "no frame matches", box, golds)


SCORERS = {
    "detection_in": _detection,
    "classify_in": _classify,
    "classify_out": _classify,
    "math_in": _math_in,
    "math_out": _math_out,
    "refgta": _refgta,
}
