"""Which checkpoint of a run the next step starts from: the last, one by its step, or the best."""

from pathlib import Path

from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.manifest import checkpoint_step, checkpoints_below

METRIC = "eval_reward"
"""What `best` goes by: the mean reward on the validation rows."""
STATE = "trainer_state.json"
_PREFIX = "eval_"
_LOWER_IS_BETTER = ("eval_loss", "eval_kl")


def metric_of(choice: str) -> str | None:
    """The validation metric that a choice goes by, `None` when it goes by none."""
    kind, _, metric = choice.partition(":")
    if kind != "best":
        return None
    return f"{_PREFIX}{metric.removeprefix(_PREFIX)}" if metric else METRIC


def chosen_checkpoint(run: Path, choice: str) -> Path:
    """The folder of a finished run's checkpoint.

    Args:
        choice: `last`; a number of optimizer steps; `best`, by the mean reward on the validation rows; or
            ``best:METRIC``, by another of its validation metrics, the higher the better but for `loss` and
            `kl`. Of equals the earlier one is the best.

    Raises:
        InputError: when there is no such checkpoint.
    """
    if choice == "last":
        return run
    saved = {checkpoint_step(path): path for path in checkpoints_below(run)}
    metric = metric_of(choice)
    if metric is None:
        if int(choice) not in saved:
            steps = ", ".join(map(str, saved)) or "none"
            raise InputError(f"{run}: no checkpoint-{choice}; it has: {steps} (--save_steps)")
        return saved[int(choice)]
    scores = _scores(run, metric)
    both = sorted(scores.keys() & saved.keys())
    if not both:
        raise InputError(
            f"{run}: none of its checkpoints has {metric}, which is known of steps"
            f" {', '.join(map(str, sorted(scores))) or '(none)'}; save at those (--save_steps, --eval_steps)"
        )
    sign = -1 if metric in _LOWER_IS_BETTER else 1
    return saved[max(both, key=lambda step: (sign * scores[step], -step))]


def _scores(run: Path, metric: str) -> dict[int, float]:
    """The metric by optimizer step."""
    history = read_object(run / STATE).get("log_history", [])
    return {entry["step"]: entry[metric] for entry in history if metric in entry}
