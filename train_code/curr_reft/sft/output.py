"""The output directory of a fine-tuning run: what it may hold before, where it goes on, its final weights."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.files.json import read_object
from curr_reft.files.json_lines import read_json_lines
from curr_reft.files.manifest import checkpoints_below
from curr_reft.models.adapters import weights_fault
from curr_reft.training.checkpoint_state import is_whole, state_fault, state_files
from curr_reft.training.resume import Start, check_settings, find_start

logger = logging.getLogger(__name__)

LOG = "swift.log"
_STEP_LOG = "logging.jsonl"
# Swift adds to them when it starts again.
_ADDED_TO = ("val_dataset.jsonl", _STEP_LOG)
# Of a checkpoint, what only a run that goes on needs, besides `state_files`.
_OF_THE_RUN = ("training_args.bin", "args.json")


def find_own_start(
    output_dir: Path, record: dict[str, Any], base: Path | None, accept_changes: bool
) -> Start:
    """Where an unfinished run in `output_dir` goes on; the run is through when that checkpoint `is_last`.

    Args:
        record: What the manifest of the run to come will hold.
        base: The folder of the weights that the run starts from.

    Raises:
        InputError: as `curr_reft.training.resume.find_start` does.
    """
    checkpoints = checkpoints_below(output_dir)
    if checkpoints and is_last(checkpoints[-1]) and weights_fault(checkpoints[-1], base) is None:
        return Start(checkpoints[-1], check_settings(output_dir, record, accept_changes))
    return find_start(output_dir, record, lambda checkpoint: weights_fault(checkpoint, base), accept_changes)


def check_named_start(checkpoint: Path, base: Path | None, processes: int, weights_only: bool) -> None:
    """Refuse a checkpoint that the user names and from which so many processes cannot go on.

    Args:
        base: The folder of the weights that the run started from.
        weights_only: Whether swift is to take nothing but its weights.

    Raises:
        InputError: saying what is wrong with it.
    """
    flag = f"--resume_from_checkpoint {checkpoint}"
    if not checkpoint.is_dir():
        raise InputError(f"{flag}: no such directory")
    fault = (None if weights_only else state_fault(checkpoint, processes)) or weights_fault(checkpoint, base)
    if fault is not None:
        raise InputError(f"{flag}: {fault}")


def is_last(checkpoint: Path) -> bool:
    """Whether it is the one at the end of its run."""
    try:
        state = read_object(checkpoint / "trainer_state.json")
    except InputError:
        return False
    return state.get("global_step") is not None and state["global_step"] == state.get("max_steps")


def clear_for(start: Start, output_dir: Path) -> None:
    """Remove what an unfinished run left beyond its start, so that nothing stands there twice."""
    start.clear(output_dir)
    if start.checkpoint is not None:
        logger.info("going on from %s", start.checkpoint)
    steps = _kept_steps(output_dir / _STEP_LOG, start.step)
    for name in (*_ADDED_TO, *((LOG,) if start.checkpoint is None else ())):
        (output_dir / name).unlink(missing_ok=True)
    if start.checkpoint is None:
        shutil.rmtree(output_dir / "runs", ignore_errors=True)
    else:
        (output_dir / _STEP_LOG).write_text(steps, encoding="utf-8")


def _kept_steps(log: Path, last: int) -> str:
    """The lines of swift's log of steps up to a step; its summaries are left out."""
    if not log.is_file():
        return ""
    kept = []
    for _, row in read_json_lines(log):
        if not isinstance(row, dict) or "train_runtime" in row:
            continue
        step = str(row.get("global_step/max_steps")).partition("/")[0]
        if step.isdecimal() and int(step) <= last:
            kept.append(json.dumps(row) + "\n")
    return "".join(kept)


def keep_final(output_dir: Path) -> Path:
    """Put the last whole checkpoint's weights, processor and state into the directory, as a stage does.

    Files are linked, which takes no space, and copied where the file system has no links.

    Raises:
        InputError: when there is none.
    """
    checkpoints = [path for path in checkpoints_below(output_dir) if is_whole(path)]
    if not checkpoints:
        raise InputError(f"--output_dir {output_dir}: swift wrote no checkpoint; see {output_dir / LOG}")
    state = state_files(checkpoints[-1])
    for path in sorted(checkpoints[-1].iterdir()):
        if path.is_file() and path not in state and path.name not in _OF_THE_RUN:
            target = output_dir / path.name
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copy2(path, target)
    return checkpoints[-1]
