"""This project's scoring of predictions: an answer is right when it says what the gold says, nothing else.

Strictly, the answer is the last closed answer block; tolerantly, what a sensible person would read.
"""

import json
from typing import Any

from curr_reft.answers.reading import COUNT, DETECTION, LABELS, MATH, Answer, Reading, read_strictly
from curr_reft.data.suites import task_of
from curr_reft.rewards import paper
from curr_reft.rewards.score import BAD_GOLD, GoldError, Score


def score(
    suite: str, output: str, example: dict[str, Any], reading: Reading = "strict", problem: str = ""
) -> Score:
    """1 if the output is right, else 0; a gold that cannot be read scores 0 and says so (`BAD_GOLD`).

    Detection and in-domain math are right where the open stage's reward is 1, label sets when they are
    equal, counts when the whole answer is the gold integer. RefGTA's gold is the box in the frame of the
    image shown (`resize_solution`). Golds stand in an answer block or alone.

    Args:
        reading: How the answer is found in the output.
        problem: May list options, one of which a tolerantly read answer may spell out.
    """
    gold = example.get("resize_solution") if suite == "refgta" else example["solution"]
    if suite == "math_out":
        return _count(output, gold, reading)
    task = task_of(suite)
    try:
        result = paper.score("open", task, output, _block(gold), reading, problem)
    except GoldError as error:
        return Score(0.0, str(error), None, gold, BAD_GOLD)
    if task == "classify":
        rule = f"label sets, equal or not; their IoU is {result.reward:.3f}"
        result = result._replace(rule=rule, overlap=result.reward)
    elif task == "detection":
        result = result._replace(overlap=_mean_iou(result))
    return result._replace(reward=float(result.reward == 1))


def is_parsed(suite: str, output: str) -> bool:
    """Whether an output holds, strictly read, an answer of the kind that is asked for, right or wrong."""
    kinds = {"detection": DETECTION, "classify": LABELS, "math": MATH}
    kind = COUNT if suite == "math_out" else kinds[task_of(suite)]
    return read_strictly(output, kind).value is not None


def _mean_iou(result: Score) -> float:
    """Mean IoU over the boxes of gold or answer, whichever are more; an unmatched box counts as 0."""
    if not result.gold or not isinstance(result.answer, tuple):
        return result.reward
    return sum(paper.matched_overlaps(result.answer, result.gold)) / max(len(result.answer), len(result.gold))


def _count(output: str, solution: Any, reading: Reading) -> Score:
    gold = read_strictly(_block(solution), COUNT).value
    if gold is None:
        return Score(0.0, "the gold is no integer", None, solution, BAD_GOLD)

    def compare(answer: Answer) -> Score:
        value = answer.text if answer.value is None else answer.value
        return Score(float(answer.value == gold), "integers, compared", value, gold, found=answer.rule)

    return paper.score_reading(output, COUNT, compare, reading)


def _block(gold: Any) -> str:
    """The gold as text in an answer block; nothing for what is neither text, number nor list."""
    if isinstance(gold, bool) or not isinstance(gold, str | int | float | list):
        return ""
    text = gold if isinstance(gold, str) else json.dumps(gold)
    return text if "<answer>" in text else f"<answer>{text}</answer>"
