"""Groups without signal are drawn again: the decisions, and runs on rows of which four fifths are solved."""

import json
import math
import shutil
from pathlib import Path

import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from curr_reft.training.dynamic_sampling import dealt, has_signal, next_draw
from curr_reft.training.prompt_order import PromptOrder
from curr_reft.training.run import build_trainer, prepare, run_stage

NONE = math.nan
REWARDS = '''
import re

def mostly_solved(completions, id, **_):
    """Every fifth line of the file is right now and then, all others always."""
    lines = [int(re.search(r"(\\d+)\\D*$", row)[1]) for row in id]
    return [float(place % 2) if line % 5 == 0 else 1.0 for place, line in enumerate(lines)]

def mixed(completions, **_):
    return [float(place % 2) for place in range(len(completions))]

def solved(completions, log_extra, **_):
    log_extra("note", ["solved"] * len(completions))
    return [1.0] * len(completions)

def noted(completions, id, log_extra, **_):
    log_extra("row", list(id))
    return [0.0] * len(completions)
'''


@pytest.mark.parametrize(
    ("rewards", "together", "apart"),
    [
        ([[1, 1], [1, 1], [1, 1]], False, False),
        ([[0, 1], [1, 0], [1, 0]], False, True),
        ([[0, 1], [1, 1], [1, 1]], True, True),
        ([[1, NONE], [1, NONE], [NONE, NONE]], False, False),
        ([[1, NONE], [0, NONE], [NONE, NONE]], True, True),
        ([[NONE, NONE], [NONE, NONE], [NONE, NONE]], False, False),
    ],
)
def test_a_group_has_signal_when_what_is_normalised_differs(rewards, together, apart):
    group = torch.tensor([rewards], dtype=torch.float32)
    assert has_signal(group, torch.ones(2)).tolist() == [together]
    assert has_signal(group, torch.ones(2), each_apart=True).tolist() == [apart]


def test_sums_that_rounding_alone_tells_apart_are_no_signal():
    group = torch.tensor([[[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]])
    assert not has_signal(group, torch.tensor([1.0, 1.0, 1.0])).any()


@given(st.integers(1, 64), st.data())
def test_a_round_draws_what_is_missing_up_to_a_rollout(wanted, data):
    drawn = data.draw(st.integers(0, 200))
    kept = data.draw(st.integers(0, min(wanted - 1, drawn)))
    count = next_draw(wanted, kept, drawn)
    assert wanted - kept <= count <= wanted
    if kept == drawn > 0:
        assert count == wanted - kept


@given(st.lists(st.integers(0, 99), min_size=1, max_size=40), st.integers(1, 8))
def test_a_round_is_dealt_evenly_and_in_order(rows, processes):
    parts = [dealt(rows, processes, process) for process in range(processes)]
    assert len({len(part) for part in parts}) == 1
    joined = [row for part in parts for row in part]
    assert joined[: len(rows)] == rows
    assert len(joined) - len(rows) < processes


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 60), st.lists(st.integers(1, 9), max_size=6))
def test_the_stream_is_the_epochs_one_after_another_however_it_is_drawn(samples, size, position, counts):
    def order_of(batch: int) -> PromptOrder:
        sampler = RepeatSampler(range(samples), 1, batch_size=batch, repeat_count=1, seed=0)
        return PromptOrder(sampler, seed=3)

    order, one_by_one = order_of(size), order_of(1)
    epochs = []
    while len(epochs) < position + sum(counts):
        one_by_one.set_epoch(len(epochs) // samples)
        epochs += one_by_one
    drawn = []
    for count in counts:
        drawn += order.after(position + len(drawn), count)
    assert drawn == epochs[position : position + sum(counts)]


@pytest.fixture
def reward(tmp_path):
    """The flag value of one of `REWARDS`."""
    path = tmp_path / "rewards.py"
    path.write_text(REWARDS)
    return lambda name: f"{path}:{name}"


@pytest.fixture
def flags(stage_flags, tmp_path, reward):
    """Flags of a short run of 4 prompts a step, whose directory is named."""

    def run(name, *more, rewards=("mostly_solved",)):
        return stage_flags(
            "judge",
            *("--dynamic_sampling", "true", "--reward_funcs", *map(reward, rewards)),
            *("--per_device_train_batch_size", "4", "--num_generations", "2", "--max_completion_length", "8"),
            *("--learning_rate", "1e-3", "--log_completions", "--num_completions_to_print", "0"),
            *("--output_dir", str(tmp_path / name), "--max_resampling", "40"),
            *more,
        )

    return run


def steps_of(out: Path) -> list[dict]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "dynamic_sampling/prompts" in entry]


def completions_of(out: Path) -> list[pandas.DataFrame]:
    return [pandas.read_parquet(path) for path in sorted((out / "completions").glob("*.parquet"))]


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_file(out / "model.safetensors") for out in (first, second))
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--shared_prefix", "false"),
        ("--use_peft", "--lora_target_modules", "q_proj"),
        ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"),
        ("--num_iterations", "2", "--save_steps", "2"),
    ],
    ids=["plain", "each prompt by itself", "LoRA", "accumulation", "two passes"],
)
def test_each_step_learns_from_all_its_groups(more, flags, trainers, tmp_path):
    run_stage(trainers["judge"], flags("run", "--max_steps", "4", *more))
    steps = steps_of(tmp_path / "run")
    assert len(steps) == (2 if "--num_iterations" in more else 4)
    for step in steps:
        assert step["frac_reward_zero_std"] == 0
        assert step["dynamic_sampling/kept"] < 0.6
        assert step["dynamic_sampling/reward"] > step["reward"]
    assert sum(step["dynamic_sampling/rounds"] for step in steps) > 0
    assert sum(step["dynamic_sampling/prompts"] for step in steps) > 12 * len(steps)
    for table in completions_of(tmp_path / "run"):
        assert len(table) == 8
        assert (table["advantage"] != 0).all()


@pytest.mark.slow
def test_where_all_groups_have_signal_the_run_is_the_one_without_the_flag(flags, trainers, tmp_path):
    epochs = ("--num_train_epochs", "2", "--per_device_train_batch_size", "12")
    more = (*epochs, "--eval_strategy", "steps", "--eval_steps", "2")
    run_stage(trainers["judge"], flags("with", *more, rewards=("mixed",)))
    run_stage(trainers["judge"], flags("without", *more, "--dynamic_sampling", "false", rewards=("mixed",)))
    assert all(step["dynamic_sampling/rounds"] == 0 for step in steps_of(tmp_path / "with"))
    assert same_weights(tmp_path / "with", tmp_path / "without")
    histories = [
        json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"]
        for name in ("with", "without")
    ]
    evaluations, others = (
        [each["eval_loss"] for each in history if "eval_loss" in each] for history in histories
    )
    assert evaluations == others
    assert evaluations


@pytest.mark.slow
def test_a_run_that_goes_on_draws_on_where_its_checkpoint_was(flags, trainers, tmp_path):
    more = ("--max_steps", "4", "--save_steps", "2")
    run_stage(trainers["judge"], flags("unbroken", *more))
    out = shutil.copytree(tmp_path / "unbroken", tmp_path / "broken")
    shutil.rmtree(out / "checkpoint-4")
    shutil.rmtree(out / "completions")
    (out / "model.safetensors").unlink()
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    run_stage(trainers["judge"], flags("broken", *more))
    assert same_weights(tmp_path / "unbroken", out)
    prompts = [step["dynamic_sampling/prompts"] for step in steps_of(out)]
    assert prompts == [step["dynamic_sampling/prompts"] for step in steps_of(tmp_path / "unbroken")]
    whole = completions_of(tmp_path / "unbroken")
    for before, after in zip(whole[-2:], completions_of(out), strict=True):
        assert before["completion"].map(str).tolist() == after["completion"].map(str).tolist()


@pytest.mark.slow
def test_what_is_learned_from_keeps_its_own_columns(flags, trainers, tmp_path):
    run_stage(trainers["judge"], flags("run", "--max_steps", "2", rewards=("mostly_solved", "noted")))
    for table in completions_of(tmp_path / "run"):
        lines = [int(row.rpartition(":")[2]) for row in table["row"]]
        assert all(line % 5 == 0 for line in lines)
        assert lines[::2] == lines[1::2]


@pytest.mark.slow
def test_log_probs_of_the_sampler_stay_beside_their_tokens(flags, trainers, monkeypatch):
    """Which vLLM gives; here each token's number stands for its log-probability."""
    sample = GRPOTrainer._generate

    def generate(self, prompts):
        prompt_ids, completion_ids, mask, completions, _, *others = sample(self, prompts)
        log_probs = [list(map(float, ids)) for ids in completion_ids]
        return prompt_ids, completion_ids, mask, completions, log_probs, *others

    learned = []

    class Recording(trainers["judge"]):
        def compute_loss(self, model, inputs, *args, **kwargs):
            learned.append(inputs)
            return super().compute_loss(model, inputs, *args, **kwargs)

    monkeypatch.setattr(GRPOTrainer, "_generate", generate)
    run_stage(Recording, flags("run", "--max_steps", "2"))
    for inputs in learned:
        mask = inputs["completion_mask"].bool()
        assert torch.equal(inputs["sampling_per_token_logps"][mask], inputs["completion_ids"][mask].float())
    assert len(learned) == 2


@pytest.mark.slow
def test_short_of_groups_with_signal_a_step_is_filled_up(flags, trainers, tmp_path, caplog):
    few = ("--max_steps", "2", "--max_resampling", "1", "--per_device_train_batch_size", "12")
    run_stage(trainers["judge"], flags("run", *few))
    for step in steps_of(tmp_path / "run"):
        assert step["dynamic_sampling/rounds"] == 1
        assert step["dynamic_sampling/prompts"] == 24
        assert step["frac_reward_zero_std"] == pytest.approx(1 - 2 * step["dynamic_sampling/kept"])
        assert 0 < step["frac_reward_zero_std"] < 1
    assert all(len(table) == 24 for table in completions_of(tmp_path / "run"))
    assert "of 12 groups have signal after 1 rounds more (--max_resampling)" in caplog.text


@pytest.mark.slow
def test_without_any_signal_the_run_ends_with_one_line(flags, trainers, tmp_path, refused):
    argv = flags("run", "--max_resampling", "3", rewards=("solved",))
    said = refused(lambda: run_stage(trainers["judge"], argv)).splitlines()[-1]
    assert said.startswith(
        "error: --dynamic_sampling: step 1: of 16 prompts in 4 rounds none has a group whose rewards differ"
        " (100% have reward 1): "
    )
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert f"error: {manifest['reason']}" == said


def test_the_loader_opens_no_other_images_than_are_drawn(flags, trainers):
    run = prepare(trainers["judge"].stage, flags("run"))
    order = build_trainer(run, trainers["judge"])._get_train_sampler()
    assert set(order) == {0}
    assert len(list(order)) == len(order)


def test_rounds_are_at_least_one_and_in_the_plan(flags, trainers, refused, capsys):
    said = refused(lambda: run_stage(trainers["judge"], flags("run", "--max_resampling", "0")))
    assert "--max_resampling 0: must be at least 1" in said
    run_stage(trainers["judge"], flags("run", "--dry_run"))
    assert "drawn again in at most 40 rounds" in capsys.readouterr().out
