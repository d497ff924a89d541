"""What stops a training although nothing in it is wrong: memory or disk that does not suffice, in one
line."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from curr_reft.errors import InputError
from curr_reft.files.atomic import FullDiskError, room_below
from curr_reft.files.manifest import checkpoints_below
from curr_reft.training.checkpoint_state import is_whole


@contextmanager
def failures_in_words(output_dir: Path) -> Iterator[None]:
    """Within, running out of memory or disk is an `InputError` that says what to do, and what was kept.

    Half a checkpoint is removed, for it takes the room that the next start needs.

    Args:
        output_dir: Where checkpoints are written.
    """
    try:
        with room_below(output_dir):
            yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            "out of memory: set or lower --max_packed_tokens (with --shared_prefix true), lower"
            " --per_device_train_batch_size and raise --gradient_accumulation_steps by as much, or pass"
            " --gradient_checkpointing true; in evaluation lower --per_device_eval_batch_size; where the"
            " weights alone are too much, share them with --deepspeed configs/deepspeed/zero3.json"
            f" ({' '.join(str(error).split())[:200]})"
        ) from error
    except FullDiskError as error:
        checkpoints = checkpoints_below(output_dir)
        kept = next((path.name for path in reversed(checkpoints) if is_whole(path)), "none")
        for path in checkpoints:
            if not is_whole(path):
                shutil.rmtree(path, ignore_errors=True)
        raise InputError(
            f"{error}; of the checkpoints {kept} is the newest that was written to the end"
        ) from error
