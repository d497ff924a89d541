"""One line a step in a log, a bar in a terminal."""

import io
import sys

import pytest
from transformers import TrainerState

from curr_reft.training.progress import HeadlineLog, HeadlineProgress, progress
from curr_reft.training.run import build_trainer, prepare

LOGS = {
    "loss": 0.0123,
    "grad_norm": 1.5,
    "learning_rate": 9.5e-7,
    "reward": 1.25,
    "reward_std": 0.5,
    "rewards/accuracy/mean": 0.5,
    "rewards/format/mean": 0.75,
    "rewards/brevity/mean": 0.1,
    "accuracy/detection": 0.4,
    "accuracy/math": None,
    "frac_reward_zero_std": 0.25,
    "kl": 0.002,
    "completions/mean_length": 43.25,
    "step_time": 12.34,
}


@pytest.fixture
def lines(caplog):
    """What is logged of some logs at step 12 of 110."""

    def run(logs, first=True):
        state = TrainerState(global_step=12, max_steps=110, log_history=[logs], is_world_process_zero=first)
        with caplog.at_level("INFO", logger="curr_reft.training.progress"):
            HeadlineLog().on_log(None, state, None, logs)
        return [record.getMessage() for record in caplog.records]

    return run


def test_a_step_is_one_line(lines):
    assert lines(LOGS) == [
        "step 12/110: loss 0.0123, reward 1.25, accuracy 0.5, format 0.75, brevity 0.1, detection 0.4,"
        " no-signal groups 0.25, kl 0.002, grad norm 1.5, length 43.2, lr 9.5e-07, 12.3 s, 0:20:09 left"
    ]


def test_an_evaluation_is_one_line(lines):
    logs = {f"eval_{name}": value for name, value in LOGS.items() if name not in ("step_time", "grad_norm")}
    (line,) = lines({**logs, "eval_runtime": 61.04, "epoch": 1.0})
    assert line.startswith("eval, step 12/110: loss 0.0123, reward 1.25, accuracy 0.5,")
    assert line.endswith("length 43.2, lr 9.5e-07, 61 s")


def test_the_summary_at_the_end_and_other_processes_say_nothing(lines):
    assert lines({"train_runtime": 100.0, "train_loss": 0.1, "total_flos": 0.0}) == []
    assert lines(LOGS, first=False) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_for_terminals_alone(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress(disable_tqdm=False), HeadlineLog)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(progress(disable_tqdm=True), HeadlineLog)
    assert isinstance(progress(disable_tqdm=False), HeadlineProgress)


@pytest.mark.slow
@pytest.mark.parametrize("disable_tqdm", ["true", "false"])
def test_a_run_logs_a_line_a_step_and_no_dicts(disable_tqdm, stage_flags, trainers, caplog, capsys):
    flags = stage_flags("judge", "--max_steps", "2", "--disable_tqdm", disable_tqdm, "--log_completions")
    trainer = build_trainer(prepare(trainers["judge"].stage, flags), trainers["judge"])
    capsys.readouterr()
    with caplog.at_level("INFO", logger="curr_reft.training.progress"):
        trainer.train()
    said = [record.getMessage() for record in caplog.records if record.name == "curr_reft.training.progress"]
    assert [line.split(":")[0] for line in said] == ["step 1/2", "step 2/2"]
    assert capsys.readouterr().out == ""
