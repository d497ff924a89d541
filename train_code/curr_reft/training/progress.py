"""The progress bar of a training run, with the metrics that tell whether it learns."""

from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments

from curr_reft.tasks.registry import known_tasks

_HEADLINES = {
    "rewards/format/mean": "format",
    "frac_reward_zero_std": "no-signal groups",
    "dynamic_sampling/prompts": "prompts drawn",
    "kl": "kl",
    "grad_norm": "grad norm",
    "completions/mean_length": "length",
    "loss": "loss",
}


class HeadlineProgress(ProgressCallback):
    """One short line per log; every metric is in trainer_state.json and the trackers."""

    def close(self) -> None:
        """Leave the line, for what is to be said about a run that ended too soon."""
        if self.training_bar is not None:
            self.training_bar.close()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs=None, **kwargs
    ) -> None:
        if not state.is_world_process_zero or self.training_bar is None:
            return
        tasks = {f"accuracy/{task}": task for task in known_tasks()}
        headlines = {"reward": "reward", **tasks, **_HEADLINES}
        for prefix, title in (("", "step"), ("eval_", "eval, step")):
            values = [
                f"{name} {logs[prefix + key]:.3g}"
                for key, name in headlines.items()
                if logs.get(prefix + key) is not None
            ]
            if values:
                self.training_bar.write(f"{title} {state.global_step}/{state.max_steps}: {', '.join(values)}")
