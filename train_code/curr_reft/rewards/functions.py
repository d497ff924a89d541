"""Rewards in the shape TRL calls them: one function per reward, one value per completion."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from curr_reft.errors import InputError
from curr_reft.rewards import paper
from curr_reft.rewards.format import format_reward
from curr_reft.stages import Stage

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


def reward_functions(stage: Stage, names: Sequence[str]) -> list[Reward]:
    """The named rewards of a stage as TRL reward functions.

    Each takes `completions` (conversations of one assistant turn), `solution` and `task` of the same length,
    and logs its mean per task; accuracy also logs the share of completions that math-verify did not finish
    in time.

    Raises:
        InputError: for a name that is no reward, or a name given twice.
    """

    def accuracy(completions, solution, task, log_metric=None, **_) -> list[float]:
        results = [
            paper.score(stage.name, row_task, turn[0]["content"], gold)
            for turn, gold, row_task in zip(completions, solution, task, strict=True)
        ]
        scores = [result.reward for result in results]
        if log_metric is not None:
            _log_task_means("accuracy", task, scores, log_metric)
            log_metric("math_timeout", sum(result.math_timeout for result in results) / len(results))
        return scores

    def format(completions, task, log_metric=None, **_) -> list[float]:
        scores = [
            format_reward(stage.name, row_task, turn[0]["content"])
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
