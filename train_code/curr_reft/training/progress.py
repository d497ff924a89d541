"""How far a run is and whether it learns: a bar in a terminal, one line a step in a log."""

import logging
import sys
from collections.abc import Iterator, Mapping

from transformers import (
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from curr_reft.tasks.registry import known_tasks
from curr_reft.training.plan import time_left

logger = logging.getLogger(__name__)


def progress(disable_tqdm: bool) -> TrainerCallback:
    """What shows the progress of a run: a bar where standard error is a terminal, else lines of the log."""
    return HeadlineProgress() if sys.stderr.isatty() and not disable_tqdm else HeadlineLog()


class HeadlineProgress(ProgressCallback):
    """A bar, with the headlines of each log above it."""

    def close(self) -> None:
        """Leave the line, for what is to be said about a run that ended too soon."""
        if self.training_bar is not None:
            self.training_bar.close()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **kwargs
    ) -> None:
        if state.is_world_process_zero and self.training_bar is not None:
            for line in headlines(logs, state):
                self.training_bar.write(line)


class HeadlineLog(TrainerCallback):
    """The headlines of each log as a line of the log."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **kwargs
    ) -> None:
        if state.is_world_process_zero:
            for line in headlines(logs, state):
                logger.info("%s", line)


def headlines(logs: Mapping[str, float], state: TrainerState) -> Iterator[str]:
    """The metrics that tell whether a run learns, in one line; every metric is in trainer_state.json and the
    trackers."""
    for prefix, title in (("", "step"), ("eval_", "eval, step")):
        metrics = {key.removeprefix(prefix): value for key, value in logs.items() if key.startswith(prefix)}
        values = [
            f"{name} {metrics[key]:.3g}"
            for key, name in _names(metrics).items()
            if metrics.get(key) is not None
        ]
        if "reward" not in metrics:
            continue
        seconds = metrics.get("runtime", metrics.get("step_time"))
        if seconds is not None:
            values.append(f"{seconds:.3g} s")
        left = None if prefix else time_left(vars(state), state.max_steps)
        if left is not None:
            values.append(f"{left} left")
        yield f"{title} {state.global_step}/{state.max_steps}: {', '.join(values)}"


def _names(metrics: Mapping[str, float]) -> dict[str, str]:
    """How a line names the metrics that it shows, in their order."""
    rewards = [key for key in metrics if key.startswith("rewards/") and key.endswith("/mean")]
    # Those that are learned from all have a signal, when the others are drawn again.
    drawn_again = {"dynamic_sampling/kept": "groups kept", "dynamic_sampling/prompts": "prompts drawn"}
    once = {"frac_reward_zero_std": "no-signal groups"}
    signal = drawn_again if "dynamic_sampling/kept" in metrics else once
    return {
        "loss": "loss",
        "reward": "reward",
        **{key: key.removeprefix("rewards/").removesuffix("/mean") for key in rewards},
        **{f"accuracy/{task}": task for task in known_tasks()},
        **signal,
        "kl": "kl",
        "grad_norm": "grad norm",
        "completions/mean_length": "length",
        "learning_rate": "lr",
    }
