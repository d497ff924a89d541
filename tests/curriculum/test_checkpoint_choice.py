"""Which checkpoint a step starts from."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.curriculum.checkpoint_choice import chosen_checkpoint
from curr_reft.errors import InputError


@pytest.fixture
def run(tmp_path):
    """Makes a run with checkpoints at some steps, evaluated at some."""

    def make(saved, scores, metric="eval_reward"):
        for step in saved:
            (tmp_path / f"checkpoint-{step}").mkdir()
        history = [{"step": step, metric: score} for step, score in scores.items()]
        (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
        return tmp_path

    return make


def test_last_is_the_run_itself_and_a_number_its_checkpoint(run):
    folder = run([500, 1000], {})
    assert chosen_checkpoint(folder, "last") == folder
    assert chosen_checkpoint(folder, "500").name == "checkpoint-500"


def test_the_best_of_equals_is_the_earlier_one(run):
    assert chosen_checkpoint(run([9, 10, 20], {9: 1.0, 10: 1.5, 20: 1.5}), "best").name == "checkpoint-10"


def test_the_best_is_one_that_is_there_by_the_metric_asked_for(run):
    folder = run([10, 20], {10: 0.1, 20: 0.2, 30: 0.9}, "eval_accuracy/math")
    assert chosen_checkpoint(folder, "best:eval_accuracy/math").name == "checkpoint-20"
    with pytest.raises(
        InputError, match=r"none of its checkpoints has eval_reward, which is known of steps \(none\)"
    ):
        chosen_checkpoint(folder, "best")


def test_a_metric_is_that_of_validation_and_of_some_the_lower_is_better(run):
    folder = run([10, 20], {10: 0.1, 20: 0.2}, "eval_kl")
    assert chosen_checkpoint(folder, "best:kl").name == "checkpoint-10"
    assert chosen_checkpoint(folder, "best:eval_kl").name == "checkpoint-10"


def test_a_checkpoint_that_is_not_there_is_one_line(run):
    with pytest.raises(InputError, match="no checkpoint-600; it has: 500, 1000"):
        chosen_checkpoint(run([500, 1000], {}), "600")


@given(st.dictionaries(st.integers(1, 50), st.floats(-5, 5), min_size=1))
def test_no_checkpoint_is_better_and_none_earlier_as_good(tmp_path_factory, scores):
    folder = tmp_path_factory.mktemp("run")
    for step in scores:
        (folder / f"checkpoint-{step}").mkdir()
    history = [{"step": step, "eval_reward": score} for step, score in scores.items()]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    chosen = int(chosen_checkpoint(folder, "best").name.rpartition("-")[2])
    assert scores[chosen] == max(scores.values())
    assert all(scores[step] < scores[chosen] for step in scores if step < chosen)
