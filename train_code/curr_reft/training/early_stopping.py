"""Early stopping: a run ends when a validation metric no longer improves."""

import logging
from collections.abc import Iterator, Sequence

from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from curr_reft.data.dataset import Split
from curr_reft.errors import InputError
from curr_reft.stages import Stage
from curr_reft.training.arguments import CurriculumConfig

logger = logging.getLogger(__name__)


def check_early_stopping(
    config: CurriculumConfig, rewards: Sequence[str], val: Split | None, run: Stage
) -> None:
    """Refuse early stopping without evaluations, and a metric that no evaluation will give.

    Args:
        rewards: Names of the rewards that are summed.
        val: The validation rows, `None` without.
        run: The stage of rows that name none.

    Raises:
        InputError: for the first of the two that holds.
    """
    if config.early_stopping_patience is not None and config.eval_strategy == "no":
        raise InputError(
            f"--early_stopping_patience {config.early_stopping_patience}: needs evaluations of validation"
            " rows; pass --eval_strategy steps --eval_steps N"
        )
    metric = config.metric_for_best_model
    rows = val.dataset.with_format(None) if val else {"task": [], "stage": []}
    others = set(rows["stage"]) - {run.name}
    known = sorted(_metrics(config, rewards, set(rows["task"]), others))
    if metric is not None and metric.removeprefix("eval_") not in known:
        raise InputError(f"--metric_for_best_model {metric}: an evaluation gives {', '.join(known)}")


def _metrics(
    config: CurriculumConfig, rewards: Sequence[str], tasks: set[str], stages: set[str]
) -> Iterator[str]:
    yield from ("loss", "reward", "reward_std", "frac_reward_zero_std", "entropy", "completions/mean_length")
    if config.beta:
        yield "kl"
    for reward in rewards:
        yield f"rewards/{reward}/mean"
        if reward in ("accuracy", "format"):
            yield from (f"{reward}/{task}" for task in tasks)
        if reward == "accuracy":
            yield from (f"accuracy/{stage}" for stage in stages)


class StopOnPlateau(EarlyStoppingCallback):
    """Ends training after `early_stopping_patience` evaluations in a row without a better metric.

    Better is what exceeds the best so far by more than `early_stopping_threshold`. The count is kept in
    checkpoints, so that a run that goes on from one ends where the unbroken one does.
    """

    reason: str | None = None
    """Why training ended early, `None` as long as it has not."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs
    ) -> None:
        # transformers would restore patience and threshold as well, which the flags may have changed.
        # It saves no count that is not there yet, as in a checkpoint of a run without early stopping.
        kept = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.early_stopping_patience_counter = kept["attributes"]["early_stopping_patience_counter"]
        self._end(args, state, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics, **kwargs
    ) -> None:
        super().on_evaluate(args, state, control, metrics, **kwargs)
        self._end(args, state, control)

    def _end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        ended = self.early_stopping_patience_counter >= self.early_stopping_patience
        if not ended or state.global_step >= state.max_steps:
            return
        control.should_training_stop = True
        metric = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        entries = [entry for entry in state.log_history if metric in entry]
        choose = max if args.greater_is_better else min
        best = choose(entries, key=lambda entry: entry[metric])
        self.reason = (
            f"{metric} did not {'rise' if args.greater_is_better else 'fall'} by more than"
            f" {self.early_stopping_threshold:g} in {self.early_stopping_patience_counter} evaluations; best"
            f" {best[metric]:.4g} at step {best['step']}"
        )
        if state.is_world_process_zero:
            logger.info("stopped early after step %d: %s", state.global_step, self.reason)


def early_stopping(config: CurriculumConfig) -> list[TrainerCallback]:
    """The callback that ends a run early, where the flags ask for it."""
    if config.early_stopping_patience is None:
        return []
    return [StopOnPlateau(config.early_stopping_patience, config.early_stopping_threshold)]
