"""Signals end a training at a step's end, with a checkpoint from which the same command goes on."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate.utils import gather
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curr_reft.errors import StoppedError
from curr_reft.lifetime import ONE_SIGNAL_SECONDS

logger = logging.getLogger(__name__)

GRACE_VARIABLE = "CURR_REFT_STOP_GRACE_SECONDS"
"""Tells a process that other commands start how long it has from a signal to its end."""
GRACE_SECONDS = 300.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within, a signal is a `StoppedError`, until training takes them (`StopOnSignal.listen`).

    Those that are ignored, as hang-ups under nohup, stay so.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # What comes next is the same one, passed on.
        if len(received) == 1:
            raise StoppedError(
                f"stopped by {signal.Signals(number).name} while not training; start the same command again"
            )

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    _listen(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


class StopOnSignal(TrainerCallback):
    """On SIGTERM, Ctrl-C or a hang-up: a checkpoint after the step at work, and the end of training.

    Processes agree on the step, so that a signal that reaches them at different ones stops all at the same. A
    process that has not ended within the grace time exits; one more signal, some seconds later, ends it at
    once.

    Args:
        grace: Seconds from the signal to the end.
        steps: A run can go on from multiples of this alone.
    """

    def __init__(self, grace: float, steps: int = 1) -> None:
        self._grace = grace
        self._steps = steps
        self._since: float | None = None
        self.signal: signal.Signals | None = None
        """What was received, `None` as long as nothing was; the same in all processes once training has
        stopped."""

    def listen(self) -> None:
        """Take the signals from now on; those that are ignored, as hang-ups under nohup, stay so."""
        _listen(self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._since is not None:
            if time.monotonic() - self._since > ONE_SIGNAL_SECONDS:
                os._exit(StoppedError.exit_code)
            return
        self._since = time.monotonic()
        self.signal = signal.Signals(number)
        logger.warning(
            "%s: a checkpoint is written at the end of this step, within %g s (--stop_grace_seconds)",
            self.signal.name,
            self._grace,
        )
        timer = threading.Timer(self._grace, os._exit, [StoppedError.exit_code])
        timer.daemon = True
        timer.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs
    ) -> None:
        if state.global_step % self._steps:
            return
        number = int(gather(torch.tensor([self.signal or 0], device=args.device)).max())
        if not number:
            return
        self.signal = signal.Signals(number)
        # Weights alone are nothing to go on from.
        args.save_only_model = False
        control.should_save = True
        control.should_evaluate = False
        control.should_training_stop = True
