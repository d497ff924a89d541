"""Rewards as TRL calls them."""

import pytest

from curr_reft.errors import InputError
from curr_reft.rewards.functions import reward_functions
from curr_reft.stages import STAGES


def turns(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_scores_and_task_means():
    accuracy, format_ = reward_functions(STAGES["open"], ["accuracy", "format"], "paper")
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
        "id": ["rows.jsonl:1", "rows.jsonl:1", "rows.jsonl:2"],
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


MIXED = {
    "completions": turns(
        "<think>a</think><answer>yes</answer>",
        "<think>a</think><answer>A</answer>",
        "<think>a</think><answer>dog</answer>",
        "<think>a</think><answer>[0, 0, 9, 9]</answer>",
    ),
    "solution": [f"<answer>{gold}</answer>" for gold in ("no", "A, B", "no", "[0, 0, 9, 9]")],
    "task": ["math", "classify", "detection", "detection"],
    "id": list("1234"),
}
STAGES_OF_MIXED = ["judge", "choice", "judge", "open"]


def test_each_row_of_a_batch_is_scored_by_its_own_stage():
    functions = reward_functions(STAGES["open"], ["accuracy", "format"], "paper")
    together = [function(**MIXED, stage=STAGES_OF_MIXED) for function in functions]
    alone = []
    for index, stage in enumerate(STAGES_OF_MIXED):
        row = {name: [values[index]] for name, values in MIXED.items()}
        own = reward_functions(STAGES[stage], ["accuracy", "format"], "paper")
        alone.append([function(**row)[0] for function in own])
    assert together == [list(values) for values in zip(*alone, strict=True)]
    # A word is well-formed where a verdict is asked for, and none where a box is.
    assert together == [[0, 0.2, 0, 1], [1, 1, 1, 1]]


def test_a_run_of_several_stages_logs_accuracy_by_stage():
    (accuracy,) = reward_functions(STAGES["open"], ["accuracy"], "paper")
    row = {name: values[:1] for name, values in MIXED.items()}
    batches = []
    for stage in ("open", "judge", "open"):
        logged = {}
        accuracy(**row, stage=[stage], log_metric=logged.__setitem__)
        batches.append(logged)
    assert [set(logged) - {"math_timeout", "accuracy/math"} for logged in batches] == [
        set(),
        {"accuracy/judge"},
        set(),
    ]
    assert batches[1]["accuracy/judge"] == 0


def test_a_reward_of_the_users_own_gets_the_stages(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def is_judge(stage, **_): return [float(name == 'judge') for name in stage]")
    (own,) = reward_functions(STAGES["open"], [f"{path}:is_judge"], "paper")
    assert own(**MIXED, stage=STAGES_OF_MIXED) == [1, 0, 1, 0]


@pytest.mark.parametrize("names", [[], ["iou"], ["accuracy", "accuracy"]])
def test_unknown_repeated_or_no_rewards_are_refused(names):
    with pytest.raises(InputError, match="--reward_funcs"):
        reward_functions(STAGES["open"], names, "paper")


def test_an_unknown_variant_is_refused_with_the_choices():
    with pytest.raises(InputError, match="'papers': use one of paper, released"):
        reward_functions(STAGES["open"], ["accuracy"], "papers")


def test_a_timeout_is_counted_named_and_harms_no_other_row(caplog):
    (accuracy,) = reward_functions(STAGES["open"], ["accuracy"], "paper")
    logged = {}
    rewards = accuracy(
        completions=turns(*(f"<answer>{text}</answer>" for text in (r"\frac12", "(x+y+z+w)^{99}", "0.5"))),
        solution=["<answer>1/2</answer>", "<answer>35</answer>", "<answer>1/2</answer>"],
        task=["math"] * 3,
        id=["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"],
        log_metric=logged.__setitem__,
    )
    assert rewards == [1, 0, 1]
    assert logged["math_timeout"] == pytest.approx(1 / 3)
    assert [record.getMessage()[:12] for record in caplog.records] == ["rows.jsonl:2"]


def test_the_released_variant_pays_for_an_empty_answer():
    for variant, expected in (("paper", 0), ("released", 1)):
        for function in reward_functions(STAGES["open"], ["accuracy", "format"], variant):
            completions = turns("<think></think><answer></answer>")
            rewards = function(
                completions=completions, solution=["<answer>35</answer>"], task=["math"], id=["1"]
            )
            assert rewards == [expected]
