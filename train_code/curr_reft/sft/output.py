"""The output directory of a fine-tuning run: what it may hold before, where it goes on, its final weights."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError
from curr_reft.json_file import read_object
from curr_reft.manifest import can_go_on, checkpoint_step, checkpoints_below, read_manifest

logger = logging.getLogger(__name__)

LOG = "swift.log"
_STEP_LOG = "logging.jsonl"
# Swift adds to them when it starts again.
_ADDED_TO = ("val_dataset.jsonl", _STEP_LOG)
# Flags that may change, and those whose files are compared instead.
_FREE = (
    *("output_dir", "logging_dir", "resume_from_checkpoint", "resume_only_model", "ignore_data_skip"),
    *("model", "model_name_or_path", "dataset", "val_dataset"),
)
# Of a checkpoint, what only a run that goes on needs.
_OF_THE_OPTIMIZER = (
    "optimizer",
    "scheduler",
    "rng_state",
    "training_args",
    "latest",
    "zero_to_fp32",
    "args.json",
)


def check_unfinished(output_dir: Path) -> dict[str, Any] | None:
    """The manifest of an unfinished run in `output_dir`, `None` when there is no manifest.

    Raises:
        InputError: when it is no directory, or holds a finished run.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"--output_dir {output_dir}: not a directory")
    before = read_manifest(output_dir)
    if before is not None and before["status"] == "finished":
        raise InputError(f"--output_dir {output_dir}: holds a finished run; choose another or remove it")
    return before


def find_start(output_dir: Path, record: dict[str, Any]) -> Path | None:
    """The checkpoint that an unfinished run in `output_dir` goes on from, `None` for a start from the model.

    The run is through when that checkpoint `is_last`.

    Args:
        record: What the manifest of the run to come will hold: `stage`, `config`, `variables` and `data`.

    Raises:
        InputError: when the directory holds a finished run, another one, one with other flags, checkpoints of
            nobody knows what, or none that can go on.
    """
    before = check_same_run(output_dir, record)
    checkpoints = checkpoints_below(output_dir)
    if before is None or not checkpoints:
        return None
    _check_same_flags(output_dir, before, record)
    if is_last(checkpoints[-1]):
        return checkpoints[-1]
    complete = [path for path in checkpoints if can_go_on(path)]
    if not complete:
        named = next(filter(_is_whole, reversed(checkpoints)), checkpoints[-1])
        raise InputError(
            f"{named}: holds weights only (--save_only_model true) or was not written to the end, and cannot"
            " be resumed; start from it with --model in another --output_dir, or remove this one"
        )
    return complete[-1]


def check_same_run(output_dir: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of an unfinished run of the same model and data, `None` in a directory without a run.

    Raises:
        InputError: when the directory holds a finished run, another one, or checkpoints of nobody knows what.
    """
    where = f"--output_dir {output_dir}"
    before = check_unfinished(output_dir)
    checkpoints = checkpoints_below(output_dir)
    if before is None:
        if checkpoints:
            raise InputError(f"{where}: holds {checkpoints[0].name} and no manifest of a run; choose another")
    elif _identity(before) != _identity(record):
        raise InputError(
            f"{where}: holds an unfinished run of {before.get('stage')} from another model or on other data;"
            " choose another"
        )
    return before


def _identity(record: dict[str, Any]) -> tuple[Any, ...]:
    model = str((record.get("config") or {}).get("model_name_or_path"))
    data = [[file.get(key) for key in ("sha256", "drawn", "validation")] for file in record.get("data") or []]
    return record.get("stage"), str(Path(model).resolve()) if Path(model).exists() else model, data


def _check_same_flags(output_dir: Path, before: dict[str, Any], record: dict[str, Any]) -> None:
    then, now = _settings(before), _settings(record)
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            shown = ["not set" if each.get(name) is None else each[name] for each in (now, then)]
            raise InputError(
                f"{name} {shown[0]}: the unfinished run in {output_dir} has {shown[1]}; give that, or choose"
                " another --output_dir"
            )


def _settings(record: dict[str, Any]) -> dict[str, Any]:
    """What makes another run of one when it changes; model and data are compared by what they are."""
    config = record.get("config") or {}
    return {
        "MAX_PIXELS": (record.get("variables") or {}).get("MAX_PIXELS"),
        **{f"--{name}": value for name, value in config.items() if name not in _FREE},
    }


def _is_whole(checkpoint: Path) -> bool:
    """Whether its weights are there to the end: the trainer's state is written last."""
    return (checkpoint / "trainer_state.json").exists()


def is_last(checkpoint: Path) -> bool:
    """Whether it is the one at the end of its run."""
    try:
        state = read_object(checkpoint / "trainer_state.json")
    except InputError:
        return False
    return state.get("global_step") is not None and state["global_step"] == state.get("max_steps")


def clear_for(start: Path | None, output_dir: Path) -> None:
    """Remove what an unfinished run left beyond `start`, so that nothing stands there twice.

    Of its checkpoints that is what was not written to the end, and never a whole one.
    """
    last = (checkpoint_step(start) if start is not None else None) or 0
    for path in checkpoints_below(output_dir):
        if (checkpoint_step(path) or 0) > last and not _is_whole(path):
            shutil.rmtree(path)
    if start is not None:
        logger.info("going on from %s", start)
    steps = _kept_steps(output_dir / _STEP_LOG, last)
    for name in (*_ADDED_TO, *((LOG,) if start is None else ())):
        (output_dir / name).unlink(missing_ok=True)
    if start is None:
        shutil.rmtree(output_dir / "runs", ignore_errors=True)
    else:
        (output_dir / _STEP_LOG).write_text(steps, encoding="utf-8")


def _kept_steps(log: Path, last: int) -> str:
    """The lines of swift's log of steps up to a step; its summaries are left out."""
    if not log.is_file():
        return ""
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            step = str(json.loads(line)["global_step/max_steps"]).partition("/")[0]
        except (ValueError, KeyError, TypeError):
            continue
        if step.isdecimal() and int(step) <= last and "train_runtime" not in line:
            kept.append(line)
    return "".join(kept)


def keep_final(output_dir: Path) -> Path:
    """Put the last whole checkpoint's weights, processor and state into the directory, as a stage does.

    Files are linked, which takes no space, and copied where the file system has no links.

    Raises:
        InputError: when there is none.
    """
    checkpoints = [path for path in checkpoints_below(output_dir) if _is_whole(path)]
    if not checkpoints:
        raise InputError(f"--output_dir {output_dir}: swift wrote no checkpoint; see {output_dir / LOG}")
    for path in sorted(checkpoints[-1].iterdir()):
        if path.is_file() and not path.name.startswith(_OF_THE_OPTIMIZER):
            target = output_dir / path.name
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copy2(path, target)
    return checkpoints[-1]
