"""Training that has gone wrong for good: NaN and infinite values end it, what points that way is warned
about."""

import logging
import math
import sys
from collections import deque
from collections.abc import Mapping

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curr_reft.errors import DivergedError

logger = logging.getLogger(__name__)

DIVERGED = "diverged at "
"""Begins the line by which a process that other commands start says so."""
_WINDOW = 10
_LEARNED_FORMAT, _LOST_FORMAT = 0.5, 0.1
_TRY = (
    "try a lower --learning_rate or --max_grad_norm, a higher --beta, or --torch_dtype float32 --bf16"
    " true; the last"
    " checkpoint is kept"
)


def refuse_not_finite(name: str, values: torch.Tensor | float, step: int) -> None:
    """Raises:
    DivergedError: when a number is NaN or infinite.
    """
    values = torch.as_tensor(values)
    if not values.isfinite().all():
        worst = values.flatten()[~values.flatten().isfinite()][0]
        raise DivergedError(f"step {step}: {name} {float(worst)}; {_TRY}")


class EndOnLoss(TrainerCallback):
    """Ends a run of another library's trainer at a logged loss that is no number, with one line that says so.

    transformers leaves such losses out of its logs unless `logging_nan_inf_filter` is false, and trains on.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        loss = float((logs or {}).get("loss", 0))
        if not math.isfinite(loss):
            sys.stderr.write(
                f"{DIVERGED}step {state.global_step}: the loss is {loss}; try a lower --learning_rate or"
                " --max_grad_norm; the last checkpoint is kept\n"
            )
            sys.exit(DivergedError.exit_code)


def is_sampling_failure(error: RuntimeError) -> bool:
    """Whether torch could not sample because probabilities are no numbers."""
    return "probability tensor contains" in str(error)


class WatchDivergence(TrainerCallback):
    """Warns once of a KL above a bound, and of answers that lose the format they had learned.

    Args:
        max_kl: The bound of the mean KL divergence from the reference.
        stop: Whether to end the run instead.
    """

    def __init__(self, max_kl: float, stop: bool) -> None:
        self._max_kl = max_kl
        self._stop = stop
        self._formats: deque[float] = deque(maxlen=_WINDOW)
        self._best_format = 0.0
        self._said: set[str] = set()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs,
    ) -> None:
        logs = logs or {}
        kl = logs.get("kl")
        if kl is not None and (kl > self._max_kl or math.isnan(kl)):
            self._report(
                "kl", f"step {state.global_step}: the KL from the reference is {kl:.3g}, over --max_kl"
            )
        if "rewards/format/mean" in logs:
            self._formats.append(logs["rewards/format/mean"])
            mean = sum(self._formats) / len(self._formats)
            if len(self._formats) == _WINDOW:
                self._best_format = max(self._best_format, mean)
            if self._best_format >= _LEARNED_FORMAT and mean <= _LOST_FORMAT:
                self._report(
                    "format",
                    f"step {state.global_step}: the format reward fell from {self._best_format:.2f} to"
                    f" {mean:.2f}",
                )

    def _report(self, kind: str, what: str) -> None:
        if self._stop:
            raise DivergedError(f"{what} (--stop_on_divergence); {_TRY}")
        if kind not in self._said:
            self._said.add(kind)
            logger.warning("%s; --stop_on_divergence ends a run that does this", what)
