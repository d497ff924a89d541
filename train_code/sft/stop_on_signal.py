"""A plugin for ms-swift (`--external_plugins`): its runs end as stages do.

At a signal they write a checkpoint, and they end when the command that started them has ended.
"""

import os
import sys
from pathlib import Path

from swift.callbacks import callbacks_map
from swift.trainers import Trainer
from transformers import TrainingArguments

# Swift's environment does not know this library.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from curr_reft.lifetime import follow_owners
from curr_reft.stopping import GRACE_SECONDS, GRACE_VARIABLE, StopOnSignal


def _stop_on_signal(args: TrainingArguments, trainer: Trainer) -> StopOnSignal:
    callback = StopOnSignal(float(os.environ.get(GRACE_VARIABLE, GRACE_SECONDS)))
    callback.listen()
    return callback


callbacks_map["stop_on_signal"] = _stop_on_signal
follow_owners()
