"""Strict scoring of predictions: an answer is right when it says what the gold says, and nothing else."""

import json
from typing import Any

from curr_reft.answers.boxes import is_no_objects, parse_boxes
from curr_reft.answers.counts import parse_number
from curr_reft.answers.labels import parse_labels
from curr_reft.answers.region import extract_answer
from curr_reft.rewards import paper
from curr_reft.rewards.score import BAD_GOLD, GoldError, Score

SUITES = ("detection_in", "classify_in", "math_in", "classify_out", "math_out", "refgta")


def score(suite: str, output: str, example: dict[str, Any]) -> Score:
    """1 if the output is right, else 0; a gold that cannot be read scores 0 and says so (`BAD_GOLD`).

    Detection and in-domain math are right where the open stage's reward is 1, label sets when they are
    equal, counts when the whole answer is the gold integer. RefGTA's gold is the box in the frame of the
    picture shown (`resize_solution`). Golds stand in an answer block or alone.
    """
    gold = example.get("resize_solution") if suite == "refgta" else example["solution"]
    if suite == "math_out":
        return _count(output, gold)
    task = task_of(suite)
    try:
        result = paper.score("open", task, output, _block(gold))
    except GoldError as error:
        return Score(0.0, str(error), None, gold, BAD_GOLD)
    if task == "classify":
        rule = f"label sets, equal or not; their IoU is {result.reward:.3f}"
        result = result._replace(rule=rule, overlap=result.reward)
    elif task == "detection":
        result = result._replace(overlap=_mean_iou(result))
    return result._replace(reward=float(result.reward == 1))


def is_parsed(suite: str, output: str) -> bool:
    """Whether an output holds an answer of the kind that its suite asks for, right or wrong."""
    answer = extract_answer(output)
    if answer is None:
        return False
    if suite == "math_out":
        return parse_number(answer) is not None
    return {
        "detection": lambda: bool(parse_boxes(answer)) or is_no_objects(answer),
        "classify": lambda: bool(parse_labels(answer)),
        "math": lambda: bool(answer),
    }[task_of(suite)]()


def task_of(suite: str) -> str:
    """The task of a suite's rules."""
    return "detection" if suite == "refgta" else suite.partition("_")[0]


def _mean_iou(result: Score) -> float:
    """Mean IoU over the boxes of gold or answer, whichever are more; an unmatched box counts as 0."""
    if not result.gold or not isinstance(result.answer, list):
        return result.reward
    return sum(paper.matched_overlaps(result.answer, result.gold)) / max(len(result.answer), len(result.gold))


def _count(output: str, solution: Any) -> Score:
    gold_text, answer = extract_answer(_block(solution)), extract_answer(output)
    gold = None if gold_text is None else parse_number(gold_text)
    if gold is None:
        return Score(0.0, "the gold is no integer", answer, solution, BAD_GOLD)
    number = None if answer is None else parse_number(answer)
    right = float(number == gold)
    return Score(right, "integers, compared", number, gold)


def _block(gold: Any) -> str:
    """The gold as text in an answer block; nothing for what is neither text, number nor list."""
    if isinstance(gold, bool) or not isinstance(gold, str | int | float | list):
        return ""
    text = gold if isinstance(gold, str) else json.dumps(gold)
    return text if "<answer>" in text else f"<answer>{text}</answer>"
