"""A plugin for ms-swift (`--external_plugins`): its runs end, and keep what they go on from, as stages do.

At a signal they write a checkpoint, they end at a loss that is no number and when the command that
started them has ended, and of their checkpoints the newest alone keep the optimizer's state.
"""

import os
import sys
from pathlib import Path

from swift.callbacks import callbacks_map
from swift.trainers import Trainer
from transformers import TrainerCallback, TrainingArguments

# Swift's environment does not know this library.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from curr_reft.lifetime import follow_owners
from curr_reft.training.checkpoint_state import KEEP_VARIABLE, KeepStateOfNewest
from curr_reft.training.divergence import EndOnLoss
from curr_reft.training.stopping import GRACE_SECONDS, GRACE_VARIABLE, StopOnSignal


def _stop_on_signal(args: TrainingArguments, trainer: Trainer) -> TrainerCallback:
    callback = StopOnSignal(float(os.environ.get(GRACE_VARIABLE, GRACE_SECONDS)))
    callback.listen()
    return callback


def _keep_state_of_newest(args: TrainingArguments, trainer: Trainer) -> TrainerCallback:
    count = int(os.environ.get(KEEP_VARIABLE, "0"))
    return KeepStateOfNewest(count) if count else TrainerCallback()


def _end_on_loss(args: TrainingArguments, trainer: Trainer) -> TrainerCallback:
    return EndOnLoss()


callbacks_map["stop_on_signal"] = _stop_on_signal
callbacks_map["keep_state_of_newest"] = _keep_state_of_newest
callbacks_map["end_on_loss"] = _end_on_loss
follow_owners()
