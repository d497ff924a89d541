"""Rewards in the shape TRL calls them: one function per reward, one value per completion."""

import functools
import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.rewards.variants import Variant, find_variant
from curr_reft.stages import Stage, stage_of
from curr_reft.tasks.registry import fault_in, load_module
from curr_reft.tasks.score import MATH_TIMEOUT

logger = logging.getLogger(__name__)

Reward = Callable[..., list[float]]
NAMES = ("accuracy", "format")


def reward_functions(stage: Stage, names: Sequence[str], variant: str) -> list[Reward]:
    """The named rewards of a stage as TRL reward functions.

    Each takes `completions` (conversations of one assistant message), `solution`, `task` and `id` of the same
    length, and `stage`, the names of the rows' stages, where they are not all of this one. A name is
    `accuracy`, `format`, or ``FILE.py:FUNCTION`` for a function of the user's own.

    Raises:
        InputError: for a name that is no reward, a name given twice, an unknown variant, or a file that
            cannot be imported.
    """
    rewards = find_variant(variant)
    functions = [_find(name, stage, rewards) for name in names]
    known = [function.__name__ for function in functions]
    if again := [name for name in known if known.count(name) > 1]:
        raise InputError(
            f"--reward_funcs {' '.join(names)}: {again[0]} is there twice; give each another name"
        )
    if not functions:
        raise InputError(f"--reward_funcs: none; choose among {', '.join(NAMES)} and FILE.py:FUNCTION")
    return functions


def reward_files(names: Sequence[str]) -> list[Path]:
    """The files that rewards of the user's own come from."""
    return [Path(name.rpartition(":")[0]) for name in names if name not in NAMES]


def _find(name: str, stage: Stage, rewards: Variant) -> Reward:
    if name == "accuracy":
        return _accuracy(stage, rewards)
    if name == "format":
        return _format(stage, rewards)
    file, colon, function_name = name.rpartition(":")
    if not colon:
        raise InputError(f"--reward_funcs {name}: choose among {', '.join(NAMES)}, or give FILE.py:FUNCTION")
    function = getattr(load_module(Path(file), "--reward_funcs"), function_name, None)
    if not callable(function):
        raise InputError(f"--reward_funcs {name}: the file defines no function {function_name}")
    return _checked(function, name)


def _stages(column: Sequence[str] | None, run: Stage, rows: int) -> list[str]:
    """The names of the rows' stages, from the column that says so where there is one."""
    return [stage_of(name, run).name for name in column or [""] * rows]


def _accuracy(run: Stage, rewards: Variant) -> Reward:
    """Logs its mean per task, and the share of completions that math-verify did not finish in time.

    Of rows of other stages than the run's also its mean per stage.
    """

    def accuracy(completions, solution, task, id, stage=None, log_metric=None, **_) -> list[float]:
        stages = _stages(stage, run, len(completions))
        results = [
            rewards.score(row_stage, row_task, messages[0]["content"], gold)
            for messages, gold, row_task, row_stage in zip(completions, solution, task, stages, strict=True)
        ]
        timeouts = [row for row, result in zip(id, results, strict=True) if result.incident == MATH_TIMEOUT]
        for row in timeouts:
            logger.warning("%s: math-verify ran out of time on a completion, which counts as wrong", row)
        scores = [result.reward for result in results]
        if log_metric is not None:
            _log_means("accuracy", task, scores, log_metric)
            others = [pair for pair in zip(stages, scores, strict=True) if pair[0] != run.name]
            _log_means("accuracy", *zip(*others, strict=True), log_metric) if others else None
            log_metric(MATH_TIMEOUT, len(timeouts) / len(results))
        return scores

    return accuracy


def _format(run: Stage, rewards: Variant) -> Reward:
    """Logs its mean per task."""

    def format(completions, task, stage=None, log_metric=None, **_) -> list[float]:
        stages = _stages(stage, run, len(completions))
        scores = [
            rewards.score_format(row_stage, row_task, messages[0]["content"]).reward
            for messages, row_task, row_stage in zip(completions, task, stages, strict=True)
        ]
        if log_metric is not None:
            _log_means("format", task, scores, log_metric)
        return scores

    return format


def _checked(function: Callable[..., Any], name: str) -> Reward:
    """A user's function whose result is looked at: TRL would stop at another in the middle of a tensor."""

    path = Path(name.rpartition(":")[0])
    if inspect.iscoroutinefunction(function):
        raise InputError(f"--reward_funcs {name}: an async function; only ordinary ones are taken")

    @functools.wraps(function)
    def reward(completions, **columns) -> list[float | None]:
        try:
            scores = function(completions=completions, **columns)
        except Exception as error:  # whatever the user's code raises is about their file
            raise InputError(f"--reward_funcs {fault_in(path, error)}") from error
        if not isinstance(scores, list | tuple) or len(scores) != len(completions):
            raise InputError(
                f"--reward_funcs {name}: returned {str(scores)[:60]} for {len(completions)} completions;"
                " it must return a list with a number for each, or None for one that it leaves to the others"
            )
        if wrong := [score for score in scores if not isinstance(score, Real | None)]:
            raise InputError(f"--reward_funcs {name}: returned {wrong[0]!r}, which is no number")
        return [None if score is None else float(score) for score in scores]

    return reward


def _log_means(
    name: str, kinds: Sequence[str], scores: Sequence[float], log_metric: Callable[[str, float], None]
) -> None:
    by_kind = defaultdict(list)
    for kind, score in zip(kinds, scores, strict=True):
        by_kind[kind].append(score)
    for kind, values in by_kind.items():
        log_metric(f"{name}/{kind}", sum(values) / len(values))
