"""Strict scoring of predictions: an answer is right when it says what the gold says, and nothing else."""

import json
from typing import Any

from curr_reft.rewards import paper
from curr_reft.rewards.answers import extract_answer, parse_number
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
    task = "detection" if suite == "refgta" else suite.partition("_")[0]
    try:
        result = paper.score("open", task, output, _block(gold))
    except GoldError as error:
        return Score(0.0, str(error), None, gold, BAD_GOLD)
    if task == "classify" and result.gold is not None:
        result = result._replace(rule=f"label sets, equal or not; their IoU is {result.reward:.3f}")
    return result._replace(reward=float(result.reward == 1), partial=result.reward)


def _count(output: str, solution: Any) -> Score:
    gold_text, answer = extract_answer(_block(solution)), extract_answer(output)
    gold = None if gold_text is None else parse_number(gold_text)
    if gold is None:
        return Score(0.0, "the gold is no integer", answer, solution, BAD_GOLD)
    number = None if answer is None else parse_number(answer)
    right = float(number == gold)
    return Score(right, "integers, compared", number, gold, partial=right)


def _block(gold: Any) -> str:
    """The gold as text in an answer block; nothing for what is neither text, number nor list."""
    if isinstance(gold, bool) or not isinstance(gold, str | int | float | list):
        return ""
    text = gold if isinstance(gold, str) else json.dumps(gold)
    return text if "<answer>" in text else f"<answer>{text}</answer>"
