"""Rewards in the shape TRL calls them: one function per reward, one value per completion."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

from curr_reft.errors import InputError
from curr_reft.rewards.variants import find_variant
from curr_reft.stages import Stage
from curr_reft.tasks.score import MATH_TIMEOUT

logger = logging.getLogger(__name__)

Reward = Callable[..., list[float]]
NAMES = ("accuracy", "format")


def _log_task_means(
    name: str, tasks: Sequence[str], scores: Sequence[float], log_metric: Callable[[str, float], None]
) -> None:
    by_task = defaultdict(list)
    for task, score in zip(tasks, scores, strict=True):
        by_task[task].append(score)
    for task, values in by_task.items():
        log_metric(f"{name}/{task}", sum(values) / len(values))


def reward_functions(stage: Stage, names: Sequence[str], variant: str) -> list[Reward]:
    """The named rewards of a stage as TRL reward functions.

    Each takes `completions` (conversations of one assistant turn), `solution`, `task` and `id` of the same
    length, and logs its mean per task. Accuracy also logs the share of completions that math-verify did not
    finish in time, and names their rows.

    Raises:
        InputError: for a name that is no reward, a name given twice, or an unknown variant.
    """
    rewards = find_variant(variant)

    def accuracy(completions, solution, task, id, log_metric=None, **_) -> list[float]:
        results = [
            rewards.score(stage.name, row_task, turn[0]["content"], gold)
            for turn, gold, row_task in zip(completions, solution, task, strict=True)
        ]
        timeouts = [row for row, result in zip(id, results, strict=True) if result.incident == MATH_TIMEOUT]
        for row in timeouts:
            logger.warning("%s: math-verify ran out of time on a completion, which counts as wrong", row)
        scores = [result.reward for result in results]
        if log_metric is not None:
            _log_task_means("accuracy", task, scores, log_metric)
            log_metric(MATH_TIMEOUT, len(timeouts) / len(results))
        return scores

    def format(completions, task, log_metric=None, **_) -> list[float]:
        scores = [
            rewards.score_format(stage.name, row_task, turn[0]["content"]).reward
            for turn, row_task in zip(completions, task, strict=True)
        ]
        if log_metric is not None:
            _log_task_means("format", task, scores, log_metric)
        return scores

    functions = {"accuracy": accuracy, "format": format}
    unknown = [name for name in names if name not in functions]
    if unknown or len(set(names)) != len(names) or not names:
        raise InputError(f"--reward_funcs {' '.join(names)}: choose among {', '.join(NAMES)}, each once")
    return [functions[name] for name in names]
