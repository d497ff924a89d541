"""The accuracy reward as the paper states it (section 3.2, eq. 2 to 7), on answers compared as values.

Eq. 2 to 4 stand here; eq. 5 to 7 are scores of tasks (`curr_reft.tasks`).
"""

from typing import Any

from curr_reft.answers.reading import OPTIONS, VERDICT, Reading
from curr_reft.errors import InputError
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import find_task
from curr_reft.tasks.rule import Rule, find_gold, score_completion
from curr_reft.tasks.score import GoldError, Score

_PART_OF_THE_OPTIONS = 0.2
"""The middle value of eq. 4."""


def score(
    stage: str, task: str, completion: str, solution: str, reading: Reading = "strict", problem: str = ""
) -> Score:
    """The accuracy reward of a completion, in [0, 1], and the rule that gave it; no completion raises.

    Args:
        stage: The name of a stage.
        task: The name of a task, or an alias.
        completion: A whole text; strictly read, its last closed answer block counts.
        solution: A whole text, of which the last closed answer block is the gold.
        reading: How the answer is found in the completion.
        problem: May list options, one of which a tolerantly read answer may spell out.

    Raises:
        GoldError: for a solution without a gold, or an unknown task.
    """
    gold, rule = _gold(stage, task, solution)
    return score_completion(completion, gold, rule, reading, problem)


def check_gold(stage: str, task: str, solution: str) -> None:
    """Raise the `GoldError` that scoring a completion of this row would raise; for use before training."""
    _gold(stage, task, solution)


def score_judge(verdict: bool, gold: bool) -> Score:
    """Eq. 2: 1 if the verdicts are equal, else 0."""
    return Score(float(verdict is gold), "eq. 2: verdicts, compared", verdict, gold)


def score_choice(chosen: frozenset[str], gold: frozenset[str]) -> Score:
    """Eq. 3 and 4 on sets of letters: 1 if equal, 0.2 for a non-empty proper subset of the gold, else 0."""
    if chosen < gold:
        return Score(_PART_OF_THE_OPTIONS, "eq. 4: a part of the options", chosen, gold)
    return Score(float(chosen == gold), "eq. 3: options, compared", chosen, gold)


_RULES = {
    "verdict": Rule(VERDICT, score_judge, "verdict", "<answer>yes</answer> or <answer>no</answer>"),
    "letters": Rule(OPTIONS, score_choice, "list of options", "option letters, as in <answer>A, C</answer>"),
}


def _gold(stage: str, task: str, solution: str) -> tuple[Any, Rule]:
    """The gold of a row, and the rule that scores it: of the stage's kind of answer, or the task's own."""
    if stage not in STAGES:
        raise InputError(f"unknown stage {stage!r}: use one of {', '.join(STAGES)}")
    try:
        rules = find_task(task).rules
    except InputError as error:
        raise GoldError(str(error)) from error
    kind = STAGES[stage].answer
    return find_gold((_RULES[kind],) if kind in _RULES else rules, solution, f"stage {stage}, task {task}")
