"""Where a run starts in its directory: broken checkpoints, changed settings, what is kept."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_checkpoints import write_checkpoint
from transformers import TrainerControl, TrainerState

from curr_reft.errors import InputError
from curr_reft.training.checkpoint_state import KeepStateOfNewest, state_fault
from curr_reft.training.resume import find_start
from curr_reft.training.run import prepare


@pytest.fixture
def run(stage_flags, trainers, tiny_base, tmp_path):
    """An unfinished run of the judge stage with checkpoints of steps 2 and 4, and its directory."""
    flags = stage_flags("judge", "--max_steps", "8")
    stage = trainers["judge"].stage
    out = tmp_path / "run"
    record = json.loads(json.dumps(prepare(stage, flags).record, default=str))
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps({**record, "status": "running"}))
    for step in (2, 4):
        write_checkpoint(out, tiny_base, step)
    return out, lambda *more: prepare(stage, [*flags, *more]).start


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_a_tensor(path: Path) -> None:
    weights = load_file(path)
    del weights["visual.merger.ln_q.weight"]
    save_file(weights, path, metadata={"format": "pt"})


BREAKS = {
    "weights missing": lambda folder: (folder / "model.safetensors").unlink(),
    "weights cut off": lambda folder: cut(folder / "model.safetensors"),
    "weights without a tensor": lambda folder: without_a_tensor(folder / "model.safetensors"),
    "optimizer missing": lambda folder: (folder / "optimizer.pt").unlink(),
    "optimizer cut off": lambda folder: cut(folder / "optimizer.pt"),
    "scheduler missing": lambda folder: (folder / "scheduler.pt").unlink(),
    "scheduler cut off": lambda folder: cut(folder / "scheduler.pt"),
    "random states missing": lambda folder: (folder / "rng_state.pth").unlink(),
    "random states cut off": lambda folder: cut(folder / "rng_state.pth"),
    "state missing": lambda folder: (folder / "trainer_state.json").unlink(),
    "state cut off": lambda folder: cut(folder / "trainer_state.json"),
    "configuration missing": lambda folder: (folder / "config.json").unlink(),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
}


def test_the_newest_checkpoint_is_gone_on_from(run):
    out, start = run
    assert start().checkpoint == out / "checkpoint-4"


@pytest.mark.parametrize("name", BREAKS)
def test_before_a_broken_checkpoint_comes_the_one_before_it(name, run, caplog):
    out, start = run
    BREAKS[name](out / "checkpoint-4")
    assert start().checkpoint == out / "checkpoint-2"
    assert f"{out}/checkpoint-4 cannot be gone on from: " in caplog.text


def test_without_any_that_is_whole_the_run_begins_again(run, tiny_base):
    out, start = run
    for step in (2, 4):
        cut(out / f"checkpoint-{step}/model.safetensors")
    found = start()
    assert found.checkpoint is None
    found.clear(out)
    assert not list(out.glob("checkpoint-*"))


def test_weights_alone_are_kept_aside(run):
    out, start = run
    (out / "checkpoint-2/optimizer.pt").unlink()
    shutil.rmtree(out / "checkpoint-4")
    found = start()
    assert found.checkpoint is None
    found.clear(out)
    assert [path.name for path in (out / "earlier-start-1").iterdir()] == ["checkpoint-2"]


def test_what_the_run_would_write_over_is_kept_aside(run):
    out, start = run
    (out / "checkpoint-4/optimizer.pt").unlink()
    found = start()
    assert found.checkpoint == out / "checkpoint-2"
    found.clear(out)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-2"]
    assert (out / "earlier-start-1/checkpoint-4/model.safetensors").exists()
    # Named by the user, whole or not.
    for step in (4, 6):
        write_checkpoint(out, out / "checkpoint-2", step, without=("model.safetensors",) if step == 6 else ())
    start("--resume_from_checkpoint", str(out / "checkpoint-2")).clear(out)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-2"]
    assert {path.name for path in (out / "earlier-start-2").iterdir()} == {"checkpoint-4", "checkpoint-6"}


def test_checkpoints_of_an_earlier_start_with_other_processes_count(tiny_base, tmp_path):
    of_one, of_two = (
        {"stage": "judge", "config": {"model_name_or_path": "x"}, "processes": count} for count in (1, 2)
    )
    manifest = {**of_two, "status": "running", "earlier_starts": [{**of_one, "status": "stopped"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    whole = write_checkpoint(tmp_path, tiny_base, 2)
    assert find_start(tmp_path, of_two, lambda _: None).checkpoint == whole
    (whole / "rng_state.pth").unlink()
    assert find_start(tmp_path, of_two, lambda _: None).checkpoint is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--learning_rate", "1e-3"), "learning_rate 0.001 instead of 1e-06"),
        (("--beta", "0.1", "--seed", "1"), "beta 0.1 instead of 0.04, seed 1 instead of 42"),
        (("--data_seed", "7"), "data_seed 7 instead of 42"),
        (("--reward_variant", "released"), "reward_variant released instead of paper"),
        (("--max_pixels", "3136"), "max_pixels 3136 instead of not set"),
        (("--gradient_accumulation_steps", "2"), "gradient_accumulation_steps 2 instead of 1"),
        (("--max_steps", "6"), "max_steps 6 instead of 8"),
        (("--box_frame", "processed"), "box_frame processed instead of budget"),
    ],
)
def test_changed_settings_stop_until_they_are_accepted(flags, said, run):
    out, start = run
    with pytest.raises(InputError) as caught:
        start(*flags)
    assert said in str(caught.value)
    assert "--accept_changes" in str(caught.value)
    found = start(*flags, "--accept_changes")
    assert found.checkpoint == out / "checkpoint-4"
    assert set(found.changes) >= {flags[0].strip("-")}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--optim", "adafactor"), "optim adafactor instead of adamw_torch"),
        (("--use_peft", "--lora_target_modules", "q_proj"), "use_peft True instead of False"),
    ],
)
def test_what_no_checkpoint_fits_is_not_to_be_accepted(flags, said, run):
    out, start = run
    with pytest.raises(InputError, match="its checkpoints fit no run of") as caught:
        start(*flags, "--accept_changes")
    assert said in str(caught.value)
    for step in (2, 4):
        shutil.rmtree(out / f"checkpoint-{step}")
    assert start(*flags).checkpoint is None


def test_rows_that_changed_are_a_change(run, world, tmp_path):
    _, start = run
    root = tmp_path / "other"
    shutil.copytree(world, root)
    for path in root.rglob("*.jsonl"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="other rows of data"):
        start("--image_root", str(root))


def test_other_scores_of_solved_rows_are_a_change(run, tmp_path):
    _, start = run
    scores = tmp_path / "scores.jsonl"
    rows = ["judge/train/judge/judge_math_train.jsonl:1#0", "judge/train/judge/judge_math_train.jsonl:1#1"]
    scores.write_text("".join(json.dumps({"id": row, "accuracy": 100}) + "\n" for row in rows))
    with pytest.raises(InputError, match="had other settings: other scores for --filter_solved; give"):
        start("--filter_solved", str(scores))


@pytest.mark.parametrize(
    "flags",
    [
        ("--save_steps", "7", "--logging_steps", "3", "--run_name", "x", "--report_to", "tensorboard"),
        ("--save_only_model", "true", "--resumable_checkpoints", "2", "--stop_grace_seconds", "9"),
        ("--max_packed_tokens", "4000", "--gradient_checkpointing", "true"),
    ],
)
def test_what_changes_no_weights_may_change(flags, run):
    out, start = run
    found = start(*flags)
    assert (found.checkpoint, found.changes) == (out / "checkpoint-4", {})


def test_fewer_steps_than_were_done_are_refused(run):
    _, start = run
    with pytest.raises(InputError, match="has done 4 steps, over the 3 asked for"):
        start("--max_steps", "3", "--accept_changes")


def test_another_model_is_another_run(run, tiny_base, tmp_path):
    _, start = run
    shutil.copytree(tiny_base, tmp_path / "other")
    with pytest.raises(InputError, match="holds an unfinished run of judge from"):
        start("--model_name_or_path", str(tmp_path / "other"), "--accept_changes")


def test_the_same_model_by_another_path_is_the_same(run, tiny_base, monkeypatch):
    out, start = run
    for name in (f"{tiny_base}/", f"{tiny_base.parent}/../{tiny_base.parent.name}/{tiny_base.name}"):
        assert start("--model_name_or_path", name).checkpoint == out / "checkpoint-4"
    monkeypatch.chdir(tiny_base.parent)
    assert start("--model_name_or_path", tiny_base.name).checkpoint == out / "checkpoint-4"


def test_checkpoints_of_nobody_are_left_alone(run):
    out, start = run
    (out / "manifest.json").unlink()
    with pytest.raises(InputError, match="no manifest of a run"):
        start()


def test_a_named_checkpoint_is_taken_or_refused(run):
    out, start = run
    asked = "--resume_from_checkpoint"
    assert start(asked, str(out / "checkpoint-2")).checkpoint == out / "checkpoint-2"
    assert start(asked, "true").checkpoint == out / "checkpoint-4"
    (out / "checkpoint-2/optimizer.pt").unlink()
    with pytest.raises(InputError, match="checkpoint-2: it holds weights only"):
        start(asked, str(out / "checkpoint-2"))


def test_states_of_all_processes_are_needed(tiny_base, tmp_path):
    whole = write_checkpoint(tmp_path, tiny_base, 2, processes=2)
    assert state_fault(whole, 2) is None
    assert state_fault(whole, 1) == "rng_state.pth is missing"
    assert state_fault(whole, 3) == "rng_state_2.pth is missing"


@pytest.fixture
def deepspeed_checkpoint(tiny_base, tmp_path):
    checkpoint = write_checkpoint(tmp_path, tiny_base, 2, processes=2, without=("optimizer.pt",))
    (checkpoint / "latest").write_text("global_step2")
    (checkpoint / "global_step2").mkdir()
    names = [f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in (0, 1)]
    for name in (*names, "mp_rank_00_model_states.pt"):
        torch.save({}, checkpoint / "global_step2" / name)
    return checkpoint


def test_deepspeeds_shards_are_looked_at(deepspeed_checkpoint):
    assert state_fault(deepspeed_checkpoint, 2) is None
    shard = deepspeed_checkpoint / "global_step2/zero_pp_rank_1_mp_rank_00_optim_states.pt"
    cut(shard)
    assert "was not written to the end" in state_fault(deepspeed_checkpoint, 2)
    shard.unlink()
    assert "the optimizer states of 1 of 2 processes" in state_fault(deepspeed_checkpoint, 2)


def test_deepspeeds_state_goes_on_with_as_many_processes(deepspeed_checkpoint, tmp_path):
    config = {"model_name_or_path": "x", "deepspeed_file": "zero3.json"}
    record = {"stage": "judge", "config": config, "processes": 2}
    (tmp_path / "manifest.json").write_text(json.dumps({**record, "status": "running"}))
    assert find_start(tmp_path, record, lambda _: None).checkpoint == deepspeed_checkpoint
    with pytest.raises(InputError, match="optimizer state of 2 processes, from which 4 cannot go on"):
        find_start(tmp_path, {**record, "processes": 4}, lambda _: None, accept_changes=True)
    without = {**record, "config": {"model_name_or_path": "x"}}
    with pytest.raises(InputError, match="optimizer state of DeepSpeed, from which none without can go on"):
        find_start(tmp_path, without, lambda _: None, accept_changes=True)


def test_deepspeed_takes_no_state_of_another_kind(tiny_base, tmp_path):
    record = {"stage": "judge", "config": {"model_name_or_path": "x"}, "processes": 1}
    (tmp_path / "manifest.json").write_text(json.dumps({**record, "status": "running"}))
    write_checkpoint(tmp_path, tiny_base, 2)
    record["config"] = {**record["config"], "deepspeed_file": "zero2.json"}
    with pytest.raises(InputError, match="of a run without DeepSpeed, from which none with can go on"):
        find_start(tmp_path, record, lambda _: None, accept_changes=True)


def test_older_checkpoints_keep_weights_alone(deepspeed_checkpoint, tiny_base, tmp_path):
    for step in (4, 6, 8):
        write_checkpoint(tmp_path, tiny_base, step, processes=2)

    class Arguments:
        output_dir = str(tmp_path)
        should_save = True
        load_best_model_at_end = True

    def with_state() -> dict[str, bool]:
        return {path.name: state_fault(path, 2) is None for path in tmp_path.glob("checkpoint-*")}

    best = TrainerState(best_model_checkpoint=str(deepspeed_checkpoint))
    KeepStateOfNewest(2).on_save(Arguments(), best, TrainerControl())
    # DeepSpeed loads the best one with its state or not at all.
    assert with_state()["checkpoint-2"]
    KeepStateOfNewest(2).on_save(Arguments(), TrainerState(), TrainerControl())
    can = with_state()
    assert can == {"checkpoint-2": False, "checkpoint-4": False, "checkpoint-6": True, "checkpoint-8": True}
    assert not (deepspeed_checkpoint / "global_step2").exists()
    assert (deepspeed_checkpoint / "model.safetensors").exists()
