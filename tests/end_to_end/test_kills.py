"""Real runs, killed and started again: they end in the weights of an unbroken one, and leave nothing."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText

from curr_reft.curriculum.status import status
from curr_reft.files.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STOPPED = 75
STEPS = 14


class Started:
    """A script at work, its standard error in a file."""

    def __init__(self, command: list, environment: dict, log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> int:
        return self.process.wait(timeout=300)

    def finishes(self) -> None:
        assert self.end() == 0, self.said[-3000:]

    def until(self, text: str) -> None:
        for _ in range(12000):
            if text in self.said:
                return
            assert self.process.poll() is None, self.said[-3000:]
            time.sleep(0.05)
        raise AssertionError(f"no {text!r} in: {self.said[-3000:]}")


@pytest.fixture
def start(root, world, tmp_path):
    """Starts a script of ours on the small world; what it writes is below `OUTPUT`."""

    def run(output: Path, *script: str, processes: int = 1) -> Started:
        log = tmp_path / f"{output.name}-{len(list(tmp_path.iterdir()))}.log"
        places = {"DATA_ROOT": str(world), "OUTPUT": str(output), "NPROC": str(processes)}
        plain = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return Started(["bash", root / "scripts" / script[0], *script[1:]], {**places, **plain}, log)

    return run


@pytest.fixture
def stage(start):
    """Starts the judge stage of the tiny model for a few small steps."""

    def run(output: Path, *flags: str, processes: int = 1) -> Started:
        small = [
            *("--per_device_train_batch_size", "1", "--num_generations", "2"),
            *("--max_completion_length", "16", "--max_steps", str(STEPS), "--logging_steps", "1"),
            *("--learning_rate", "1e-4", "--held_out_suites", "none"),
        ]
        return start(output, "launch.sh", "tiny", "stage1_judge", *small, *flags, processes=processes)

    return run


def kill_below(run: Started) -> None:
    """Kill the processes that train, as running out of memory does."""
    for process in psutil.Process(run.process.pid).children(recursive=True):
        process.kill()


def remaining(text: str) -> list[str]:
    """The commands of living processes that have a text in them."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if text in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def none_remains(text: str) -> bool:
    for _ in range(600):
        if not remaining(text):
            return True
        time.sleep(0.05)
    return False


def weights(output: Path, name: str = "model.safetensors") -> bytes:
    return (output / "stage1_judge" / name).read_bytes()


def moment(seed: int, first: int) -> str:
    """A step somewhere between a first one and the last, as the log names it."""
    return f"step {random.Random(seed).randint(first, first + 2)}/{STEPS}"


def test_two_processes_stopped_and_killed_end_as_if_nothing_had_been(stage, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    stage(unbroken, processes=2).finishes()
    flags = ("--save_steps", "4", "--save_only_model", "false", "--enable_jit_checkpoint", "true")

    run = stage(broken, *flags, processes=2)
    run.until(moment(1, 2))
    at_work = psutil.Process(run.process.pid).children()
    for process in at_work:
        process.suspend()
    again = stage(broken, *flags, processes=2)
    assert again.end() == 2
    assert "another command is writing there" in again.said
    assert "Traceback" not in again.said
    for process in at_work:
        process.resume()
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == STOPPED
    assert none_remains(str(broken))
    record = read_manifest(broken / "stage1_judge")
    assert record["status"] == "stopped"
    assert record["reason"].startswith("stopped by SIGTERM after step ")
    assert not (broken / "stage1_judge/model.safetensors").exists()

    run = stage(broken, *flags, processes=2)
    run.until(moment(2, 8))
    # The launcher can say nothing to its processes any more.
    run.process.kill()
    run.end()
    assert none_remains(str(broken))

    run = stage(broken, *flags, processes=2)
    run.finishes()
    assert "going on from" in run.said
    record = read_manifest(broken / "stage1_judge")
    assert (record["status"], len(record["earlier_starts"])) == ("finished", 2)
    assert weights(broken) == weights(unbroken)


@pytest.mark.parametrize("level", ["zero2", "zero3"])
def test_deepspeed_goes_on_where_it_was_killed(level, stage, tmp_path):
    flags = [
        *("--deepspeed", f"configs/deepspeed/{level}.json", "--bf16", "false", "--torch_dtype", "float32"),
        *("--save_steps", "3", "--save_only_model", "false"),
    ]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    stage(unbroken, *flags, processes=2).finishes()
    run = stage(broken, *flags, processes=2)
    run.until(f"step 5/{STEPS}")
    kill_below(run)
    assert run.end() != 0
    run = stage(broken, *flags, processes=2)
    run.finishes()
    assert "going on from" in run.said
    assert weights(broken) == weights(unbroken)


def test_a_run_killed_before_its_first_checkpoint_begins_again(stage, tmp_path):
    run = stage(tmp_path / "out", "--save_only_model", "true", "--save_steps", "100")
    run.until(moment(3, 2))
    kill_below(run)
    assert run.end() == 1
    assert "error: process 0 was ended by SIGKILL" in run.said
    assert "Traceback" not in run.said
    assert read_manifest(tmp_path / "out/stage1_judge")["status"] == "running"
    # As it would be, killed in the middle of the first one.
    (tmp_path / "out/stage1_judge/checkpoint-5").mkdir()
    (tmp_path / "out/stage1_judge/checkpoint-5/model.safetensors").write_bytes(b"half")
    stage(tmp_path / "out", "--save_only_model", "true").finishes()
    stage(tmp_path / "unbroken").finishes()
    assert weights(tmp_path / "out") == weights(tmp_path / "unbroken")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_loads_ends_it_in_one_line(number, stage, tmp_path):
    run = stage(tmp_path / "out", processes=2)
    run.until("rewards, paper")
    run.process.send_signal(number)
    assert run.end() == STOPPED
    assert none_remains(str(tmp_path / "out"))
    assert run.said.count(f"error: stopped by {number.name}") == 1
    assert "Traceback" not in run.said


def test_a_run_killed_behind_its_last_checkpoint_learns_no_more(stage, tmp_path):
    flags = ("--save_steps", "4", "--save_only_model", "false", "--max_steps", "4")
    flags += ("--lr_scheduler_type", "constant")
    stage(tmp_path, *flags).finishes()
    out = tmp_path / "stage1_judge"
    unbroken = weights(tmp_path)
    (out / "model.safetensors").unlink()
    record = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**record, "status": "running"}))
    stage(tmp_path, *flags).finishes()
    assert weights(tmp_path) == unbroken
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-4"]


def test_rollouts_of_several_steps_are_learned_from_to_the_end(stage, tmp_path):
    flags = ("--num_iterations", "2", "--gradient_accumulation_steps", "2", "--max_steps", "8")
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    stage(unbroken, *flags).finishes()
    run = stage(broken, *flags)
    run.until("step 3/8")
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == STOPPED
    assert all(int(path.name[-1]) % 2 == 0 for path in (broken / "stage1_judge").glob("checkpoint-*"))
    stage(broken, *flags).finishes()
    assert weights(broken) == weights(unbroken)


@pytest.mark.parametrize("begun", [False, True], ids=["a new adapter", "one of an earlier stage"])
def test_adapters_go_on_where_they_were_stopped(begun, stage, tiny_base, tmp_path):
    flags = ["--use_peft", "--lora_target_modules", "q_proj", "--lora_r", "4", "--save_steps", "3"]
    if begun:
        model = AutoModelForImageTextToText.from_pretrained(tiny_base)
        config = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj"], init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(tmp_path / "earlier")
        flags += ["--model_name_or_path", str(tmp_path / "earlier")]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    stage(unbroken, *flags).finishes()
    run = stage(broken, *flags)
    run.until(moment(4, 3))
    run.process.send_signal(signal.SIGINT)
    assert run.end() == STOPPED
    stage(broken, *flags).finishes()
    name = "adapter_model.safetensors"
    assert weights(broken, name) == weights(unbroken, name)


def logged(run: Started, folder: Path, lines: int) -> None:
    """Return when a training run has logged as many lines."""
    log = folder / "log.jsonl"
    for _ in range(12000):
        if log.exists() and log.read_bytes().count(b"\n") >= lines:
            return
        assert run.process.poll() is None, run.said[-3000:]
        time.sleep(0.05)
    raise AssertionError(run.said[-3000:])


def states(output: Path) -> list[str]:
    return [row[1] for row in status(output).rows]


def test_a_curriculum_killed_and_stopped_ends_as_if_nothing_had_been(start, root, tmp_path):
    config = str(root / "configs/tiny/ablations/no_self_improvement.yaml")
    small = [
        *("--per_device_train_batch_size", "1", "--num_generations", "2", "--max_completion_length", "16"),
        *("--max_steps", "6", "--logging_steps", "1", "--save_steps", "2", "--save_only_model", "false"),
        *("--learning_rate", "1e-4", "--held_out_suites", "none"),
    ]
    script = ("curriculum.sh", config, "--until", "stage2_choice", *small)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    start(unbroken, *script).finishes()

    run = start(broken, *script)
    logged(run, broken / "stage1_judge", 3)
    run.process.kill()
    run.end()
    # What it had started was told, and wrote a checkpoint.
    assert none_remains(str(broken))
    assert read_manifest(broken / "stage1_judge")["status"] == "stopped"
    # A process has no name any more some time before it lets go of its files.
    for _ in range(100):
        if states(broken)[0] != "running":
            break
        time.sleep(0.05)
    assert states(broken)[:2] == ["killed", "waiting"]

    run = start(broken, *script)
    logged(run, broken / "stage2_choice", 3)
    assert states(broken)[:2] == ["finished", "running"]
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == STOPPED
    assert none_remains(str(broken))
    assert states(broken)[:2] == ["finished", "stopped"]
    assert run.said.strip().endswith("error: stopped by SIGTERM in stage2_choice; the same command goes on")

    run = start(broken, *script)
    run.finishes()
    assert "stage1_judge is finished" in run.said
    for stage in ("stage1_judge", "stage2_choice"):
        one, other = (output / stage / "model.safetensors" for output in (unbroken, broken))
        assert one.read_bytes() == other.read_bytes()


def test_the_best_model_is_the_one_that_is_saved(stage, tmp_path):
    flags = [
        *("--eval_strategy", "steps", "--eval_steps", "4", "--save_steps", "4", "--max_steps", "12"),
        *("--load_best_model_at_end", "true", "--metric_for_best_model", "eval_kl"),
        *("--greater_is_better", "false", "--per_device_eval_batch_size", "2", "--learning_rate", "1e-3"),
    ]
    out = tmp_path / "out"
    stage(out, *flags).finishes()
    state = json.loads((out / "stage1_judge/trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"])
    assert best.name != "checkpoint-12"
    assert (best / "model.safetensors").read_bytes() == weights(out)
    others = [path for path in (out / "stage1_judge").glob("checkpoint-*") if path != best]
    assert all((path / "model.safetensors").read_bytes() != weights(out) for path in others)


def test_a_run_that_diverges_ends_before_it_spoils_a_checkpoint(stage, tmp_path):
    run = stage(tmp_path / "out", "--learning_rate", "1e30", "--max_grad_norm", "1e30", "--save_steps", "1")
    assert run.end() == 4
    last = run.said.strip().splitlines()[-1]
    assert last.startswith("error: step ")
    assert "--learning_rate" in last
    record = read_manifest(tmp_path / "out/stage1_judge")
    assert record["status"] == "diverged"
