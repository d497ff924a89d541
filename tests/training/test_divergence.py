"""Training that goes wrong: what is no number ends it, what points that way is said."""

import json
import math

import pytest
import torch
from transformers import TrainerControl, TrainerState

from curr_reft.errors import DivergedError
from curr_reft.training.divergence import WatchDivergence, refuse_not_finite
from curr_reft.training.run import run_stage


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_with_its_step(value):
    with pytest.raises(DivergedError, match=r"step 7: the loss is (nan|-?inf); try a lower --learning_rate"):
        refuse_not_finite("the loss is", torch.tensor([1.0, value]), 7)
    refuse_not_finite("the loss is", torch.tensor([1.0, -1e30]), 7)


def watch(logs: list[dict], stop: bool = False) -> None:
    callback = WatchDivergence(max_kl=10, stop=stop)
    for step, entry in enumerate(logs, start=1):
        callback.on_log(None, TrainerState(global_step=step), TrainerControl(), logs=entry)


FORMAT = "rewards/format/mean"
LOST = [{FORMAT: 0.9}] * 12 + [{FORMAT: 0.0}] * 12


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ([{"kl": 0.1}, {"kl": 11.0}, {"kl": 12.0}], "step 2: the KL from the reference is 11"),
        (LOST, "the format reward fell from 0.90 to 0.09"),
    ],
)
def test_a_large_kl_and_a_lost_format_are_said_once_or_stop(logs, said, caplog):
    watch(logs)
    assert caplog.text.count(said) == 1
    assert len(caplog.records) == 1
    with pytest.raises(DivergedError) as caught:
        watch(logs, stop=True)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "logs",
    [
        [{"kl": 9.0}] * 5,
        # A model that never had the format has lost nothing.
        [{FORMAT: 0.0}] * 30,
        [{FORMAT: 0.9}, {FORMAT: 0.0}, {FORMAT: 0.9}] * 10,
        [{"loss": 1.0}, {"eval_kl": 99.0}],
    ],
)
def test_ordinary_training_is_left_alone(logs, caplog):
    watch(logs, stop=True)
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_reward_that_is_no_number_ends_the_run(value, trainers, stage_flags, tmp_path, capsys):
    class Rewarded(trainers["judge"]):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            spoilt = self.reward_funcs[0]

            def spoil(**columns):
                return [value] * len(columns["completions"])

            spoil.__name__ = spoilt.__name__
            self.reward_funcs = [spoil] * len(self.reward_funcs)

    with pytest.raises(SystemExit) as end:
        run_stage(Rewarded, stage_flags("judge", "--max_steps", "2", "--save_steps", "1"))
    assert end.value.code == DivergedError.exit_code
    assert "error: step 1: a reward is" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["status"] == "diverged"
    assert not list((tmp_path / "run").glob("checkpoint-*"))
