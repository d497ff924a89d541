"""Whole runs with prompts computed once against TRL's way: the same samples, metrics and weights."""

import types

import pandas
import pytest
from trained_weights import apart
from trl import GRPOTrainer

from curr_reft.training.run import build_trainer, prepare

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(stage_flags, trainers, tmp_path_factory):
    """Train a few steps of two prompts a device; returns metrics by step, completions by step, weights."""

    def run(*flags, trls_learning=False):
        out = tmp_path_factory.mktemp("run")
        known = [
            *("--output_dir", str(out), "--max_completion_length", "36", "--num_generations", "2"),
            *("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"),
            *("--learning_rate", "1e-4", "--save_strategy", "no", "--disable_tqdm", "true"),
            *("--log_completions", "true", "--num_completions_to_print", "0"),
        ]
        trainer = build_trainer(
            prepare(trainers["open"].stage, stage_flags("open", *known, *flags)), trainers["open"]
        )
        if trls_learning:
            name = "_get_per_token_logps_and_entropies"
            setattr(trainer, name, types.MethodType(getattr(GRPOTrainer, name), trainer))
        start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        trainer.train()
        history = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
        tables = [pandas.read_parquet(path) for path in sorted((out / "completions").glob("*.parquet"))]
        completions = [[turns[0]["content"] for turns in table["completion"]] for table in tables]
        return types.SimpleNamespace(
            history=history, completions=completions, start=start, weights=trainer.model.state_dict()
        )

    return run


# Means of means, of micro-batches that TRL deals single completions to and that get whole groups here.
DEALT = ("entropy", "kl", "clip_ratio", "step_time")


def assert_same_run(ours, theirs, packed=1.0):
    assert ours.completions == theirs.completions
    assert any(entry["reward_std"] > 0 for entry in theirs.history), "choose rows to learn from"
    for our, their in zip(ours.history, theirs.history, strict=True):
        assert our["shared_prefix/packed"] <= packed
        assert (our["shared_prefix/packed"] == 1.0) == (packed == 1.0)
        assert "shared_prefix/packed" not in their
        names = {name for name in their if not name.startswith(DEALT)}
        assert {name: our[name] for name in names} == pytest.approx(
            {name: their[name] for name in names}, rel=1e-3, abs=1e-5
        )
    assert apart(ours.weights, theirs.weights, ours.start) <= 1e-3


def test_twenty_steps_end_in_the_same_weights(trained):
    runs = [trained("--max_steps", "20", "--shared_prefix", flag) for flag in ("true", "false")]
    assert_same_run(*runs)


def test_old_log_probs_of_repeated_batches_are_the_same(trained):
    flags = ("--max_steps", "4", "--num_iterations", "2", "--learning_rate", "1e-3")
    ours, theirs = (trained(*flags, "--shared_prefix", flag) for flag in ("true", "false"))
    assert_same_run(ours, theirs)


def test_rollouts_for_several_steps_are_learned_from_as_trl_does(trained):
    # TRL would deal single completions to the steps, and here it is groups: so only learning is TRL's.
    flags = ("--max_steps", "4", "--steps_per_generation", "4")
    assert_same_run(trained(*flags), trained(*flags, trls_learning=True))


def test_small_packs_and_checkpointing_end_in_the_same_weights(trained):
    ours = trained("--max_steps", "2", "--max_packed_tokens", "90", "--gradient_checkpointing", "true")
    assert_same_run(ours, trained("--max_steps", "2", "--shared_prefix", "false"), packed=0.99)
