"""What stops a training although nothing in it is wrong: memory or disk that does not suffice, in one
line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from curr_reft.errors import InputError, out_of_room
from curr_reft.manifest import checkpoints_below
from curr_reft.training_state import is_whole


@contextmanager
def failures_in_words(output_dir: Path) -> Iterator[None]:
    """Within, running out of memory or disk is an `InputError` that says what to do, and what was kept.

    Args:
        output_dir: Where checkpoints are written.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            "out of memory: set or lower --max_packed_tokens (with --shared_prefix true), lower"
            " --per_device_train_batch_size and raise --gradient_accumulation_steps by as much, or pass"
            " --gradient_checkpointing true; in evaluation lower --per_device_eval_batch_size; where the"
            " weights alone are too much, share them with --deepspeed configs/deepspeed/zero3.json"
            f" ({' '.join(str(error).split())[:200]})"
        ) from error
    except (OSError, RuntimeError, SafetensorError) as error:
        if not out_of_room(error):
            raise
        where = getattr(error, "filename", None) or output_dir
        kept = next(
            (path.name for path in reversed(checkpoints_below(output_dir)) if is_whole(path)), "nothing"
        )
        raise InputError(
            f"{where}: no space left on the disk or quota; of the run's checkpoints {kept} is kept; make"
            f" room,"
            " and the same command goes on"
        ) from error
