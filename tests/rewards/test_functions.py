"""Rewards as TRL calls them."""

import pytest

from curr_reft.errors import InputError
from curr_reft.rewards.functions import reward_functions
from curr_reft.stages import STAGES


def turns(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_scores_and_task_means():
    accuracy, format_ = reward_functions(STAGES["open"], ["accuracy", "format"])
    assert (accuracy.__name__, format_.__name__) == ("accuracy", "format")
    logged = []
    columns = {
        "completions": turns(
            "<think>a</think><answer>person, car</answer>",
            "<answer>person</answer>",
            "<think>b</think><answer>4</answer>",
        ),
        "solution": ["<answer>person, car</answer>"] * 2 + ["<answer>4</answer>"],
        "task": ["classify", "classify", "math"],
        "log_metric": lambda name, value: logged.append((name, value)),
        "prompts": None,
    }
    assert accuracy(**columns) == [1.0, 0.5, 1.0]
    assert format_(**columns) == [1.0, 0.0, 1.0]
    assert dict(logged) == {
        "accuracy/classify": 0.75,
        "accuracy/math": 1.0,
        "math_timeout": 0.0,
        "format/classify": 0.5,
        "format/math": 1.0,
    }


@pytest.mark.parametrize("names", [[], ["iou"], ["accuracy", "accuracy"]])
def test_unknown_repeated_or_no_rewards_are_refused(names):
    with pytest.raises(InputError, match="--reward_funcs"):
        reward_functions(STAGES["open"], names)
