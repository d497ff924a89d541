"""Rewards in the shape TRL calls them: one function per reward, one value per completion."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from curr_reft.errors import InputError
from curr_reft.rewards.format import format_reward
from curr_reft.rewards.paper import accuracy

Reward = Callable[..., list[float]]


def _accuracy_score(stage: str, task: str, completion: str, solution: str) -> float:
    return accuracy(stage, task, completion, solution)


def _format_score(stage: str, task: str, completion: str, solution: str) -> float:
    return format_reward(stage, task, completion)


_SCORES = {"accuracy": _accuracy_score, "format": _format_score}


def _score_completions(
    name: str,
    stage: str,
    completions: list[list[dict[str, str]]],
    solution: list[str],
    task: list[str],
    log_metric: Callable[[str, float], None] | None = None,
    **_,
) -> list[float]:
    by_task = defaultdict(list)
    scores = []
    for turn, gold, row_task in zip(completions, solution, task, strict=True):
        scores.append(float(_SCORES[name](stage, row_task, turn[0]["content"], gold)))
        by_task[row_task].append(scores[-1])
    if log_metric is not None:
        for row_task, values in by_task.items():
            log_metric(f"{name}/{row_task}", sum(values) / len(values))
    return scores


def reward_functions(stage: str, names: Sequence[str]) -> list[Reward]:
    """The named rewards of a stage as TRL reward functions, each logging its mean per task.

    Raises:
        InputError: for a name that is no reward, or a name given twice.
    """
    functions = []
    for name in names:
        if name not in _SCORES or list(names).count(name) > 1:
            raise InputError(
                f"--reward_funcs {' '.join(names)}: choose among {', '.join(_SCORES)}, each once"
            )
        function = partial(_score_completions, name, stage)
        function.__name__ = name
        functions.append(function)
    return functions
